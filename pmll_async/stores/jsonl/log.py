"""The log: where each record lies, and reading it from there."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, islice, pairwise
from threading import Lock
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from pmll_async.errors import (
    CorruptionError,
    FormatError,
    StoreError,
)
from pmll_async.loop.breathing import Breather
from pmll_async.records.blocks import Block
from pmll_async.records.chain import Chain, Dimensions
from pmll_async.records.content import packed_together
from pmll_async.records.parser import UnknownOperationError
from pmll_async.records.record import Record
from pmll_async.stores.jsonl.directory import Directory
from pmll_async.stores.jsonl.files import Files
from pmll_async.stores.jsonl.folder import (
    FolderHeader,
    Manifest,
    SegmentEntry,
)
from pmll_async.stores.jsonl.frames import (
    BadFrameError,
    check_frame,
    decode_exact_frame,
    decode_frame,
    encode_frame,
)
from pmll_async.stores.jsonl.pieces import Piece, Run, join
from pmll_async.stores.jsonl.puts import Before, LineTexts, read_puts, runs
from pmll_async.stores.jsonl.segments import Segment, Table
from pmll_async.values.anchors import ROOT_DIGEST, Hasher

T = TypeVar("T")
# The most bytes that are read and parsed at once: all threads wait for their turn meanwhile.
_CHUNK: Final = 1 << 20
# Keys of fewer records are packed one by one.
_MANY: Final = 8


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
        self.replaced: tuple[str, ...] = ()
        """Files that segments of the table have taken the place of, and that may be there still."""
        self.digest = ROOT_DIGEST
        self.digests = {0: ROOT_DIGEST}
        self.chain = Chain(hasher, Dimensions(header.dim, header.value_dim))
        self._moving = Lock()

    def place_of(self, n: int) -> int:
        """Where record `n`, or the end, is."""
        return self._places[n]

    def number_at(self, place: int) -> int:
        """The record that begins at a place, or how many there are."""
        return bisect_left(self._places, place)

    def line(self, n: int) -> bytes:
        """The bytes of record `n`."""
        return self.bytes_at(self._places[n], self._places[n + 1])

    def extend(self, ends: array[int]) -> None:
        """More records are there, which end at these places."""
        self._places.extend(ends)
        self.records, self.stop = len(self._places) - 1, self._places[-1]

    def bytes_at(self, place: int, stop: int) -> bytes:
        """The bytes between two places of one segment; fewer where the file ends."""
        data = self._bytes_now(place, stop)
        if len(data) < stop - place and self._relocate is not None:
            # A writer that opened after a crash has moved them into a new segment.
            self.rearrange(self._relocate())
            data = self._bytes_now(place, stop)
        return data

    def read(self, n: int) -> Record:
        """Record `n`, its checksum and number checked."""
        if not 0 <= n < self.records:
            raise StoreError(f"{self._folder.path} has no record {n}; it has {self.records}")
        with self._blaming(n):
            return self.steadily(self._read, n)

    def steadily(self, read: Callable[..., T], *arguments: Any) -> T:
        """What a function reads here, once more where records may have moved meanwhile."""
        try:
            return read(*arguments)
        except (BadFrameError, CorruptionError):
            with self._moving:
                if self._relocate is not None:
                    self.rearrange(self._relocate())
                return read(*arguments)

    def _read(self, n: int) -> Record:
        return decode_frame(self.line(n), n, self._hasher)

    def lengths(self) -> NDArray[np.int64]:
        """How many bytes each record takes."""
        places = np.array(self._places, dtype=np.int64)
        return places[1:] - places[:-1]

    def move(self, lengths: NDArray[np.int64], table: Table) -> None:
        """The same records, of other lengths, lie in other segments."""
        places = array("q", np.append(0, np.cumsum(lengths)).astype(np.int64).tobytes())
        with self._moving:
            self._places, self.table, self.stop = places, table, places[-1]

    def rearrange(self, table: Table) -> None:
        """Take the segments that are there now; a writer elsewhere may have written some anew."""
        known, self.table = self.table, table
        there = {segment.file for segment in table.segments}
        if all(segment.file in there for segment in known.segments):
            return
        lines = islice(table.lines(self._folder, 0), self.records)
        places = array("q", accumulate((len(line) for *_, line in lines), initial=0))
        if len(places) == self.records + 1:
            self._places, self.stop = places, places[-1]

    def parse(self, first: int, stop: int, most: int) -> Iterator[Piece]:
        """Records `first` … `stop - 1` checked in full, in pieces of at most `most`.

        `digest` must be that before the first one; it and `digests` are carried along.
        """
        while first < stop:
            segment = self.table.at(self._places[first])
            end = self._run(first, min(stop, first + most), segment.stop)
            pieces = list[Piece]()
            for lines, texts in runs(self._lines(first, end)):
                pieces.append(self._puts(first, lines, texts) or self._any(first, lines))
                self.digest, first = pieces[-1].block.digest, first + len(lines)
            if self._places[end] == segment.stop:
                self.digests[end] = self.digest
            yield join(pieces)

    def _puts(self, first: int, lines: Sequence[bytes], texts: LineTexts | None) -> Piece | None:
        """These records together, if all are plain puts and nothing is wrong with them."""
        if texts is None:
            return None
        before = Before(first, self._places[first], self.chain.head(first) or "", self.digest)
        puts = read_puts(lines, texts, before, self._header, self._hasher)
        if puts is None:
            return None
        self.chain.add_block(puts.piece.block)
        return puts.piece

    def _any(self, first: int, lines: Sequence[bytes]) -> Piece:
        """These records, one by one."""
        records = list[Record]()
        for n, line in enumerate(lines, first):
            with self._blaming(n):
                records.append(self._checked(line, n))
            self.chain.add(records[-1])
        block = Block.of(records, first, self.digest, self._header.dim)
        return Run(records, block, lines, self._places[first]).piece(packed=self._header.packed)

    def forget_chain(self) -> None:
        """Give up what only parsing needs: a writer that has loaded the log parses no more."""
        self.chain = Chain(self._hasher, None)

    def begin_segment(self, name: str) -> None:
        """What comes now lies in a new segment."""
        self.digests[self.records] = self.digest
        self.table = Table([*self.table.segments, Segment(name, self.stop, 0)])

    def segments(self) -> list[Segment]:
        """The segments, each with all that it has by now."""
        known = self.table.segments
        stops = [*(segment.base for segment in known[1:]), self.stop]
        return [
            Segment(segment.file, segment.base, stop - segment.base)
            for segment, stop in zip(known, stops, strict=True)
        ]

    def manifest(self, store_id: str, roots: tuple[tuple[int, str], ...]) -> Manifest:
        """The manifest of the whole log as it is now, and of the cache with these roots."""
        entries: list[SegmentEntry] = []
        first = 0
        for segment in self.segments():
            n = self.number_at(segment.stop)
            digest = self.digest if n == self.records else self.digests[n]
            entries.append(SegmentEntry(segment.file, n - first, segment.size, digest.hex()))
            first = n
        return Manifest(store_id, tuple(entries), roots, self.replaced)

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
