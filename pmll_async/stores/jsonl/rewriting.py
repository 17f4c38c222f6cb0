"""Erasing from a log: its segments are written anew without what was erased, and the cache with it.

What is written first are new files that nobody knows yet. Replacing the manifest is the one moment
at which they become the log; then the old ones are removed. A crash before it leaves new files, one
after it old ones, and the next opening for writing removes whichever the manifest does not name.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.errors import DurabilityUnknownError
from pmll_async.loop.breathing import Breather
from pmll_async.protocols import DERIVED
from pmll_async.records.record import Record
from pmll_async.stores.jsonl.blockfile import BlockFile, CachedBlock
from pmll_async.stores.jsonl.cache import Cache, roots_of
from pmll_async.stores.jsonl.directory import Directory, Part, remove
from pmll_async.stores.jsonl.files import Files
from pmll_async.stores.jsonl.folder import (
    CACHE,
    FolderHeader,
    Manifest,
    SegmentEntry,
    require_erased_lines,
    write_manifest,
)
from pmll_async.stores.jsonl.frames import check_frame, encode_frame
from pmll_async.stores.jsonl.log import Log
from pmll_async.stores.jsonl.pieces import Piece, without_erased
from pmll_async.stores.jsonl.segments import Segment, Table, rewritten_name, torn_files
from pmll_async.values.anchors import ROOT_DIGEST

_NEW_CACHE: Final = f"{CACHE}.new"
_GATHERED: Final = 1 << 20
"""Bytes that are written at once; so many and more are copied from file to file."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """The records that take the place of others in a log whose end is durable and listed.

    None of them is in the last segment, which is being written to.
    """

    folder: Directory
    files: Files
    header: FolderHeader
    log: Log
    cache: Cache
    blocks: BlockFile
    records: Mapping[int, Record]
    joined: int
    """Neighbours of fewer bytes together become one segment, where one of them is written anew."""

    def carry_out(self) -> None:
        """Leave no file that has a byte of what was erased."""
        lines = self._lines()
        # What was torn may be half of what is erased, and what a crash left of a cache all of it.
        remove(self.folder, (*DERIVED, *torn_files(self.folder), f"{_NEW_CACHE}.tmp", _NEW_CACHE))
        self.cache.trim()
        require_erased_lines(self.folder)
        old, lengths = self.log.table, self.log.lengths()
        lengths[list(lines)] = [len(line) for line in lines.values()]
        groups = self._groups()
        table = self._table(groups, lengths)
        written = [segment.file for segment in table.segments]
        try:
            for group, segment in zip(groups, table.segments, strict=True):
                if [each.file for each in group] != [segment.file]:
                    self.folder.copy(self._all_parts(group, lines), segment.file)
            headers = self._write_cache(lengths, lines)
            # What does not fit the new log fits the old one for a moment more, and no longer.
            self.cache.adopt(self._same_headers(lines))
            self.cache.trim()
            write_manifest(self.folder, self._manifest(groups, table, headers))
        except DurabilityUnknownError:
            raise
        # Whatever stopped it, nobody knows yet of the files that were written.
        except BaseException:
            self._remove([name for name in written if name not in _names(old)])
            raise
        self.log.move(lengths, table)
        self.log.replaced += tuple(name for name in _names(old) if name not in written)
        if headers != self.cache.headers:
            self.folder.rename(_NEW_CACHE, CACHE)
            self.files.forget(CACHE)
            self.cache.adopt(headers)
        self._remove(self.log.replaced)
        self.folder.sync()
        self.log.replaced = ()

    def _lines(self) -> dict[int, bytes]:
        """The new lines, by the numbers of their records."""
        breathe, lines = Breather(), dict[int, bytes]()
        for n, record in sorted(self.records.items()):
            breathe()
            d = check_frame(self.log.line(n)).d
            lines[n] = encode_frame(record, n, d, self.header.write_vector)
        return lines

    # --- segments ------------------------------------------------------------------------------

    def _groups(self) -> list[list[Segment]]:
        """The segments that become one each: small ones join the one before, for files are few."""
        groups, first = list[list[Segment]](), 0
        *closed, growing = self.log.segments()
        for segment in closed:
            stop = self.log.number_at(segment.stop)
            changed = any(first <= n < stop for n in self.records)
            size = sum(each.size for each in groups[-1]) if groups else self.joined
            if changed and size + segment.size < self.joined:
                groups[-1].append(segment)
            else:
                groups.append([segment])
            first = stop
        return [*groups, [growing]]

    def _table(self, groups: Sequence[Sequence[Segment]], lengths: NDArray[np.int64]) -> Table:
        """The segments as they will be."""
        segments, base, first = list[Segment](), 0, 0
        for group in groups:
            stop = self.log.number_at(group[-1].stop)
            size = int(lengths[first:stop].sum())
            changed = len(group) > 1 or any(first <= n < stop for n in self.records)
            name = rewritten_name(group[0].file) if changed else group[0].file
            segments.append(Segment(name, base, size))
            base, first = base + size, stop
        return Table(segments)

    def _all_parts(self, group: Sequence[Segment], lines: Mapping[int, bytes]) -> Iterator[Part]:
        for segment in group:
            yield from self._parts(segment, lines)

    def _parts(self, segment: Segment, lines: Mapping[int, bytes]) -> Iterator[Part]:
        """The segment's bytes with the new lines in them; what lies close together in one piece."""
        gathered, size, place = list[bytes](), 0, segment.base
        for n, line in lines.items():
            start, stop = self.log.place_of(n), self.log.place_of(n + 1)
            if not segment.base <= start < segment.stop:
                continue
            if start - place > _GATHERED:
                yield b"".join(gathered)
                yield segment.file, place - segment.base, start - segment.base
                gathered, size = [], 0
            else:
                gathered.append(self.log.bytes_at(place, start))
            gathered.append(line)
            size, place = size + start - place + len(line), stop
            if size > _GATHERED:
                yield b"".join(gathered)
                gathered, size = [], 0
        yield b"".join(gathered)
        yield segment.file, place - segment.base, segment.size

    def _manifest(
        self, groups: Sequence[Sequence[Segment]], table: Table, headers: list[CachedBlock]
    ) -> Manifest:
        before = self.log.manifest(self.header.store_id, roots_of(headers))
        entries, first = list[SegmentEntry](), 0
        for group, segment in zip(groups, table.segments, strict=True):
            own = before.segments[first : first + len(group)]
            records = sum(entry.records for entry in own)
            entries.append(SegmentEntry(segment.file, records, segment.size, own[-1].h))
            first += len(group)
        there = {entry.file for entry in entries}
        gone = tuple(name for name in _names(self.log.table) if name not in there)
        return replace(before, segments=tuple(entries), replaced=before.replaced + gone)

    # --- the cache -----------------------------------------------------------------------------

    def _write_cache(
        self, lengths: NDArray[np.int64], lines: Mapping[int, bytes]
    ) -> list[CachedBlock]:
        """The new log's cache, in a file beside; what cannot be read, the next opening makes."""
        headers, made, ends = self.cache.headers, self._same_headers(lines), np.cumsum(lengths)
        same = len(made)
        if same == len(headers):
            return made

        def parts() -> Iterator[Part]:
            yield CACHE, 0, headers[same].position
            for header in headers[same:]:
                piece = self._piece(header, ends, lines)
                if piece is None:
                    return
                position, root = (made[-1].end, made[-1].root) if made else (0, ROOT_DIGEST)
                block, encoded = self.blocks.encode(piece, position, root)
                made.append(block)
                yield from encoded

        self.folder.copy(parts(), _NEW_CACHE)
        return made

    def _same_headers(self, lines: Mapping[int, bytes]) -> list[CachedBlock]:
        """Of the blocks before the first new line: nothing of theirs changes, or moves."""
        first = min(lines)
        return [header for header in self.cache.headers if header.stop <= first]

    def _piece(
        self, header: CachedBlock, ends: NDArray[np.int64], lines: Mapping[int, bytes]
    ) -> Piece | None:
        """What a block of the cache is to be."""
        piece = self.blocks.whole(header)
        if piece is None:
            return None
        changed = [n for n in range(header.first, header.stop) if n in lines]
        if changed:
            texts = [lines.get(n) or self.log.line(n) for n in range(header.first, header.stop)]
            piece = without_erased(piece, [self.records[n] for n in changed], changed, texts)
        places = array("q", ends[header.first : header.stop].tobytes())
        size = int(ends[header.stop - 1] - (ends[header.stop - 2] if header.stop > 1 else 0))
        return replace(piece, ends=places, last=places[-1] - size)

    def _remove(self, names: Sequence[str]) -> None:
        for name in names:
            self.files.forget(name)
        remove(self.folder, names)


def _names(table: Table) -> list[str]:
    return [segment.file for segment in table.segments]
