"""Reading a store: its records one by one, and as blocks by their rows or from the records."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import takewhile
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.errors import CorruptionError, FormatError, StoreError
from pmll_async.loop.breathing import Breather
from pmll_async.protocols import StoreHeader
from pmll_async.records.blocks import Block
from pmll_async.records.chain import Chain, Dimensions, group_flaw
from pmll_async.records.parser import UnknownOperationError
from pmll_async.records.record import Record, leaf
from pmll_async.stores.jsonl.directory import Directory
from pmll_async.stores.jsonl.frames import BadFrameError
from pmll_async.stores.lmdb.environment import DATA, Environment, key_of
from pmll_async.stores.lmdb.frames import decode_exactly, decode_frame, is_put, keys_of
from pmll_async.stores.lmdb.rows import (
    ROW_RECORDS,
    Decoded,
    FrameRun,
    RowForm,
    put_contexts,
    records_in,
)
from pmll_async.values.anchors import ROOT_DIGEST, Hasher, fold
from pmll_async.values.concert import Float32

_AHEAD: Final = 6
"""Rows read before the first of them is taken, half a megabyte each."""


class LmdbLoader:
    """Brings a lattice up to date with the disk; `parsed` counts records that no row held.

    `records` were handed over, with `digest` after them.
    """

    def __init__(
        self,
        folder: Directory,
        environment: Environment,
        header: StoreHeader,
        hasher: Hasher,
        form: RowForm,
    ) -> None:
        self._folder, self._environment = folder, environment
        self._header, self._hasher = header, hasher
        self._form = form
        self._chain = Chain(hasher, Dimensions(header.dim, header.value_dim))
        self.records, self.digest, self.parsed = 0, ROOT_DIGEST, 0
        self._due = 0

    def runs(self) -> Iterator[FrameRun]:
        """What was added since, in order; frames come only with records that no row holds."""
        if not self._environment.is_of(self._folder):
            raise StoreError(
                f"{self._folder.path}: its file was replaced, as it is when lines are erased; open "
                "it again"
            )
        stop = self._environment.count()
        if stop < self.records:
            raise self._blame(stop, "records that were there are missing")
        firsts = self._row_numbers(stop)
        with closing(self._row_blocks(firsts)) as found:
            for first, row in zip(firsts, found, strict=True):
                yield from self._parse(first)
                if row is not None and row.before == self.digest and first == self.records:
                    yield self._adopt(row.block)
        yield from self._parse(stop)
        if self._due:
            raise self._blame(stop - 1, "its group of records is not complete")

    def follow(self, block: Block) -> None:
        """A writer has added these records."""
        self.records, self.digest = block.stop, block.digest

    def forget_chain(self) -> None:
        """Give up what only parsing needs: a writer that has loaded the log parses no more."""
        self._chain = Chain(self._hasher, None)

    # --- one by one ----------------------------------------------------------------------------

    def read(self, n: int) -> Record:
        """Record `n`, its checksum, number and anchors checked."""
        with self._environment.reading() as transaction:
            frame = transaction.get(key_of(n), db=self._environment.records)
        if frame is None:
            raise self._blame(n, "the record is missing")
        with self._blaming(n):
            return decode_frame(frame, n, self._hasher)

    def keys(self, records: NDArray[np.int64], places: NDArray[np.int64]) -> Float32:
        """See `SupportsKeys.keys`."""
        dim, known, keys, found = self._header.dim, -1, list[bytes](), list[bytes]()
        with self._environment.viewing() as transaction:
            for n, place in zip(records.tolist(), places.tolist(), strict=True):
                if n != known:
                    frame = transaction.get(key_of(n), db=self._environment.records)
                    known, keys = n, self._keys_of(frame, n)
                if place >= len(keys) or len(keys[place]) != dim * 4:
                    raise self._blame(n, f"it has no key {place} of {dim} dimensions")
                found.append(keys[place])
        return np.frombuffer(b"".join(found), dtype="<f4").reshape(len(found), dim)

    def _keys_of(self, frame: memoryview | None, n: int) -> list[bytes]:
        if frame is None:
            raise self._blame(n, "the record is missing")
        with self._blaming(n):
            return keys_of(bytes(frame), n, self._hasher)

    def contexts(self, first: int, stop: int) -> tuple[list[bytes], int]:
        """Contexts of the lines of records from `first` on, and the record that is next."""
        return self._contexts_by_row(first, stop) or self._contexts_one_by_one(first, stop)

    def _contexts_one_by_one(self, first: int, stop: int) -> tuple[list[bytes], int]:
        stop = min(stop, first + ROW_RECORDS)
        records = (self.read(n) for n in range(first, stop))
        return [line.content.context for record in records for line in record.lines], stop

    def _contexts_by_row(self, first: int, stop: int) -> tuple[list[bytes], int] | None:
        """Those of one row whose root proves the frames; None where there is none."""
        environment = self._environment
        with environment.viewing() as transaction:
            cursor = transaction.cursor(db=environment.rows)
            if not (cursor.set_range(key_of(first + 1)) and cursor.prev()) and not cursor.last():
                return None
            begin, row = int.from_bytes(cursor.key(), "big"), cursor.value()
            end = begin + records_in(row)
            if not begin <= first < end:
                return None
            frames = environment.frames(transaction, begin, end)
            known = self._form.contexts(row, begin, frames)
            if known is None:
                return None
            stop = min(stop, end)
            skipped = len(put_contexts(frames[: first - begin]))
            return self._ordered(first, frames[first - begin : stop - begin], known[skipped:]), stop

    def _ordered(
        self, first: int, frames: Sequence[memoryview], of_puts: Sequence[bytes]
    ) -> list[bytes]:
        """The contexts of all lines of these records, those of puts being known."""
        contexts, known = list[bytes](), iter(of_puts)
        for n, frame in enumerate(frames, first):
            if is_put(frame):
                contexts.append(next(known))
            else:
                with self._blaming(n):
                    lines = decode_frame(bytes(frame), n, self._hasher).lines
                contexts += [line.content.context for line in lines]
        return contexts

    # --- many ----------------------------------------------------------------------------------

    def _row_numbers(self, stop: int) -> list[int]:
        environment = self._environment
        with environment.reading() as transaction:
            cursor = transaction.cursor(db=environment.rows)
            if not cursor.set_range(key_of(self.records)):
                return []
            numbers = (int.from_bytes(key, "big") for key in cursor.iternext(values=False))
            return list(takewhile(lambda first: first < stop, numbers))

    def _row_blocks(self, firsts: Sequence[int]) -> Generator[Decoded | None, None, None]:
        """The rows that begin with these records, None for one that does not hold.

        Hashing holds no interpreter lock: another thread does it while this one reads on.
        """
        with ThreadPoolExecutor(1, "pmll-load") as thread:
            ahead: deque[tuple[Decoded | None, Future[bool] | None]] = deque()
            for first in firsts:
                row = self._row(first)
                holds = None if row is None else thread.submit(self._form.keys_hold, row)
                ahead.append((row, holds))
                if len(ahead) == _AHEAD:
                    yield _proven(*ahead.popleft())
            while ahead:
                yield _proven(*ahead.popleft())

    def _row(self, first: int) -> Decoded | None:
        environment = self._environment
        with environment.viewing() as transaction:
            row = transaction.get(key_of(first), db=environment.rows)
            if row is None:
                return None
            frames = environment.frames(transaction, first, first + records_in(row))
            return self._form.decode(row, first, frames)

    def _adopt(self, block: Block) -> FrameRun:
        self._chain.add_block(block)
        self.follow(block)
        # No batch ends inside a group, and rows end with batches.
        self._due = 0
        return FrameRun(block, ())

    def _parse(self, stop: int) -> Iterator[FrameRun]:
        """Records up to `stop` checked in full, in runs as long as a row."""
        while self.records < stop:
            first, last = self.records, min(stop, self.records + ROW_RECORDS)
            with self._environment.reading() as transaction:
                frames = self._environment.frames(transaction, first, last)
            if len(frames) < last - first:
                raise self._blame(first + len(frames), "the record is missing")
            yield self._parsed(first, frames)

    def _parsed(self, first: int, frames: list[bytes]) -> FrameRun:
        breathe = Breather()
        records, leaves, digest = list[Record](), list[bytes](), self.digest
        for n, frame in enumerate(frames, first):
            breathe()
            with self._blaming(n):
                record, head = decode_exactly(frame, n, self._hasher)
                leaves.append(leaf(record))
                digest = fold(digest, leaves[-1])
                reason = group_flaw(record.following, self._due)
                reason = reason or self._chain.flaw(record)
                if head.digest not in (b"", digest):
                    reason = "it, or one before it, is not what was stored: the digest differs"
                if reason:
                    raise BadFrameError(reason)
            self._chain.add(record)
            self._due = record.following
            records.append(record)
        block = Block.of(records, first, self.digest, self._header.dim, leaves)
        self.parsed += len(records)
        self.follow(block)
        return FrameRun(block, frames)

    # --- what is wrong -------------------------------------------------------------------------

    def _blame(self, n: int, reason: str) -> CorruptionError:
        return CorruptionError(self._folder.named(DATA), 0, reason, n)

    @contextmanager
    def _blaming(self, n: int) -> Iterator[None]:
        try:
            yield
        except BadFrameError as exc:
            raise self._blame(n, str(exc)) from exc
        except UnknownOperationError as exc:
            raise FormatError(str(self._folder.path), f"the {exc} of record {n}") from exc


def _proven(row: Decoded | None, holds: Future[bool] | None) -> Decoded | None:
    return row if holds is not None and holds.result() else None
