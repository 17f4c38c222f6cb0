"""The writing end of an LMDB store: a transaction a batch, and stop for good when in doubt."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import lmdb

from pmll_async.errors import (
    DurabilityUnknownError,
    NotStoredError,
    StoreError,
    StoreFullError,
    StoreMovedError,
)
from pmll_async.loop.breathing import Breather
from pmll_async.loop.logs import logger
from pmll_async.records.blocks import Block
from pmll_async.records.record import Record
from pmll_async.stores.jsonl.directory import Directory, translated
from pmll_async.stores.jsonl.lock import WriterLock
from pmll_async.stores.lmdb.environment import DATA, Environment, full_map, key_of
from pmll_async.stores.lmdb.frames import encode_frame
from pmll_async.stores.lmdb.header import (
    end_erasing,
    is_erasing,
    mark_closed,
    mark_open,
    require_erased_lines,
    write_pins,
)
from pmll_async.stores.lmdb.rows import FrameRun, GatheredRows, RowForm, Tail

if TYPE_CHECKING:
    from lmdb import Transaction

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_ROOM: Final = 1 << 20
"""A disk with less than this left counts as full when a write was cut short."""

Fill = Callable[["Transaction[bytes]"], None]


class LmdbWriter:
    """Appends to the tables. Used by one thread at a time."""

    def __init__(
        self,
        folder: Directory,
        environment: Environment,
        lock: WriterLock,
        form: RowForm,
        *,
        records: int,
        dim: int,
        gathered: GatheredRows,
    ) -> None:
        self._folder, self._environment, self._lock, self._form = folder, environment, lock, form
        self._records, self._dim, self._tail = records, dim, gathered.tail
        self._stopped = False
        # Whatever an earlier writer left is durable with this, before anything follows it.
        self._commit(lambda transaction: self._begin(transaction, gathered))
        lock.announce(records)
        self._stopped = False
        if is_erasing(environment):
            self._renewed(environment.renew)
            self._commit(lambda transaction: end_erasing(environment, transaction))
            self._stopped = False

    def append(self, records: Sequence[Record], block: Block) -> None:
        """See `Store.append`."""
        self.check()
        if records[-1].following:
            raise StoreError("a batch must not end inside a group of records")
        with translated(self._path, before_writing=True):
            run = FrameRun(block, self._frames(records, block.digest))
            tail = self._tail.plus(run)
            joined = tail.joined() if tail.is_full else None

        def fill(transaction: Transaction[bytes]) -> None:
            self._put_frames(transaction, run.frames)
            if any(record.has_erased for record in records):
                require_erased_lines(self._folder, self._environment, transaction)
            if joined is not None:
                row, key = self._form.encode(joined, tail.before), key_of(joined.block.first)
                transaction.put(key, row, db=self._environment.rows)

        self._commit(fill)
        self._records += len(records)
        self._tail = tail if joined is None else Tail(block.digest)
        self._lock.check()
        self._stopped = False

    def renew(self, last: int, decode: Callable[[int], Record]) -> None:
        """Go on in the copy of the file, in which records up to `last` have other frames.

        `decode` gives a record as it is then.
        """
        self._renewed(self._environment.take_over)
        first = self._records - self._tail.records
        if last >= first:
            self._tail = self._tail_anew(first, decode)

    def _tail_anew(self, first: int, decode: Callable[[int], Record]) -> Tail:
        records = [decode(n) for n in range(first, self._records)]
        with self._environment.reading() as transaction:
            frames = self._environment.frames(transaction, first, self._records)
        block = Block.of(records, first, self._tail.before, self._dim)
        return Tail(self._tail.before).plus(FrameRun(block, frames))

    def _renewed(self, renew: Callable[[Directory], None]) -> None:
        try:
            renew(self._folder)
        except (OSError, lmdb.Error):
            # Another file has the name, and could not be opened.
            self._stopped = not self._environment.is_of(self._folder)
            raise

    def pin(self, pins: dict[str, str]) -> None:
        """Let the header say these pins."""
        self.check()
        self._commit(
            lambda transaction: write_pins(self._folder, self._environment, transaction, pins)
        )
        self._stopped = False

    def close(self) -> None:
        """Say that nothing is left to do, unless the disk is in doubt."""
        if self._stopped:
            return
        try:
            self._commit(lambda transaction: mark_closed(self._environment, transaction))
        except StoreError as exc:
            # All is durable without it; the next opening takes a crash for granted.
            logger("pmll.lmdb").warning("store.unmarked", path=self._path, error=str(exc))
        if not os.fstat(self._folder.fd).st_nlink:
            raise StoreMovedError(self._path, "its folder was removed")

    @property
    def _path(self) -> str:
        return str(self._folder.path)

    def _frames(self, records: Sequence[Record], digest: bytes) -> list[bytes]:
        frames, breathe = list[bytes](), Breather()
        last = self._records + len(records) - 1
        for n, record in enumerate(records, self._records):
            breathe()
            frames.append(encode_frame(record, n, digest if n == last else b""))
        return frames

    def _begin(self, transaction: Transaction[bytes], gathered: GatheredRows) -> None:
        mark_open(self._environment, transaction)
        cursor = transaction.cursor(db=self._environment.rows)
        for first, stop, row in gathered.lost:
            there = cursor.set_range(key_of(first))
            while there and cursor.key() < key_of(stop):
                there = cursor.delete() and bool(cursor.key())
            transaction.put(key_of(first), row, db=self._environment.rows)

    def _put_frames(self, transaction: Transaction[bytes], frames: Sequence[bytes]) -> None:
        items = [(key_of(n), frame) for n, frame in enumerate(frames, self._records)]
        cursor = transaction.cursor(db=self._environment.records)
        # Behind each other, so that pages are filled; a number that is there already is refused.
        cursor.putmulti(items, append=True)

    def check(self) -> None:
        """Refuse to write where the disk is in doubt, or the file is not this store's alone."""
        if self._stopped:
            raise DurabilityUnknownError(self._path)
        facts = self._folder.stat(DATA)
        if facts is None or not self._environment.is_of(self._folder):
            self._stopped = True
            raise StoreMovedError(self._path, f"its {DATA} was removed or replaced")
        if facts.st_nlink > 1:
            reason = f"its {DATA} is in another folder, too, which would be changed with it"
            raise NotStoredError(self._path, f"{reason}; remove that link, or open the store again")

    # --- one transaction -----------------------------------------------------------------------

    def _commit(self, fill: Fill) -> None:
        """All that is filled in, durably, or nothing; stopped until the caller has taken note."""
        try:
            with self._environment.env.begin(write=True) as transaction:
                with translated(self._path, before_writing=True):
                    fill(transaction)
                # From here on only LMDB knows what is written.
                self._stopped = True
        except lmdb.MapFullError as exc:
            self._stopped = False
            raise full_map(self._path) from exc
        except lmdb.Error as exc:
            if not self._stopped:
                raise NotStoredError(self._path, str(exc)) from exc
            self._judge(exc)

    def _judge(self, error: lmdb.Error) -> None:
        """Tell a full disk, which has nothing of a batch, from a disk that is in doubt.

        LMDB writes the page that makes a batch valid last, and writes no more when that fails.
        """
        short = error.code == errno.EIO and self._has_no_room()
        if (error.code in _FULL or short) and not self._environment.is_broken():
            self._stopped = False
            raise StoreFullError(self._path) from error
        raise DurabilityUnknownError(self._path) from error

    def _has_no_room(self) -> bool:
        """Whether a write may have been cut short, for which LMDB has no error of its own."""
        facts, disk = self._folder.stat(DATA), os.fstatvfs(self._folder.fd)
        limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        limited = limit != resource.RLIM_INFINITY and facts is not None
        return disk.f_bavail * disk.f_frsize < _ROOM or (
            limited and facts is not None and facts.st_size + _ROOM > limit
        )
