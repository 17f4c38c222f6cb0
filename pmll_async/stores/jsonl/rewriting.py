"""Erasing from a log: its segments are written anew without what was erased, and the cache with it.

What is written first are new files that nobody knows yet, while the log grows in segments that
stay as they are. Replacing the manifest is the one moment at which the new ones become the log;
then the old ones are removed. A crash before it leaves new files, one after it old ones, and the
next opening for writing removes whichever the manifest does not name.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.errors import DurabilityUnknownError
from pmll_async.loop.breathing import Breather
from pmll_async.protocols import DERIVED, Left
from pmll_async.stores.jsonl.cache import Cache, roots_of
from pmll_async.stores.jsonl.directory import Directory, Part, remove, translated
from pmll_async.stores.jsonl.files import Files
from pmll_async.stores.jsonl.folder import (
    FolderHeader,
    Manifest,
    SegmentEntry,
    require_erased_lines,
    write_manifest,
)
from pmll_async.stores.jsonl.frames import BadFrameError
from pmll_async.stores.jsonl.log import Log
from pmll_async.stores.jsonl.pieces import Piece, without_erased
from pmll_async.stores.jsonl.recaching import Recaching
from pmll_async.stores.jsonl.redaction import Redaction
from pmll_async.stores.jsonl.segments import Segment, Table, rewritten_name, torn_files
from pmll_async.stores.jsonl.writer import Writer
from pmll_async.values.anchors import Hasher

_GATHERED: Final = 1 << 20
"""Bytes that are read and written at once; what nothing changes in is copied from file to file."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is to be erased: an open folder and what reads and writes it.

    Neighbours of fewer bytes than `joined` together become one segment, where one of them is
    written anew.
    """

    folder: Directory
    files: Files
    header: FolderHeader
    hasher: Hasher
    log: Log
    cache: Cache
    writer: Writer
    joined: int


class Rewriting:
    """See `Erasing`. The segments that were closed when it began are its own, and no others."""

    def __init__(self, at: Place, places: Mapping[int, Collection[int]], left: Left | None) -> None:
        self._at, self._log = at, at.log
        with self._told():
            at.writer.settle_for(places)
            require_erased_lines(at.folder)
            self._numbers = sorted(places)
            self._redaction = Redaction(at.header, at.hasher, places, left)
            self._closed = self._log.segments()[:-1]
            self._records = self._log.number_at(self._closed[-1].stop)
            self._lengths = self._log.lengths()[: self._records]
            self._groups = self._grouped()
            self._table, self._written = list[Segment](), list[str]()
            self._starts: NDArray[np.int64] = np.zeros(1, np.int64)
            self._cache = Recaching(at.folder, at.files, at.cache, self._numbers[0])

    def write(self) -> None:
        with self._told(), self._undone():
            base = first = 0
            for group in self._groups:
                stop, name = self._log.number_at(group[-1].stop), group[0].file
                if len(group) > 1 or self._numbers_in(group[0]):
                    name = rewritten_name(name)
                    self._written.append(name)
                    self._at.folder.copy(self._parts(group), name)
                size = int(self._lengths[first:stop].sum())
                self._table.append(Segment(name, base, size))
                base, first = base + size, stop
            self._starts = np.append(0, np.cumsum(self._lengths))
            while self._cache.is_behind:
                self._cache.catch_up(self._changed)

    def finish(self) -> None:
        at, log = self._at, self._log
        with self._told():
            with self._undone():
                at.writer.settle()
                self._cache.catch_up(self._changed)
                # What was torn may be half of what is erased.
                remove(at.folder, (*DERIVED, *torn_files(at.folder)))
                self._cache.leave_the_old()
                manifest, table = self._manifest(), self._whole_table()
            self._switch(manifest)
            log.move(np.append(self._lengths, log.lengths()[self._records :]), table)
            there = {segment.file for segment in self._table}
            log.replaced += tuple(each.file for each in self._closed if each.file not in there)
            self._cache.take_over(self._moved)
            self._remove(log.replaced)
            at.folder.sync()
            log.replaced = ()

    def _switch(self, manifest: Manifest) -> None:
        """From here on the new files are the log."""
        doubt = None
        with self._undone():
            try:
                write_manifest(self._at.folder, manifest)
            # Either may be the log then, and both are to stay.
            except DurabilityUnknownError as exc:
                doubt = exc
        if doubt is not None:
            raise doubt

    # --- segments ------------------------------------------------------------------------------

    def _grouped(self) -> list[list[Segment]]:
        """The segments that become one each: small ones join the one before, for files are few."""
        groups, joined = list[list[Segment]](), self._at.joined
        for segment in self._closed:
            size = sum(each.size for each in groups[-1]) if groups else joined
            if size + segment.size < joined and self._numbers_in(segment):
                groups[-1].append(segment)
            else:
                groups.append([segment])
        return groups

    def _numbers_in(self, segment: Segment) -> Sequence[int]:
        """The records of a segment of which something is to be erased."""
        first, stop = self._log.number_at(segment.base), self._log.number_at(segment.stop)
        return self._numbers[bisect_left(self._numbers, first) : bisect_left(self._numbers, stop)]

    def _parts(self, group: Sequence[Segment]) -> Iterator[Part]:
        """The group's bytes without what is erased."""
        for segment in group:
            place = segment.base
            for run in self._runs(segment):
                start, stop = self._log.place_of(run[0]), self._log.place_of(run[-1] + 1)
                if start - place > _GATHERED:
                    yield segment.file, place - segment.base, start - segment.base
                    place = start
                yield self._redacted(place, stop, run)
                place = stop
            yield segment.file, place - segment.base, segment.size

    def _runs(self, segment: Segment) -> Iterator[Sequence[int]]:
        """The records to be changed in a segment, those together that lie close together."""
        run, start, place = list[int](), segment.base, segment.base
        for n in self._numbers_in(segment):
            here, stop = self._log.place_of(n), self._log.place_of(n + 1)
            if run and (stop - start > _GATHERED or here - place > _GATHERED):
                yield run
                run = []
            if not run:
                start = here
            run.append(n)
            place = stop
        if run:
            yield run

    def _redacted(self, place: int, stop: int, numbers: Sequence[int]) -> bytes:
        """The bytes between two places, without what is erased of these records."""
        data, parts, done, breathe = self._log.bytes_at(place, stop), list[bytes](), 0, Breather()
        for n in numbers:
            breathe()
            start, end = self._log.place_of(n) - place, self._log.place_of(n + 1) - place
            try:
                line = self._redaction.line(n, data[start:end])
            except BadFrameError as exc:
                raise self._log.blamed(n, exc) from exc
            self._lengths[n] = len(line)
            parts += (data[done:start], line)
            done = end
        return b"".join([*parts, data[done:]])

    @property
    def _moved(self) -> int:
        """By how much what comes behind the closed segments has moved."""
        return int(self._starts[-1]) - self._closed[-1].stop

    def _whole_table(self) -> Table:
        """All segments as they will be."""
        later = self._log.segments()[len(self._closed) :]
        moved = [Segment(each.file, each.base + self._moved, each.size) for each in later]
        return Table([*self._table, *moved])

    def _manifest(self) -> Manifest:
        before = self._log.manifest(self._at.header.store_id, roots_of(self._cache.made))
        entries, first = list[SegmentEntry](), 0
        for group, segment in zip(self._groups, self._table, strict=True):
            own = before.segments[first : first + len(group)]
            records = sum(entry.records for entry in own)
            entries.append(SegmentEntry(segment.file, records, segment.size, own[-1].h))
            first += len(group)
        there = {entry.file for entry in entries}
        gone = tuple(each.file for each in self._closed if each.file not in there)
        later = before.segments[first:]
        return replace(before, segments=(*entries, *later), replaced=before.replaced + gone)

    # --- the cache -----------------------------------------------------------------------------

    def _changed(self, piece: Piece) -> Piece:
        """What a block of the cache is to be."""
        first, stop, done = piece.block.first, piece.block.stop, self._redaction.done
        changed = {n: done[n] for n in range(first, stop) if n in done}
        if changed:
            piece = without_erased(piece, changed)
        ends = np.array(piece.ends, dtype=np.int64) + self._moved
        own = min(max(0, self._records - first), len(ends))
        ends[:own] = self._starts[first + 1 : first + 1 + own]
        is_own = stop - 1 <= self._records
        last = int(self._starts[stop - 1]) if is_own else piece.last + self._moved
        return replace(piece, ends=array("q", ends.tobytes()), last=last)

    # --- errors --------------------------------------------------------------------------------

    @contextmanager
    def _told(self) -> Iterator[None]:
        with translated(str(self._at.folder.path)), self._at.writer.stopped():
            yield

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """Should the block fail, then what was written is removed: nobody knows of it yet."""
        try:
            yield
        # Whatever stopped it, nobody knows yet of what was written.
        except BaseException:
            self._cache.give_up()
            self._remove(self._written)
            raise

    def _remove(self, names: Sequence[str]) -> None:
        for name in names:
            self._at.files.forget(name)
        remove(self._at.folder, names)
