"""Encryption at rest: any store, of whose records nothing shows but their number and their sizes.

Every record becomes one of the store within, encrypted for its very place. What is derived from
records, such as caches and indexes, the store within makes of encrypted ones, and nobody else
leaves anything in its folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import Final
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from pmll_async.errors import (
    CorruptionError,
    DurabilityUnknownError,
    NotStoredError,
    ReadOnlyStoreError,
    StoreError,
    StoreLockedError,
    WrongKeyError,
)
from pmll_async.integrity.envelopes import HEAD_BYTES, Envelopes
from pmll_async.integrity.facts import Facts
from pmll_async.integrity.secrets import Secret, SuiteName
from pmll_async.integrity.unlocking import Unlocking
from pmll_async.integrity.unsealing import Reading, damaged_at, joined, texts_of, with_rest
from pmll_async.protocols import (
    Erasing,
    Left,
    Recovery,
    Sidecar,
    Store,
    StoreHeader,
    SupportsErase,
    SupportsFollow,
    SupportsLogSize,
    SupportsSidecar,
    SupportsSync,
    SupportsUpkeep,
    SupportsVerify,
)
from pmll_async.records.blocks import Block, RecordBlock
from pmll_async.records.chain import Chain, Dimensions
from pmll_async.records.cipher import CipherRecord
from pmll_async.records.findings import Report, Watch
from pmll_async.records.record import Record, leaf
from pmll_async.values.anchors import DIGEST_BYTES, ROOT_DIGEST, Hasher, fold
from pmll_async.values.concert import Float32

CLEAR_FILES: Final = frozenset({"seal.json"})
"""What others may leave beside the records: it states digests, and the head's anchor."""
_CONTEXTS: Final = 256
# A batch is durable within this time, or nobody is writing it.
_PATIENCE: Final = 0.2
_PAUSE: Final = 0.02


@dataclass(slots=True)
class _Session:
    """What is open between `open` and `close`; `digest` is that of the records within."""

    pid: int
    suite: SuiteName
    inner_hasher: Hasher
    reading: Reading
    facts: Facts
    chain: Chain
    digest: bytes = ROOT_DIGEST
    loaded: bool = False
    stopped: bool = False


class EncryptedStore:
    """A store around another one, which must have a place for a key ring (`SupportsKeyring`).

    `secret` opens it: a `Passphrase`, a `RawKey`, or an async function of the store's id, which
    `fetch` awaits. `suite` is for a new store: "aes-256-gcm" unless given, or
    "xchacha20-poly1305". What else the store within can do, this can, too.
    """

    def __init__(self, inner: Store, secret: Secret, *, suite: SuiteName | None = None) -> None:
        self._inner = inner
        self._unlocking = Unlocking(inner, secret, suite)
        self._session: _Session | None = None
        # Powers are told by their names, so that a store has only those of the one within.
        if isinstance(inner, SupportsSync):
            self.sync = inner.sync
        if isinstance(inner, SupportsUpkeep):
            self.keep_up = inner.keep_up
        if isinstance(inner, SupportsLogSize):
            self.log_size = inner.log_size
        if isinstance(inner, SupportsErase):
            # Not of a method of its own, or nothing but the collector could give it all back.
            self.erase = partial(_erase, ref(self), inner)

    @property
    def path(self) -> str:
        return self._inner.path

    @property
    def read_only(self) -> bool:
        return self._inner.read_only

    @property
    def recovery(self) -> Recovery:
        return self._inner.recovery

    @property
    def suite(self) -> SuiteName:
        """The cipher of an open store."""
        return self._opened().suite

    async def fetch(self) -> None:
        """Await the function that gives the key, if the secret is one; before `open`."""
        await self._unlocking.fetch()

    # --- opening and closing -------------------------------------------------------------------

    def open(self, header: StoreHeader | None, hasher: Hasher) -> StoreHeader:
        """Besides: `WrongSecretError`, `KeyringError`; then nothing was written."""
        if self._session is not None:
            raise StoreLockedError(self.path, {}, same_process=True)
        keys = self._unlocking.unlocked(header)
        envelopes, inner_hasher = Envelopes(keys), Hasher(keys.within)
        facts = Facts(self.path, keys, envelopes)
        hidden = None if header is None else facts.hide(header, hasher, inner_hasher)
        stored = self._unlocking.opened(hidden, inner_hasher)
        try:
            shown = facts.show(stored)
            self._check_key(shown, hasher)
        # Whatever stopped it, the store within must not stay open and locked.
        except BaseException:
            self._inner.close()
            raise
        reading = Reading(self._inner, shown, hasher, envelopes, self._learn)
        chain = Chain(hasher, Dimensions(shown.dim, shown.value_dim))
        self._session = _Session(os.getpid(), keys.suite, inner_hasher, reading, facts, chain)
        return shown

    def load(self) -> Iterator[Block]:
        session = self._opened()
        if session.loaded:
            raise StoreError(f"{self.path} is loaded already; follow it, or open it again")
        # Nothing may be read before all is loaded.
        stop = self._count(session, self._inner.load())
        yield from session.reading.blocks(session.chain, stop)
        if not self.read_only:
            # A writer parses no more.
            session.chain = Chain(session.reading.hasher, None)
        session.loaded = True

    def follow(self) -> Iterator[Block]:
        session = self._opened()
        if self.read_only and session.loaded and isinstance(self._inner, SupportsFollow):
            stop = self._count(session, self._inner.follow())
            yield from session.reading.blocks(session.chain, stop)

    def close(self) -> None:
        self._session = None
        self._inner.close()

    # --- writing -------------------------------------------------------------------------------

    def append(self, records: Sequence[Record], block: Block) -> None:
        session = self._writing()
        if not records:
            return
        if session.stopped:
            raise DurabilityUnknownError(self.path)
        heads = session.reading.heads
        try:
            digests = _digests(records, block, heads.digest)
            sealed = self._sealed(session, records, digests)
            within = Block.of(sealed, heads.records, session.digest, 1)
        except MemoryError as exc:
            raise NotStoredError(self.path, "no memory is left") from exc
        # Until it is known to be done, or undone.
        session.stopped = True
        try:
            self._inner.append(sealed, within)
        except NotStoredError:
            session.reading.envelopes.renew()
            session.stopped = False
            raise
        heads.extend(digests)
        session.digest, session.stopped = within.digest, False

    def pin(self, name: str, value: str) -> None:
        session = self._writing()
        header = session.reading.header.with_pin(name, value)
        if header is not session.reading.header:
            self._inner.pin(*session.facts.pin(name, value))
            session.reading.header = header

    def left_of(
        self, places: Mapping[int, Collection[int]], left: Left | None, n: int, within: Record
    ) -> Record:
        """The record of the store within that takes the place of the one that had more in it."""
        reading = self._writing().reading
        head = reading.heads.before(n)
        record = reading.decoded(n, head, within)
        record = record.erased(places[n]) if left is None else left(n, record)
        [text] = texts_of([record], n)
        sealed = reading.envelopes.seal_record(n, head, text, record.following)
        return replace(sealed, was=leaf(within))

    def _sealed(
        self, session: _Session, records: Sequence[Record], digests: Sequence[bytes]
    ) -> list[CipherRecord]:
        heads, envelopes = session.reading.heads, session.reading.envelopes
        before = [heads.digest, *digests]
        return [
            envelopes.seal_record(n, digest[:HEAD_BYTES], text, record.following)
            for n, (record, digest, text) in enumerate(
                zip(records, before, texts_of(records, heads.records), strict=False), heads.records
            )
        ]

    # --- reading -------------------------------------------------------------------------------

    def read(self, n: int) -> Record:
        reading = self._opened().reading
        if not 0 <= n < reading.heads.records:
            raise StoreError(f"{self.path} has no record {n}; it has {reading.heads.records}")
        return reading.record(n, reading.heads.before(n))

    def keys(self, records: NDArray[np.int64], places: NDArray[np.int64]) -> Float32:
        """By decrypting each record, some 40 µs."""
        dim, rows, held, lines = self._opened().reading.header.dim, list[bytes](), -1, None
        for n, place in zip(records.tolist(), places.tolist(), strict=True):
            if n != held:
                held, lines = n, self.read(n).lines
            rows.append(lines[place].content.key if lines else b"")
        return np.frombuffer(b"".join(rows), dtype="<f4").reshape(len(rows), dim)

    def contexts(self, first: int, stop: int) -> Iterator[Sequence[bytes]]:
        while first < stop:
            records = map(self.read, range(first, min(stop, first + _CONTEXTS)))
            yield [line.content.context for record in records for line in record.lines]
            first += _CONTEXTS

    def sidecar(self, name: str) -> Sidecar | None:
        """None but for what is no content: what others derive is not left on the disk."""
        if name in CLEAR_FILES and isinstance(self._inner, SupportsSidecar):
            return self._inner.sidecar(name)
        return None

    def verify(self, hasher: Hasher, watch: Watch | None = None) -> Report:
        """Besides the files of the store within: what its records were encrypted of."""
        session = self._opened()
        report = session.reading.check(watch)
        if isinstance(self._inner, SupportsVerify):
            report = joined(self._inner.verify(session.inner_hasher), report)
        return report

    def verify_closed(
        self, within: Callable[[bytes], Report], hasher: Hasher, watch: Watch | None = None
    ) -> Report:
        """`verify` of what is not open; `within` checks the closed store's files by its key.

        Nothing is raised for damage, as long as the key ring holds.
        """
        keys = self._unlocking.unlocked(None)
        found = self._unlocking.checked(within, keys.within)
        if found.status == "damaged":
            return replace(found, digest="", keyed=hasher.keyed)
        try:
            self.open(None, hasher)
            for _ in self.load():
                pass
            self._await_records(found.records)
            report = self._opened().reading.check(watch)
            return joined(found, with_rest(report, found.records))
        except CorruptionError as exc:
            return joined(found, damaged_at(exc, found, keyed=hasher.keyed))
        finally:
            self.close()

    def _await_records(self, count: int) -> None:
        """Follow a live writer, which may have written more than it had made durable just now."""
        late = time.monotonic() + _PATIENCE
        while self._opened().reading.heads.records < count and time.monotonic() < late:
            time.sleep(_PAUSE)
            for _ in self.follow():
                pass

    # --- parts ---------------------------------------------------------------------------------

    def _check_key(self, header: StoreHeader, hasher: Hasher) -> None:
        if header.key_check != hasher.check_value():
            raise WrongKeyError(self.path, bool(header.key_check))

    def _opened(self) -> _Session:
        session = self._session
        if session is None:
            raise StoreError(f"{self.path} is not open")
        if session.pid != os.getpid():
            raise StoreError(f"{self.path} was opened before fork; open it in this process")
        return session

    def _writing(self) -> _Session:
        if self.read_only:
            raise ReadOnlyStoreError(self.path)
        session = self._opened()
        if not session.loaded:
            raise StoreError(f"{self.path} is not loaded to its end; load it before writing")
        return session

    def _count(self, session: _Session, blocks: Iterator[Block]) -> int:
        """How many records there are, when the store within has handed over these blocks."""
        stop = session.reading.heads.records
        for block in blocks:
            stop, session.digest = block.stop, block.digest
        return stop

    def _learn(self, epoch: int) -> None:
        """Look at the ring again for the key of a record that was written after a rotation."""
        envelopes = self._opened().reading.envelopes
        if not envelopes.knows(epoch):
            envelopes.with_keys(self._unlocking.again())


def _erase(
    encrypted: ref[EncryptedStore],
    inner: SupportsErase,
    places: Mapping[int, Collection[int]],
    left: Left | None = None,
) -> Erasing:
    """See `SupportsErase.erase`: what is left of a record is encrypted for its place anew."""
    store = encrypted()
    if store is None:
        raise RuntimeError("the encrypted store is gone")
    return inner.erase(places, partial(store.left_of, places, left))


def _digests(records: Sequence[Record], block: Block, digest: bytes) -> list[bytes]:
    """The digest after each record of a batch."""
    if isinstance(block, RecordBlock):
        known = block.leaves
        leaves = [known[i : i + DIGEST_BYTES] for i in range(0, len(known), DIGEST_BYTES)]
    else:
        leaves = [leaf(record) for record in records]
    return list(accumulate(leaves, fold, initial=digest))[1:]
