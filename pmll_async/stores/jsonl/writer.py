"""The writing end of a log: append, sync, rotate, and stop for good when the disk is in doubt."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from pmll_async.breathing import Breather
from pmll_async.columns import Block
from pmll_async.errors import DurabilityUnknownError, StoreError, StoreFullError
from pmll_async.records import Record
from pmll_async.stores.jsonl.cache import Cache
from pmll_async.stores.jsonl.folder import (
    is_full,
    log_warning,
    sync_folder,
    write_all,
    write_manifest,
    write_pins,
)
from pmll_async.stores.jsonl.framing import encode_frame
from pmll_async.stores.jsonl.lock import WriterLock
from pmll_async.stores.jsonl.log import Log
from pmll_async.stores.jsonl.pieces import piece_of
from pmll_async.stores.jsonl.segments import next_number, segment_name

Sync = Literal["group", "os"]
_SYNC_SECONDS: Final = 1.0


class Writer:
    """Appends to the last segment. Used by one thread at a time."""

    def __init__(
        self,
        folder: Path,
        log: Log,
        cache: Cache,
        lock: WriterLock,
        *,
        store_id: str,
        sync: Sync,
        segment_bytes: int,
    ) -> None:
        self._folder, self._log, self._cache, self._lock = folder, log, cache, lock
        self._store, self._mode, self._segment_bytes = store_id, sync, segment_bytes
        self._listed = log.records
        self._durable = log.records
        self._stopped = False
        self._synced_at = time.monotonic()
        name = log.table.segments[-1].file
        self._fd = os.open(folder / name, os.O_WRONLY | os.O_APPEND)
        self._announce()

    def append(self, records: Sequence[Record], block: Block) -> None:
        """See `Store.append`."""
        self._check()
        if records[-1].following:
            raise StoreError("a batch must not end inside a group of records")
        if self._log.stop - self._log.table.segments[-1].base >= self._segment_bytes:
            self._rotate()
        first, place = self._log.records, self._log.stop
        lines, breathe = list[bytes](), Breather()
        for n, record in enumerate(records, first):
            breathe()
            lines.append(encode_frame(record, n, self._durable))
        self._write(b"".join(lines))
        piece = piece_of(records, block, lines, place)
        self._log.extend(piece.ends)
        self._log.digest = block.digest
        if self._mode == "group":
            self._confirm()
        elif time.monotonic() - self._synced_at >= _SYNC_SECONDS:
            self.sync()
        self._cache.add(piece, self._durable)

    def sync(self) -> None:
        """Make durable what is only written; nothing is done when all is."""
        if self._durable == self._log.records:
            return
        self._check()
        self._fdatasync()
        self._confirm()

    def pin(self, pins: dict[str, str]) -> None:
        """Let `store.json` say these pins."""
        self._check()
        try:
            write_pins(self._folder, pins)
        except DurabilityUnknownError:
            self._stopped = True
            raise

    def close(self) -> None:
        """Leave everything durable and listed, unless the disk is in doubt."""
        try:
            if not self._stopped:
                self.sync()
                self._cache.flush(self._durable)
                self._list()
        finally:
            os.close(self._fd)

    def _check(self) -> None:
        if self._stopped:
            raise DurabilityUnknownError(str(self._folder))

    def _write(self, data: bytes) -> None:
        # Stopped, whatever should come out of this, until it is known to be done or undone.
        self._stopped = True
        try:
            write_all(self._fd, data)
        except OSError as exc:
            if not is_full(exc):
                raise DurabilityUnknownError(str(self._folder)) from exc
            self._undo()
            raise StoreFullError(str(self._folder)) from exc
        if self._mode == "group":
            self._fdatasync()
        self._stopped = False

    def _undo(self) -> None:
        try:
            os.ftruncate(self._fd, self._log.stop - self._log.table.segments[-1].base)
        except OSError as exc:
            raise DurabilityUnknownError(str(self._folder)) from exc
        self._stopped = False

    def _fdatasync(self) -> None:
        self._stopped = True
        try:
            os.fdatasync(self._fd)
        except OSError as exc:
            # Never again: the next fdatasync would say that all is well.
            raise DurabilityUnknownError(str(self._folder)) from exc
        self._stopped = False

    def _confirm(self) -> None:
        self._durable = self._log.records
        self._synced_at = time.monotonic()
        self._announce()

    def _announce(self) -> None:
        try:
            self._lock.announce(self._durable)
        except OSError as exc:
            log_warning("store.lock.unwritable", path=str(self._folder), error=str(exc))

    def _rotate(self) -> None:
        """Go on in a new segment; whatever fails, the log is as it was."""
        self.sync()
        name = segment_name(next_number(self._folder))
        fd = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        self._stopped = True
        try:
            sync_folder(self._folder)
        except OSError as exc:
            os.close(fd)
            raise DurabilityUnknownError(str(self._folder)) from exc
        os.close(self._fd)
        self._fd, self._stopped = fd, False
        self._list()
        self._log.begin_segment(name)

    def _list(self) -> None:
        """Let the manifest name all segments."""
        if self._listed == self._log.records:
            return
        try:
            write_manifest(self._folder, self._log.manifest(self._store))
        except OSError as exc:
            # The log is whole without it: the manifest only proves less than it could.
            log_warning("store.manifest.unwritten", path=str(self._folder), error=str(exc))
        else:
            self._listed = self._log.records
