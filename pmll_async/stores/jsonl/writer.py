"""The writing end of a log; it stops for good where the disk leaves in doubt what is on it."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, Literal

from pmll_async.errors import (
    DurabilityUnknownError,
    StoreError,
    StoreFullError,
    StoreMovedError,
)
from pmll_async.loop.logs import logger
from pmll_async.records.blocks import Block
from pmll_async.records.record import Record
from pmll_async.stores.jsonl.cache import Cache
from pmll_async.stores.jsonl.directory import FULL, Directory, translated, write_all
from pmll_async.stores.jsonl.folder import (
    require_erased_lines,
    write_manifest,
    write_pins,
)
from pmll_async.stores.jsonl.lock import WriterLock
from pmll_async.stores.jsonl.log import Log
from pmll_async.stores.jsonl.pieces import Run
from pmll_async.stores.jsonl.segments import next_number, segment_name

Sync = Literal["group", "os"]
# What `sync="os"` may lose to a crash of the machine.
_SYNC_SECONDS: Final = 1.0


class Writer:
    """Appends to the last segment. Used by one thread at a time."""

    def __init__(
        self,
        folder: Directory,
        log: Log,
        cache: Cache,
        lock: WriterLock,
        *,
        store_id: str,
        sync: Sync,
        segment_bytes: int,
    ) -> None:
        self._folder, self._log, self._cache, self._lock = folder, log, cache, lock
        self._path = str(folder.path)
        self._store, self._mode, self._segment_bytes = store_id, sync, segment_bytes
        # What the manifest has: so many records, and so many blocks that the cache had written.
        self._listed = log.records, 0
        self._durable = log.records
        self._stopped = False
        self._synced_at = time.monotonic()
        name = log.table.segments[-1].file
        self._fd = folder.open(name, os.O_WRONLY | os.O_APPEND)
        lock.announce(self._durable)

    def append(self, records: Sequence[Record], block: Block) -> None:
        # Opening drops an unfinished group, and would drop what was acknowledged.
        if records[-1].following:
            raise StoreError("a batch must not end inside a group of records")
        # Where nobody has called it since the last batch.
        self.keep_up()
        with translated(self._path, before_writing=True):
            self._make_room()
            if any(record.has_erased for record in records):
                require_erased_lines(self._folder)
            lines = self._log.encode(records, self._durable)
            run = Run(records, block, lines, self._log.stop)
            ends, data = run.ends, b"".join(lines)
        # Stopped, whatever should come out of this, until it is known to be done or undone.
        self._stopped = True
        self._write(data)
        self._log.extend(ends)
        self._log.digest = block.digest
        if self._mode == "group" or time.monotonic() - self._synced_at >= _SYNC_SECONDS:
            self._make_durable()
        # After the write, so that what was moved before it is found out before success is told.
        self._lock.check()
        self._cache.add(run)
        self._stopped = False

    def keep_up(self) -> None:
        """Write a block of the cache, where there is enough for one, and list it."""
        if not self._stopped:
            self._cache.keep_up(self._durable)
            self._list_cache()

    def sync(self) -> None:
        """Make durable what is only written; nothing is done when all is."""
        if self._durable == self._log.records:
            return
        self._check()
        self._stopped = True
        self._make_durable()
        self._list_cache()
        self._stopped = False

    def settle(self) -> None:
        """Make all durable; `DurabilityUnknownError` if that is in doubt."""
        self._check()
        self.sync()

    def settle_for(self, numbers: Collection[int]) -> None:
        """Make all durable and listed, so that these records are in no segment that still grows."""
        self.settle()
        self._cache.flush(self._durable)
        if max(numbers) >= self._log.number_at(self._log.table.segments[-1].base):
            self._rotate()
        self._list()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Nothing is written any more if the block fails in doubt of what is on the disk."""
        try:
            yield
        except DurabilityUnknownError:
            self._stopped = True
            raise

    def pin(self, pins: dict[str, str]) -> None:
        """Let `store.json` say these pins."""
        self._check()
        with self.stopped():
            write_pins(self._folder, pins)

    def close(self) -> None:
        """Leave everything durable and listed, unless the disk is in doubt."""
        try:
            if not self._stopped:
                self.sync()
                self._cache.flush(self._durable)
                self._list()
                self._refuse_removed()
        finally:
            os.close(self._fd)

    def _refuse_removed(self) -> None:
        """A folder that was moved is whole where it is now; one that was removed is told of."""
        if not os.fstat(self._folder.fd).st_nlink:
            raise StoreMovedError(self._path, "its folder was removed")

    def _check(self) -> None:
        if self._stopped:
            raise DurabilityUnknownError(self._path)

    def _make_room(self) -> None:
        """Begin a new segment where the last one is full, or shared with a copy of the folder.

        Whatever fails, nothing is written yet. About 1 µs where there is nothing to do.
        """
        self._check()
        # Another writer, whom a broken file lock let in, would have written behind our last record.
        facts, size = os.fstat(self._fd), self._log.stop - self._log.table.segments[-1].base
        if facts.st_size != size:
            self._stopped = True
            raise StoreMovedError(self._path, "somebody else wrote into its log, or cut it off,")
        if size >= self._segment_bytes or facts.st_nlink > 1:
            self._rotate()

    def _write(self, data: bytes) -> None:
        try:
            write_all(self._fd, data)
        except OSError as exc:
            if exc.errno in FULL and self._is_undone():
                raise StoreFullError(self._path) from exc
            raise DurabilityUnknownError(self._path) from exc

    def _is_undone(self) -> bool:
        with suppress(OSError):
            os.ftruncate(self._fd, self._log.stop - self._log.table.segments[-1].base)
            self._stopped = False
        return not self._stopped

    def _make_durable(self) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError as exc:
            # Never again: the next fdatasync would say that all is well.
            raise DurabilityUnknownError(self._path) from exc
        self._durable = self._log.records
        self._synced_at = time.monotonic()
        self._lock.announce(self._durable)

    def _rotate(self) -> None:
        """Go on in a new segment; whatever fails, the log is as it was."""
        self.sync()
        name = segment_name(next_number(self._folder))
        fd = self._folder.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        self._stopped = True
        try:
            self._folder.sync()
        except OSError as exc:
            os.close(fd)
            raise DurabilityUnknownError(self._path) from exc
        os.close(self._fd)
        self._fd, self._stopped = fd, False
        self._list()
        self._log.begin_segment(name)

    def _list_cache(self) -> None:
        """Let the manifest vouch for a block that the cache has written, once all is durable."""
        if self._listed[1] != self._cache.written and self._durable == self._log.records:
            self._list()

    def _list(self) -> None:
        """Let the manifest name all segments, and what is in the cache."""
        state = self._log.records, self._cache.written
        if self._listed == state:
            return
        try:
            write_manifest(self._folder, self._log.manifest(self._store, self._cache.roots))
        # The records are written, and nobody must be told that they are not.
        except Exception as exc:  # noqa: BLE001  # the log is whole, the manifest proves less
            logger("pmll.jsonl").warning(
                "store.manifest.unwritten", path=self._path, error=repr(exc)
            )
        else:
            self._listed = state
