"""From encrypted records to those within: reading them in order, and checking all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pmll_async.errors import CorruptionError, FormatError, StoreError
from pmll_async.integrity.envelopes import HEAD_BYTES, Envelopes
from pmll_async.integrity.suites import DecryptionError
from pmll_async.loop.breathing import Breather
from pmll_async.protocols import Store, StoreHeader, SupportsLogSize
from pmll_async.records.blocks import Block
from pmll_async.records.chain import NOT_OURS, Chain, Dimensions
from pmll_async.records.cipher import CipherRecord
from pmll_async.records.content import WriteVector, packed_text, packed_together
from pmll_async.records.findings import Finding, Report, Watch, status_of
from pmll_async.records.parser import (
    PUT_HEAD,
    UnknownOperationError,
    decode_put,
    decode_record,
    parse_object,
)
from pmll_async.records.record import Record, encode_record, leaf
from pmll_async.values.anchors import ROOT_ANCHOR, ROOT_DIGEST, Hasher, fold

# What is decrypted and parsed at once, of what is read: all threads wait for their turn meanwhile.
_PIECE_BYTES: Final = 1 << 20
_PIECE_RECORDS: Final = 1024
# Keys of fewer records are packed one by one.
_MANY: Final = 8


class Heads:
    """The beginning of the digest before each record, and the digest after the last.

    16 bytes a record, always in memory: what is decrypted must have followed exactly that log.
    Grows in one thread, and is read in any.
    """

    def __init__(self) -> None:
        self._heads = bytearray(ROOT_DIGEST[:HEAD_BYTES])
        self.digest = ROOT_DIGEST

    @property
    def records(self) -> int:
        """How many records there are."""
        return len(self._heads) // HEAD_BYTES - 1

    def before(self, n: int) -> bytes:
        """The head before record `n`."""
        return bytes(self._heads[n * HEAD_BYTES : (n + 1) * HEAD_BYTES])

    def extend(self, digests: Sequence[bytes]) -> None:
        """The digests after some more records."""
        self._heads += b"".join([digest[:HEAD_BYTES] for digest in digests])
        self.digest = digests[-1]


@dataclass(slots=True)
class Reading:
    """What reading needs of an open store: `keys_for` learns of epochs that are new to it."""

    inner: Store
    header: StoreHeader
    hasher: Hasher
    envelopes: Envelopes
    keys_for: Callable[[int], None]
    heads: Heads = field(default_factory=Heads)

    def record(self, n: int, head: bytes) -> Record:
        """Record `n`, which must have followed `head`; also where `heads` do not reach yet."""
        return self.decoded(n, head, self.inner.read(n))

    def decoded(self, n: int, head: bytes, sealed: Record) -> Record:
        """The record in another, which is `n`; `CorruptionError` unless it belongs there."""
        if not isinstance(sealed, CipherRecord):
            raise self.damaged(n, "it is not encrypted, in an encrypted store")
        self.keys_for(sealed.epoch)
        try:
            text = self.envelopes.open_record(n, head, sealed)
        except DecryptionError as exc:
            reason = f"it was not encrypted for this place in this store: {exc}"
            raise self.damaged(n, reason) from exc
        return self._parsed(n, text, sealed.following)

    def _parsed(self, n: int, text: bytes, following: int) -> Record:
        try:
            put = PUT_HEAD.match(text)
            record = decode_put(put, text, self.hasher) if put else None
            record = record or decode_record(parse_object(text), self.hasher)
        except UnknownOperationError:
            raise FormatError(self.inner.path, f"the operation of record {n}") from None
        # What went wrong may quote what was decrypted.
        except NOT_OURS:
            raise self.damaged(n, "what it was encrypted of is no record") from None
        if isinstance(record, CipherRecord) or record.following != following:
            raise self.damaged(n, "what it was encrypted of does not belong there")
        return record

    def blocks(self, chain: Chain, stop: int) -> Iterator[Block]:
        """The records behind those that `heads` know, up to `stop`, checked, as blocks."""
        breathe = Breather()
        while self.heads.records < stop:
            first, before, size = self.heads.records, self.heads.digest, 0
            records, leaves = list[Record](), list[bytes]()
            while self.heads.records < min(stop, first + _PIECE_RECORDS) and size < _PIECE_BYTES:
                breathe()
                n = self.heads.records
                record = self.record(n, self.heads.before(n))
                if reason := chain.flaw(record):
                    raise self.damaged(n, reason)
                chain.add(record)
                leaves.append(leaf(record))
                self.heads.extend([fold(self.heads.digest, leaves[-1])])
                size += sum(line.content.size for line in record.lines)
                records.append(record)
            yield Block.of(records, first, before, self.header.dim, leaves)

    def damaged(self, n: int, reason: str) -> CorruptionError:
        """The error of record `n`."""
        inner = self.inner
        place = inner.log_size(n) if isinstance(inner, SupportsLogSize) else 0
        return CorruptionError(inner.path, place, reason, n)

    def check(self, watch: Watch | None) -> Report:
        """Whether every record, read again, is what was encrypted for its place."""
        inner, count = self.inner, self.heads.records
        chain = Chain(self.hasher, Dimensions(self.header.dim, self.header.value_dim))
        places = inner.log_size if isinstance(inner, SupportsLogSize) else None
        digest, findings, breathe = ROOT_DIGEST, list[Finding](), Breather()
        for n in range(count):
            breathe()
            own, reason = None, ""
            try:
                record = self.record(n, self.heads.before(n))
            except StoreError as exc:
                reason = exc.reason if isinstance(exc, CorruptionError) else str(exc)
                chain.miss(n + 1)
            else:
                own, reason = leaf(record), chain.flaw(record)
                chain.add(record)
                digest = fold(digest, own)
            if reason:
                findings.append(Finding("damage", "", places(n) if places else 0, n, reason))
            if watch is not None:
                watch(own, chain.head(n + 1), places(n + 1) if places else None)
        digest_holds = not findings
        findings += chain.erasures("")
        return Report(
            findings=tuple(findings),
            records=count,
            lines=chain.length(count),
            head=chain.head(count) or ROOT_ANCHOR,
            digest=digest.hex() if digest_holds else "",
            status=status_of(findings),
            store=self.header.store_id,
            keyed=self.hasher.keyed,
            erased=chain.erased,
        )


def texts_of(records: Sequence[Record], first: int) -> Iterator[bytes]:
    """The JSON of each record from `first` on, as a log has it, with vectors packed that can be.

    It says that no record is known durable: that is for the store within to say.
    """
    breathe = Breather()
    write_vector: WriteVector = packed_text
    if len(records) >= _MANY:
        keys = [line.content.key for record in records for line in record.lines]
        write_vector = packed_together([key for key in keys if key])
    for n, record in enumerate(records, first):
        breathe()
        yield (encode_record(record, f'"n":{n},"d":0,', write_vector) + "}").encode()


def damaged_at(error: CorruptionError, within: Report, *, keyed: bool) -> Report:
    """What is told of a store that cannot be loaded: `error` says where it ends."""
    n = error.n or 0
    return replace(
        within,
        findings=(Finding("damage", "", error.offset, error.n, error.reason),),
        records=n,
        lines=0,
        head=ROOT_ANCHOR,
        keyed=keyed,
    )


def with_rest(report: Report, count: int) -> Report:
    """The report of a reader, told of records that it may not see: nothing proves them durable.

    Whoever opens the store for writing decrypts them, and keeps or refuses them.
    """
    if count <= report.records:
        return report
    reason = "nothing proves that it was made durable: opening for writing checks it"
    rest = Finding("torn", "", 0, report.records, reason)
    return replace(report, findings=(*report.findings, rest))


def joined(within: Report, report: Report) -> Report:
    """What was found in the files of the store within, and in what its records hold."""
    findings = within.findings + report.findings
    status = status_of(findings)
    digest = "" if status == "damaged" else report.digest
    return replace(report, findings=findings, digest=digest, status=status)
