"""Moving a lattice between stores: every record as one JSON line, anchors and digest unchanged.

The first line is the header: format, dimensions, whether a key takes part, and how many records
follow with which digest, so that an export that was cut short or edited is found out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Final

from pmll_async.errors import (
    CorruptionError,
    DimensionMismatchError,
    FormatError,
    MalformedExportError,
    WrongKeyError,
)
from pmll_async.protocols import Store, StoreHeader
from pmll_async.records.blocks import Block
from pmll_async.records.chain import NOT_OURS, Chain, Dimensions, decode_exactly, group_flaw
from pmll_async.records.cipher import CipherRecord
from pmll_async.records.parser import UnknownOperationError, parse_object
from pmll_async.records.record import Record, encode_record, leaf
from pmll_async.values.anchors import ROOT_DIGEST, Hasher, fold

Progress = Callable[[int, int], None]
"""Told now and then how many records are done, and how many there are."""

EXPORT_FORMAT: Final = 1
WINDOW_FORMAT: Final = 2
"""That of a lattice with a novelty window, which an earlier release would leave behind."""
# One sync of the disk for so many; what a batch holds is what memory an import takes.
_BATCH_RECORDS: Final = 256
_BATCH_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ExportHeader:
    """The first line of an export: what a store for it is made with, and what comes behind.

    `digest` is the lattice's, in hex. A store's id stays behind: a copy is another store.
    """

    store: StoreHeader
    records: int
    digest: str

    def encode(self) -> str:
        """The line, with its end."""
        store = self.store
        # In this order for ever: exports of one lattice are the same, byte for byte.
        window = store.novelty_window
        fields = {
            "pmll": "export",
            "format": EXPORT_FORMAT if window is None else WINDOW_FORMAT,
            "dim": store.dim,
            "value_dim": store.value_dim,
            **({} if window is None else {"novelty_window": window}),
            "keyed": bool(store.key_check),
            "key_check": store.key_check,
            "pins": store.pins,
            "created": store.created,
            "records": self.records,
            "digest": self.digest,
        }
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")) + "\n"


# --- export ------------------------------------------------------------------------------------


def export_records(
    store: Store, hasher: Hasher, *, progress: Progress | None = None
) -> Generator[str, None, None]:
    """The lines of an export, each with its end. Opens the store, and closes it when done or left.

    Streams: one record is in memory at a time. Damage met on the way raises `CorruptionError`: each
    record is held against those before it, and all of them against the digest.
    """
    header = store.open(None, hasher)
    try:
        records, digest = _load(store)
        yield ExportHeader(header, records, digest.hex()).encode()
        checked, chain = ROOT_DIGEST, Chain(hasher, Dimensions(header.dim, header.value_dim))
        for n in range(records):
            record = store.read(n)
            # A store holds a record against itself; against those before it nobody has yet.
            reason = chain.flaw(record)
            checked = fold(checked, leaf(record))
            if not reason and n + 1 == records and checked != digest:
                reason = "it, or one before it, is not what was stored: the digest differs"
            if reason:
                raise CorruptionError(store.path, 0, reason, n)
            chain.add(record)
            yield encode_record(record, _frame(n)) + "}\n"
            if progress is not None:
                progress(n + 1, records)
    finally:
        store.close()


def _frame(n: int) -> str:
    return f'"n":{n},'


def _load(store: Store) -> tuple[int, bytes]:
    """How many records an open store has, and the digest after the last."""
    records, digest = 0, ROOT_DIGEST
    for block in store.load():
        records, digest = block.stop, block.digest
    return records, digest


# --- import ------------------------------------------------------------------------------------


def import_records(
    lines: Iterable[str | bytes],
    store: Store,
    hasher: Hasher,
    *,
    progress: Progress | None = None,
) -> int:
    """Write an export into a store, with every anchor and the digest checked on the way.

    The store is new, or holds the beginning of the same export, as an earlier import that was
    interrupted leaves it; then this one goes on there. Opens and closes it. Returns how many
    records were added. The store has the export's pins in the end; with another value of one
    nothing is written: `PinnedError`.

    Atomic groups stay whole. Memory is bounded by one batch or group, and about 100 bytes a line.
    Raises `MalformedExportError`, and `WrongKeyError` without the key of a keyed export.
    """
    numbered = enumerate(lines, 1)
    header = _header(next(numbered, (1, ""))[1])
    given = header.store
    if given.key_check != hasher.check_value():
        raise WrongKeyError("the export", bool(given.key_check))
    stored = store.open(given, hasher)
    try:
        _check_shape(stored, given)
        intake = _Intake(store, hasher, header)
        for number, line in numbered:
            intake.take(line, number)
            if progress is not None:
                progress(intake.records, header.records)
        intake.finish()
        for name, value in given.pins.items():
            store.pin(name, value)
        return intake.added
    finally:
        store.close()


def _check_shape(stored: StoreHeader, given: StoreHeader) -> None:
    if stored.dim != given.dim:
        raise DimensionMismatchError("a key of the export", stored.dim, given.dim)
    if stored.value_dim != given.value_dim:
        raise DimensionMismatchError("a value of the export", stored.value_dim, given.value_dim)
    # Before anything is written: a pin is for ever, and so is a record.
    stored.check_window(given.novelty_window)
    for name, value in given.pins.items():
        stored.with_pin(name, value)


def _header(line: str | bytes) -> ExportHeader:
    try:
        fields = parse_object(line)
        if fields.get("pmll") != "export":
            raise ValueError("it does not say that it is one")
    except NOT_OURS as exc:
        raise MalformedExportError(1, f"not the header of an export: {exc}") from exc
    if fields.get("format") not in (EXPORT_FORMAT, WINDOW_FORMAT):
        raise FormatError("the export", f"format {fields.get('format')}")
    try:
        return _typed_header(fields)
    except NOT_OURS as exc:
        raise MalformedExportError(1, f"its header is incomplete: {exc!r}") from exc


def _typed_header(fields: dict[str, Any]) -> ExportHeader:
    store = StoreHeader(
        dim=int(fields["dim"]),
        value_dim=int(fields["value_dim"]),
        key_check=str(fields["key_check"]),
        pins={str(name): str(value) for name, value in fields["pins"].items()},
        created=float(fields["created"]),
        novelty_window=int(fields["novelty_window"]) if fields["format"] == WINDOW_FORMAT else None,
    )
    header = ExportHeader(store, int(fields["records"]), str(fields["digest"]))
    window = 1 if store.novelty_window is None else store.novelty_window
    if min(store.dim, window) < 1 or min(store.value_dim, header.records) < 0:
        raise ValueError("a dimension or a number of lines or records is negative or zero")
    return header


class _Intake:
    """Checks records one by one against what came before, and stores them in batches."""

    def __init__(self, store: Store, hasher: Hasher, header: ExportHeader) -> None:
        self._store, self._hasher, self._header = store, hasher, header
        # What the store has already is read and checked again, and not written again.
        self._held, self._held_digest = _load(store)
        self._stored = self._held
        self._digest = ROOT_DIGEST
        self._pending: list[Record] = []
        self._pending_bytes = 0
        self._line = 1
        self._chain = Chain(hasher, Dimensions(header.store.dim, header.store.value_dim))
        if self._held > header.records:
            raise self._malformed(
                f"it has {header.records} records, and {store.path} has {self._held} already"
            )

    @property
    def records(self) -> int:
        """How many records were taken in, those that the store had included."""
        return self._chain.revision

    @property
    def added(self) -> int:
        """How many records were written."""
        return self._stored - self._held

    def take(self, line: str | bytes, number: int) -> None:
        """Check the line and keep its record for the next batch."""
        self._line = number
        record = self._decode(line)
        reason = self._flaw(record)
        if reason:
            raise self._malformed(reason)
        self._chain.add(record)
        if self.records <= self._held:
            self._digest = fold(self._digest, leaf(record))
            if self.records == self._held:
                self._compare_held()
            return
        self._pending.append(record)
        self._pending_bytes += sum(line.content.size for line in record.lines)
        full = len(self._pending) >= _BATCH_RECORDS or self._pending_bytes >= _BATCH_BYTES
        # A group that a crash may not part is stored in one batch, however large.
        if full and not record.following:
            self._write()

    def finish(self) -> None:
        """Write the rest; refuse an export that is cut short or does not add up."""
        if self.records < self._header.records:
            what = f"the export ends after {self.records} of its {self._header.records} records"
            raise self._malformed(f"{what}: it was cut short")
        if self._pending and self._pending[-1].following:
            raise self._malformed("the export ends within a group of records that belong together")
        if self._pending:
            self._write()
        for n, reason in self._chain.bare_flaws():
            raise self._malformed(f"record {n}: {reason}")
        if self._digest.hex() != self._header.digest:
            raise self._malformed(
                "all records together have another digest than the header says: "
                "one was changed, do not use the store"
            )

    def _decode(self, line: str | bytes) -> Record:
        n = self.records
        if n >= self._header.records:
            raise self._malformed(f"more than the {self._header.records} records announced")
        try:
            # A text may hold a lone surrogate, of which no bytes can be made.
            text = (line.encode() if isinstance(line, str) else line).decode()
            return decode_exactly(text.rstrip("\r\n"), _frame(n), self._hasher)
        except UnknownOperationError as exc:
            raise FormatError("the export", f"the {exc} of line {self._line}") from exc
        except NOT_OURS as exc:
            raise self._malformed(f"not record {n} as an export has it: {exc}") from exc

    def _flaw(self, record: Record) -> str:
        """What is wrong with a record in this place; empty when nothing is."""
        if isinstance(record, CipherRecord):
            return "it is encrypted: export from the encrypted store, which decrypts"
        due = self._pending[-1].following if self._pending else 0
        return group_flaw(record.following, due) or self._chain.flaw(record)

    def _compare_held(self) -> None:
        if self._digest != self._held_digest:
            raise self._malformed(
                f"{self._store.path} holds other records already; import into a new store"
            )

    def _write(self) -> None:
        block = Block.of(self._pending, self._stored, self._digest, self._header.store.dim)
        self._store.append(self._pending, block)
        self._stored, self._digest = block.stop, block.digest
        self._pending, self._pending_bytes = [], 0

    def _malformed(self, reason: str) -> MalformedExportError:
        return MalformedExportError(self._line, reason, self._stored)
