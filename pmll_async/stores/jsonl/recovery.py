"""Mending a log after a crash, in an order in which another crash loses nothing.

Only a writer does this, after every record that is kept was read and checked.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from pmll_async.stores.jsonl.folder import (
    remove_temporaries,
    sync_folder,
    write_all,
)
from pmll_async.stores.jsonl.segments import (
    Segment,
    Table,
    next_number,
    segment_files,
    segment_name,
)

_CHUNK: Final = 1 << 22


def finish_cuts(folder: Path, table: Table) -> None:
    """Take away what later segments supersede: an earlier recovery was cut short."""
    remove_temporaries(folder)
    for name in table.superseded:
        (folder / name).unlink()
    for segment in table.segments:
        if segment.excess:
            _cut(folder / segment.file, segment.size)
    if table.superseded:
        sync_folder(folder)


def move_torn(folder: Path, table: Table, place: int) -> tuple[int, str, str]:
    """Move everything from a place on to files `*.torn-K`.

    Returns how many bytes, from which file and to which (the first of them).
    """
    at = table.at(place)
    # The last first: should this be cut short, then what remains has no gap and is torn as before.
    for segment in reversed(table.segments):
        if segment.base > at.base:
            os.rename(folder / segment.file, folder / _torn_name(folder, segment.file))
    sync_folder(folder)
    source, target = folder / at.file, _torn_name(folder, at.file)
    _copy([(source, place - at.base, at.size)], folder / target)
    _cut(source, place - at.base)
    return table.stop - place, at.file, target


def move_unproven(folder: Path, table: Table, place: int) -> None:
    """Write everything from a place on into a new segment, synced, before it is called durable.

    What a failed fdatasync was to write reads back from memory as if it were on disk; only writing
    it again and syncing that tells.
    """
    later = [segment for segment in table.segments if segment.stop > place]
    pieces = [(folder / s.file, max(0, place - s.base), s.size) for s in later]
    _copy(pieces, folder / segment_name(next_number(folder)))
    for segment in reversed(table.segments):
        if segment.base >= place:
            (folder / segment.file).unlink()
        elif segment.stop > place:
            _cut(folder / segment.file, place - segment.base)
    sync_folder(folder)


def plain_table(folder: Path) -> Table:
    """The segments as they are when nothing of them is superseded."""
    segments: list[Segment] = []
    base = 0
    for name in segment_files(folder):
        size = (folder / name).stat().st_size
        segments.append(Segment(name, base, size))
        base += size
    return Table(segments)


def _torn_name(folder: Path, name: str) -> str:
    k = 1
    while (folder / f"{name}.torn-{k}").exists():
        k += 1
    return f"{name}.torn-{k}"


def _copy(pieces: list[tuple[Path, int, int]], target: Path) -> None:
    temporary = target.with_name(target.name + ".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        for path, offset, stop in pieces:
            _append_part(fd, path, offset, stop)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, target)
    sync_folder(target.parent)


def _append_part(fd: int, path: Path, offset: int, stop: int) -> None:
    with path.open("rb") as source:
        source.seek(offset)
        while offset < stop:
            chunk = source.read(min(_CHUNK, stop - offset))
            if not chunk:
                raise OSError(errno.EIO, "the file became shorter", str(path))
            write_all(fd, chunk)
            offset += len(chunk)


def _cut(path: Path, size: int) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.ftruncate(fd, size)
        os.fsync(fd)
    finally:
        os.close(fd)
