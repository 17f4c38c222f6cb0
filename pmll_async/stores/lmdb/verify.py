"""Checking everything in an LMDB store without changing it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from lmdb import verify as pages

from pmll_async.errors import CorruptionError, StoreError, WrongKeyError
from pmll_async.loop.breathing import Breather
from pmll_async.protocols import StoreHeader
from pmll_async.records.blocks import Block
from pmll_async.records.chain import Chain, Dimensions, group_flaw
from pmll_async.records.findings import Finding, Progress, Report, Watch, status_of
from pmll_async.records.parser import UnknownOperationError
from pmll_async.records.record import Record, leaf
from pmll_async.stores.jsonl.directory import Directory
from pmll_async.stores.jsonl.frames import BadFrameError
from pmll_async.stores.jsonl.lock import has_writer
from pmll_async.stores.lmdb.environment import (
    DATA,
    Environment,
    give_back,
    key_of,
    take,
    translated,
)
from pmll_async.stores.lmdb.frames import Head, decode_exactly
from pmll_async.stores.lmdb.header import read_header
from pmll_async.stores.lmdb.rows import FrameRun, RowForm, records_in
from pmll_async.stores.lmdb.store import MAP_BYTES, existing_folder
from pmll_async.values.anchors import ROOT_ANCHOR, ROOT_DIGEST, Hasher, fold

_CHUNK: Final = 256


def verify(
    path: str | os.PathLike[str],
    integrity_key: bytes | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Report:
    """Check the pages, records and rows of the store at `path`; damage is reported, never raised.

    The pages are checked without LMDB, which a damaged one may crash, and not beside a live writer:
    then what is durable now is read through LMDB alone. `progress` is told records, and `watch`
    each one. Raises `WrongKeyError` for another key than the store's, `FormatError` for a store of
    a later version, and `StoreError` where there is none.
    """
    return check(Path(path), Hasher(integrity_key), progress, watch)


def check(
    place: Path, hasher: Hasher, progress: Progress | None = None, watch: Watch | None = None
) -> Report:
    """`verify`, for who has a hasher."""
    with translated(place), ExitStack() as stack:
        folder = existing_folder(place)
        stack.callback(folder.close)
        live = has_writer(folder)
        damage = [] if live else _page_flaws(folder)
        if damage:
            findings = tuple(Finding("damage", DATA, 0, None, reason) for reason in damage)
            return Report(findings, 0, 0, ROOT_ANCHOR, "", "damaged")
        try:
            environment = take(folder, MAP_BYTES, writes=False)
            stack.callback(give_back, environment)
            if not environment.has_tables():
                raise StoreError(f"{place} is not a store")
            header = read_header(folder, environment)
        except CorruptionError as exc:
            return Report(
                (Finding("damage", DATA, 0, None, exc.reason),), 0, 0, ROOT_ANCHOR, "", "damaged"
            )
        if header.key_check != hasher.check_value():
            raise WrongKeyError(str(place), bool(header.key_check))
        return _RecordCheck(environment, header, hasher, progress, watch, live=live).report()


def _page_flaws(folder: Directory) -> list[str]:
    # This module of LMDB's has no types.
    checker: Any = pages
    try:
        return list(checker.verify(str(folder.place)))
    except checker.VerifyError as exc:
        return [str(exc)]


class _RecordCheck:
    def __init__(
        self,
        environment: Environment,
        header: StoreHeader,
        hasher: Hasher,
        progress: Progress | None,
        watch: Watch | None,
        *,
        live: bool,
    ) -> None:
        self._live = live
        self._environment, self._header, self._hasher = environment, header, hasher
        self._progress, self._watch = progress, watch
        self._form = RowForm(header, hasher)
        self._chain = Chain(hasher, Dimensions(header.dim, header.value_dim))
        self._digest: bytes | None = ROOT_DIGEST
        self._due = 0
        self._findings: list[Finding] = []
        self._rows = _Rows(environment)

    def report(self) -> Report:
        count = self._environment.count()
        with self._environment.reading() as transaction:
            entries = transaction.stat(self._environment.records)["entries"]
        if entries < count:
            self._find(None, f"it has {entries} records where the last one is number {count - 1}")
        breathe = Breather()
        for n, frame in self._frames(count):
            breathe()
            self._take(n, frame)
            if self._progress is not None:
                self._progress(n + 1, count)
        if self._due:
            self._find(count - 1, "its group of records is not complete")
        if self._rows.left(count):
            self._find(self._rows.first, "the row is not one of its records")
        erasures = self._chain.erasures(DATA)
        # A live writer is about to remove what it has just erased.
        self._findings += [each for each in erasures if not self._live or each.severity != "torn"]
        return Report(
            findings=tuple(self._findings),
            records=count,
            lines=self._chain.length(count),
            head=self._chain.head(count) or ROOT_ANCHOR,
            digest=self._digest.hex() if self._digest else "",
            status=status_of(self._findings),
            store=self._header.store_id,
            keyed=self._hasher.keyed,
            erased=self._chain.erased,
        )

    def _frames(self, count: int) -> Iterator[tuple[int, bytes]]:
        first = 0
        while first < count:
            with self._environment.reading() as transaction:
                stop = min(count, first + _CHUNK)
                frames = self._environment.frames(transaction, first, stop)
            # One that is missing stands for itself: it fails as the empty frame that it is.
            yield from enumerate(frames or [b""], first)
            first += len(frames) or 1

    def _take(self, n: int, frame: bytes) -> None:
        found, own = self._decoded(n, frame), None
        if found is None:
            self._chain.miss(n + 1)
            self._digest = None
            self._due = 0
            self._rows.drop()
        else:
            record, head = found
            reason = group_flaw(record.following, self._due)
            if reason:
                self._find(n, reason)
            self._due = record.following
            self._rows.begin(n, self._digest)
            self._chain.add(record)
            own = leaf(record)
            self._digest = fold(self._digest, own) if self._digest else None
            if head.digest and self._digest not in (None, head.digest):
                self._find(n, "the digest after it is not that of the records")
            self._rows.add(record, frame)
        if self._watch is not None:
            self._watch(own, self._chain.head(n + 1), None)
        reason = self._rows.flaw(self._form, self._header.dim)
        if reason:
            self._find(self._rows.first, reason)

    def _decoded(self, n: int, frame: bytes) -> tuple[Record, Head] | None:
        """The record, or None after telling why it is none; wrong anchors are told as well."""
        try:
            record, head = decode_exactly(frame, n, self._hasher)
        except (BadFrameError, UnknownOperationError) as exc:
            self._find(n, str(exc) if frame else "the record is missing")
            return None
        reason = self._chain.shape_flaw(record)
        if reason:
            self._find(n, reason)
            return None
        reason = self._chain.place_flaw(record)
        if reason:
            self._find(n, reason)
        return record, head

    def _find(self, n: int | None, reason: str) -> None:
        self._findings.append(Finding("damage", DATA, 0, n, reason))


class _Rows:
    """Holds each row against what its records make."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self.first: int | None = None
        self._before = ROOT_DIGEST
        self._row = b""
        self._records: list[Record] = []
        self._frames: list[bytes] = []
        self._seen = 0

    def begin(self, n: int, digest: bytes | None) -> None:
        """Record `n` comes next; a row may begin with it."""
        if self._row:
            return
        with self._environment.reading() as transaction:
            row = transaction.get(key_of(n), db=self._environment.rows)
        if row is not None:
            self._seen += 1
            self.first = n
            if digest is not None:
                self._before, self._row = digest, row

    def add(self, record: Record, frame: bytes) -> None:
        """The record that was announced."""
        if self._row:
            self._records.append(record)
            self._frames.append(frame)

    def drop(self) -> None:
        """A record cannot be read, and is told of: its row cannot be held against it."""
        self._row, self._records, self._frames = b"", [], []

    def flaw(self, form: RowForm, dim: int) -> str:
        """What is wrong with a row whose records are complete; empty until then, too."""
        row, count = self._row, records_in(self._row)
        if not row or len(self._records) < count:
            return ""
        first, records, frames = self.first or 0, self._records, self._frames
        self.drop()
        block = Block.of(records, first, self._before, dim)
        same = count and form.encode(FrameRun(block, frames), self._before) == row
        return "" if same else "its row does not say what it and the records behind it are"

    def left(self, count: int) -> bool:
        """Whether there are rows that no record was behind."""
        with self._environment.reading() as transaction:
            cursor = transaction.cursor(db=self._environment.rows)
            keys = [key for key in cursor.iternext(values=False) if key < key_of(count)]
        return bool(self._row) or len(keys) != self._seen
