"""The log: where each record lies, reading it from there, and writing on at its end.

The writer stops for good where the disk leaves in doubt what is on it.
"""

from __future__ import annotations

import os
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Final, Literal

from pmll_async.errors import (
    CorruptionError,
    DurabilityUnknownError,
    FormatError,
    StoreError,
    StoreFullError,
    StoreMovedError,
)
from pmll_async.loop.breathing import Breather
from pmll_async.loop.logs import logger
from pmll_async.records.blocks import Block
from pmll_async.records.chain import Chain, Dimensions
from pmll_async.records.content import packed_together
from pmll_async.records.parser import UnknownOperationError
from pmll_async.records.record import Record
from pmll_async.stores.jsonl.cache import Cache
from pmll_async.stores.jsonl.directory import FULL, Directory, translated, write_all
from pmll_async.stores.jsonl.files import Files
from pmll_async.stores.jsonl.folder import (
    FolderHeader,
    Manifest,
    SegmentEntry,
    write_manifest,
    write_pins,
)
from pmll_async.stores.jsonl.frames import (
    BadFrameError,
    check_frame,
    decode_exact_frame,
    decode_frame,
    encode_frame,
)
from pmll_async.stores.jsonl.lock import WriterLock
from pmll_async.stores.jsonl.pieces import Piece, Run
from pmll_async.stores.jsonl.segments import Segment, Table, next_number, segment_name
from pmll_async.values.anchors import ROOT_DIGEST, Hasher

# The most bytes that are read and parsed at once: all threads wait for their turn meanwhile.
_CHUNK: Final = 1 << 20
Sync = Literal["group", "os"]
# Keys of fewer records are packed one by one.
_MANY: Final = 8
# What `sync="os"` may lose to a crash of the machine.
_SYNC_SECONDS: Final = 1.0


class Log:
    """Where each record ends, 8 bytes a record, and the digest after the last one.

    `chain` is what the records loaded so far make. `digests` keeps the digest after those numbers
    of records at which a segment ends.
    """

    def __init__(
        self,
        folder: Directory,
        files: Files,
        header: FolderHeader,
        hasher: Hasher,
        relocate: Callable[[], Table] | None = None,
    ) -> None:
        self._folder, self._files = folder, files
        self._header = header
        self._write_vector = header.write_vector
        self._hasher, self._relocate = hasher, relocate
        # The place of record n is entry n; the array only grows, at its end, in one step, for other
        # threads read it meanwhile.
        self._places = array("q", [0])
        self.records = self.stop = 0
        """How many records are there, and the place behind the last."""
        self.table = Table(())
        self.digest = ROOT_DIGEST
        self.digests = {0: ROOT_DIGEST}
        self.chain = Chain(hasher, Dimensions(header.dim, header.value_dim))

    def place_of(self, n: int) -> int:
        """Where record `n`, or the end, is."""
        return self._places[n]

    def extend(self, ends: array[int]) -> None:
        """More records are there, which end at these places."""
        self._places.extend(ends)
        self.records, self.stop = len(self._places) - 1, self._places[-1]

    def bytes_at(self, place: int, stop: int) -> bytes:
        """The bytes between two places of one segment; fewer where the file ends."""
        data = self._bytes_now(place, stop)
        if len(data) < stop - place and self._relocate is not None:
            # A writer that opened after a crash has moved them into a new segment.
            self.table = self._relocate()
            data = self._bytes_now(place, stop)
        return data

    def read(self, n: int) -> Record:
        """Record `n`, its checksum and number checked."""
        if not 0 <= n < self.records:
            raise StoreError(f"{self._folder.path} has no record {n}; it has {self.records}")
        place = self._places[n]
        with self._blaming(n):
            return decode_frame(self.bytes_at(place, self._places[n + 1]), n, self._hasher)

    def parse(self, first: int, stop: int, most: int) -> Iterator[Piece]:
        """Records `first` … `stop - 1` checked in full, in pieces of at most `most`.

        `digest` must be that before the first one; it and `digests` are carried along.
        """
        while first < stop:
            segment = self.table.at(self._places[first])
            end = self._run(first, min(stop, first + most), segment.stop)
            lines = self._lines(first, end)
            records = []
            for n, line in enumerate(lines, first):
                with self._blaming(n):
                    records.append(self._checked(line, n))
                self.chain.add(records[-1])
            block = Block.of(records, first, self.digest, self._header.dim)
            self.digest = block.digest
            if self._places[end] == segment.stop:
                self.digests[end] = block.digest
            run = Run(records, block, lines, self._places[first])
            yield run.piece(packed=self._header.packed)
            first = end

    def forget_chain(self) -> None:
        """Give up what only parsing needs: a writer that has loaded the log parses no more."""
        self.chain = Chain(self._hasher, None)

    def begin_segment(self, name: str) -> None:
        """What comes now lies in a new segment."""
        self.digests[self.records] = self.digest
        self.table = Table([*self.table.segments, Segment(name, self.stop, 0)])

    def manifest(self, store_id: str, roots: tuple[tuple[int, str], ...]) -> Manifest:
        """The manifest of the whole log as it is now, and of the cache with these roots."""
        entries: list[SegmentEntry] = []
        first = 0
        stops = [segment.base for segment in self.table.segments[1:]] + [self.stop]
        for segment, place in zip(self.table.segments, stops, strict=True):
            n = bisect_left(self._places, place)
            digest = self.digest if n == self.records else self.digests[n]
            size = place - segment.base
            entries.append(SegmentEntry(segment.file, n - first, size, digest.hex()))
            first = n
        return Manifest(store_id, tuple(entries), roots)

    def contexts(self, first: int, stop: int) -> tuple[list[bytes], int]:
        """The contexts of the lines of records `first` … `stop - 1`, and `stop`."""
        records = (self.read(n) for n in range(first, stop))
        return [line.content.context for record in records for line in record.lines], stop

    def encode(self, records: Sequence[Record], d: int) -> list[bytes]:
        """The lines of the next records, written when `d` were known durable."""
        breathe, lines, write_vector = Breather(), list[bytes](), self._write_vector
        if self._header.packed and len(records) >= _MANY:
            keys = [line.content.key for record in records for line in record.lines]
            write_vector = packed_together([key for key in keys if key])
        for n, record in enumerate(records, self.records):
            breathe()
            lines.append(encode_frame(record, n, d, write_vector))
        return lines

    def _checked(self, line: bytes, n: int) -> Record:
        frame = check_frame(line)
        record = decode_exact_frame(line, frame, self._hasher, self._write_vector)
        reason = "" if frame.n == n else f"record {frame.n} is in its place"
        if reason := reason or self.chain.flaw(record):
            raise BadFrameError(reason)
        return record

    def _run(self, first: int, stop: int, place: int) -> int:
        """How far records from `first` on lie before a place and are not too much at once."""
        place = min(place, self._places[first] + _CHUNK)
        return max(first + 1, bisect_right(self._places, place, first, stop + 1) - 1)

    def _lines(self, first: int, stop: int) -> list[bytes]:
        start = self._places[first]
        data = self.bytes_at(start, self._places[stop])
        bounds = [place - start for place in self._places[first : stop + 1]]
        return [data[begin:end] for begin, end in pairwise(bounds)]

    def _bytes_now(self, place: int, stop: int) -> bytes:
        segment = self.table.at(place)
        try:
            return self._files.read(segment.file, stop - place, place - segment.base)
        except FileNotFoundError:
            return b""

    def blamed(self, n: int, error: BadFrameError) -> CorruptionError:
        """The error of record `n`, whose bytes turned out to be wrong."""
        segment = self.table.at(self._places[n])
        file, offset = self._folder.named(segment.file), self._places[n] - segment.base
        return CorruptionError(file, offset, str(error), n)

    @contextmanager
    def _blaming(self, n: int) -> Iterator[None]:
        try:
            yield
        except BadFrameError as exc:
            raise self.blamed(n, exc) from exc
        except UnknownOperationError as exc:
            raise FormatError(str(self._folder.path), f"the {exc} of record {n}") from exc


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
        # The log is whole without it: the manifest only proves less than it could. And the records
        # are written: nobody must be told that they are not.
        except Exception as exc:  # noqa: BLE001
            logger("pmll.jsonl").warning(
                "store.manifest.unwritten", path=self._path, error=repr(exc)
            )
        else:
            self._listed = state
