"""Erasing from an LMDB store: another file is filled without what is erased, and takes its place.

LMDB leaves in its free pages what was in them, so that nothing is erased within a file. Writers go
on with the old one meanwhile, and the new one catches up with what they add.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import lmdb

from pmll_async.errors import CorruptionError
from pmll_async.loop.breathing import Breather
from pmll_async.protocols import DERIVED, Left
from pmll_async.records.record import Record
from pmll_async.stores.jsonl.directory import Directory, remove
from pmll_async.stores.jsonl.frames import BadFrameError
from pmll_async.stores.lmdb.environment import (
    COPY,
    DATA,
    Environment,
    copy_into,
    key_of,
    translated,
)
from pmll_async.stores.lmdb.frames import check_frame, decode_frame, encode_frame
from pmll_async.stores.lmdb.header import facts_of
from pmll_async.stores.lmdb.rows import records_in
from pmll_async.stores.lmdb.writer import LmdbWriter
from pmll_async.values.anchors import Hasher

_TOGETHER: Final = 256
"""So many records are copied in one transaction: a megabyte with vectors of 1000 numbers."""
_ROWS: Final = 16


class LmdbRewriting:
    """See `Erasing`. What is erased was in the old file when it began."""

    def __init__(
        self,
        folder: Directory,
        environment: Environment,
        writer: LmdbWriter,
        hasher: Hasher,
        decode: Callable[[int], Record],
        places: Mapping[int, Collection[int]],
        left: Left | None,
    ) -> None:
        self._folder, self._environment, self._writer = folder, environment, writer
        self._hasher, self._decode, self._places, self._left = hasher, decode, places, left
        self._records = 0
        """How many records were copied."""
        self._row = b""
        """The key of the last row that was looked at."""
        self._copy: lmdb.Environment | None = None
        with self._told():
            writer.check()

    def write(self) -> None:
        with self._told(), self._undone():
            self._copy = copy_into(self._folder, self._environment)
            while self._environment.count() - self._records > _TOGETHER:
                self._catch_up(self._copy)
            self._copy.sync(True)  # to the disk, whatever its flags

    def finish(self) -> None:
        with self._told(), self._undone():
            self._writer.check()
            copy = self._copy
            if copy is None:
                raise RuntimeError("an erasure is written before it is finished")
            self._catch_up(copy)
            with copy.begin(write=True) as transaction:
                facts = facts_of(self._folder, self._environment)
                transaction.cursor(db=copy.open_db(b"meta", txn=transaction)).putmulti(facts)
            copy.sync(True)  # as above
            copy.close()
            remove(self._folder, DERIVED)
            self._writer.renew(max(self._places), self._decode)

    # --- copying -------------------------------------------------------------------------------

    def _catch_up(self, copy: lmdb.Environment) -> None:
        """Copy all that is there by now."""
        stop, breathe = self._environment.count(), Breather()
        while self._records < stop:
            self._copy_records(copy, min(stop, self._records + _TOGETHER), breathe)
        while self._copy_rows(copy):
            breathe()

    def _copy_records(self, copy: lmdb.Environment, stop: int, breathe: Breather) -> None:
        first, items = self._records, list[tuple[bytes, bytes]]()
        with self._environment.reading() as transaction:
            frames = self._environment.frames(transaction, first, stop)
        for n, frame in enumerate(frames, first):
            breathe()
            items.append((key_of(n), self._redacted(n, frame) if n in self._places else frame))
        if len(frames) < stop - first:
            raise self._blamed(first + len(frames), "the record is missing")
        self._put(copy, b"records", items)
        self._records = stop

    def _copy_rows(self, copy: lmdb.Environment) -> bool:
        """Copy some rows, but for those with something erased, which the next opening makes.

        Whether there are more.
        """
        with self._environment.reading() as transaction:
            cursor = transaction.cursor(db=self._environment.rows)
            there = cursor.set_range(self._row + b"\0")
            found = list[tuple[bytes, bytes]]()
            while there and len(found) < _ROWS:
                found.append(cursor.item())
                there = cursor.next()
        kept = [(key, row) for key, row in found if not self._touches(key, row)]
        self._put(copy, b"rows", kept)
        if found:
            self._row = found[-1][0]
        return bool(found)

    def _touches(self, key: bytes, row: bytes) -> bool:
        first = int.from_bytes(key, "big")
        own = range(first, first + records_in(row))
        return not self._places.keys().isdisjoint(own)

    def _put(self, copy: lmdb.Environment, table: bytes, items: list[tuple[bytes, bytes]]) -> None:
        with copy.begin(write=True) as transaction:
            cursor = transaction.cursor(db=copy.open_db(table, txn=transaction))
            cursor.putmulti(items, append=True)

    def _redacted(self, n: int, frame: bytes) -> bytes:
        try:
            record = decode_frame(frame, n, self._hasher)
            digest = check_frame(frame, n).digest
        except BadFrameError as exc:
            raise self._blamed(n, str(exc)) from exc
        left = record.erased(self._places[n]) if self._left is None else self._left(n, record)
        return encode_frame(left, n, digest)

    # --- errors --------------------------------------------------------------------------------

    def _blamed(self, n: int, reason: str) -> CorruptionError:
        return CorruptionError(self._folder.named(DATA), 0, reason, n)

    @contextmanager
    def _told(self) -> Iterator[None]:
        with translated(self._folder.path):
            yield

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """Should the block fail, then nothing is left of the new file."""
        try:
            yield
        # Whatever stopped it, nobody knows yet of what was written.
        except BaseException:
            if self._copy is not None:
                self._copy.close()
            remove(self._folder, (COPY,))
            raise
