"""Segments: the files that a log is cut into, and where each lies in the whole.

A place in the log is one number, the bytes before it in all segments together. Moving the end of a
log into a new segment changes no such place, so what knows them stays right.

A segment may begin with a record that an earlier one holds already: a crash came between the
copying of unproven records and the cutting of the originals. Then the later segment counts.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pmll_async.errors import CorruptionError
from pmll_async.stores.jsonl.directory import Directory, NotPlainError
from pmll_async.stores.jsonl.folder import SEGMENT_NAME, Manifest
from pmll_async.stores.jsonl.frames import BadFrameError, check_frame

_NAME: Final = re.compile(rf"{SEGMENT_NAME.pattern}(\.torn-[0-9]+)?\Z")
# Opening goes through many lines; with the default of 8 kB it would make as many calls.
_BUFFER: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Segment:
    """One file: `base` bytes of log lie before it; `size` of its bytes count, `excess` do not."""

    file: str
    base: int
    size: int
    excess: int = 0

    @property
    def stop(self) -> int:
        """The place behind it."""
        return self.base + self.size


def segment_name(number: int) -> str:
    """The file of segment `number`."""
    return f"log-{number:08d}.jsonl"


def rewritten_name(name: str) -> str:
    """The file of a segment after it was written anew once more."""
    match = _NAME.match(name)
    number, times = (match[1], int(match[2] or 0)) if match else (name, 0)
    return f"log-{number}-{times + 1}.jsonl"


def next_number(folder: Directory) -> int:
    """A number that no segment has or had: a reader may still hold an old one open by its name."""
    return 1 + max((number for number, *_ in _numbered(folder, torn=True)), default=0)


def segment_files(folder: Directory) -> list[str]:
    """The names of all segments, in order; of one that was written anew the newest."""
    return list(_newest(folder).values())


def torn_files(folder: Directory) -> list[str]:
    """The names of what was torn and moved aside."""
    whole = {name for *_, name in _numbered(folder)}
    return [name for *_, name in _numbered(folder, torn=True) if name not in whole]


def _newest(
    folder: Directory, listed: Container[str] = (), replaced: Container[str] = ()
) -> dict[int, str]:
    """Each segment's file by its number: the listed one, else the one that was written last."""
    names: dict[int, str] = {}
    for number, _, name in sorted(_numbered(folder)):
        if name not in replaced and names.get(number) not in listed:
            names[number] = name
    return names


def _numbered(folder: Directory, *, torn: bool = False) -> Iterator[tuple[int, int, str]]:
    for match in filter(None, map(_NAME.match, folder.names())):
        if torn or not match[3]:
            yield int(match[1]), int(match[2] or 0), match[0]


class Table:
    """The segments of a log in order, without gap or overlap; `superseded` files do not count."""

    def __init__(self, segments: Sequence[Segment], superseded: Sequence[str] = ()) -> None:
        self.segments = tuple(segments)
        self.superseded = tuple(superseded)
        self._bases = [segment.base for segment in segments]

    @property
    def stop(self) -> int:
        """The place behind the log."""
        return self.segments[-1].stop if self.segments else 0

    def at(self, place: int) -> Segment:
        """The segment that the byte at a place is in."""
        return self.segments[bisect_right(self._bases, place) - 1]

    def lines(self, folder: Directory, place: int) -> Iterator[tuple[Segment, int, bytes]]:
        """Every line from a place on: its segment, its offset in that file, and its bytes."""
        for segment in self.segments:
            if segment.stop > place:
                offset = max(0, place - segment.base)
                for line in _lines(folder, segment.file, offset, segment.size):
                    yield segment, offset, line
                    offset += len(line)


def _lines(folder: Directory, name: str, offset: int, stop: int) -> Iterator[bytes]:
    with os.fdopen(folder.open(name, os.O_RDONLY), "rb", buffering=_BUFFER) as file:
        file.seek(offset)
        while offset < stop:
            line = file.readline()
            if not line:
                return
            offset += len(line)
            yield line


def locate(folder: Directory, manifest: Manifest) -> Table:
    """The segments that are there, held against the manifest.

    Raises `CorruptionError` for one that is missing, unknown, or shorter or longer than it can be.
    """
    listed = manifest.segments
    names = [entry.file for entry in listed]
    there = list(_newest(folder, names, manifest.replaced).values())
    # A crash came between writing a segment anew and listing that, or removing the old file.
    replaced = sorted({name for *_, name in _numbered(folder)}.difference(there))
    for name in names:
        if name not in there:
            raise CorruptionError(folder.named(name), 0, "the segment is missing")
    for name in there[: len(names)]:
        if name not in names:
            raise CorruptionError(folder.named(name), 0, "the manifest does not name it")
    sizes = {name: _size_of(folder, name) for name in there}
    for entry in listed:
        size, grows = sizes[entry.file], entry is listed[-1]
        if size < entry.bytes or (size > entry.bytes and not grows):
            reason = f"it has {size} bytes where the manifest says {entry.bytes}"
            raise CorruptionError(folder.named(entry.file), min(size, entry.bytes), reason)
    table = _Arrangement(folder, manifest, sizes).table()
    return Table(table.segments, (*table.superseded, *replaced))


def plain_table(folder: Directory) -> Table:
    """The segments as they are when nothing of them is superseded; only plain files are some."""
    segments: list[Segment] = []
    base = 0
    for name in segment_files(folder):
        try:
            size = folder.size(name)
        except NotPlainError:
            continue
        segments.append(Segment(name, base, size))
        base += size
    return Table(segments)


class _Arrangement:
    """Finds out what of each file counts; only what the manifest does not settle is read."""

    def __init__(self, folder: Directory, manifest: Manifest, sizes: dict[str, int]) -> None:
        self._folder = folder
        self._sizes = sizes
        self._settled = [(entry.file, entry.bytes) for entry in manifest.segments]
        # Where to begin looking in each open segment: (bytes, the number of the record there).
        self._starts: dict[str, tuple[int, int]] = {}
        self._records = manifest.records
        for name in list(sizes)[len(self._settled) :]:
            first = _first_number(folder, name)
            if first is not None:
                self._starts[name] = (0, first)
        if self._settled:
            self._starts[self._settled[-1][0]] = (self._settled[-1][1], self._records)

    def table(self) -> Table:
        superseded = self._superseded()
        kept = [name for name in self._sizes if name not in superseded]
        segments: list[Segment] = []
        base = 0
        for i, name in enumerate(kept):
            size = self._size(name, kept[i + 1 :])
            segments.append(Segment(name, base, size, self._sizes[name] - size))
            base += size
        return Table(segments, superseded)

    def _superseded(self) -> list[str]:
        found: list[str] = []
        first = None
        for name in reversed(list(self._sizes)[len(self._settled) :]):
            start = self._starts.get(name)
            if start is not None and first is not None and start[1] >= first:
                found.append(name)
            elif start is not None:
                first = start[1]
        return found[::-1]

    def _size(self, name: str, later: list[str]) -> int:
        """The bytes of a file before the first record that a later segment begins with."""
        size = self._sizes[name]
        first = next((self._starts[other][1] for other in later if other in self._starts), None)
        if first is None or name not in self._starts:
            return size
        offset, n = self._starts[name]
        if first < n:
            reason = f"a later segment begins with record {first}"
            raise CorruptionError(self._folder.named(name), offset, reason)
        return self._cut(name, offset, n, first)

    def _cut(self, name: str, offset: int, n: int, first: int) -> int:
        size = self._sizes[name]
        for line in _lines(self._folder, name, offset, size):
            # What stands where the later segment begins is superseded, damaged or not.
            if n == first:
                return offset
            if _number(line) != n:
                break
            offset, n = offset + len(line), n + 1
        return size


def _size_of(folder: Directory, name: str) -> int:
    try:
        return folder.size(name)
    except NotPlainError as exc:
        raise CorruptionError(folder.named(name), 0, str(exc.strerror)) from exc


def _first_number(folder: Directory, name: str) -> int | None:
    return next((_number(line) for line in _lines(folder, name, 0, 1)), None)


def _number(line: bytes) -> int | None:
    try:
        return check_frame(line).n
    except BadFrameError:
        return None
