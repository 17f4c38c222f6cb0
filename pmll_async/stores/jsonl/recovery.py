"""Mending a log after a crash, in an order in which another crash loses nothing.

Only a writer does this, after every record that is kept was read and checked.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Container
from pathlib import Path
from typing import Final

from pmll_async.protocols import Recovery
from pmll_async.stores.jsonl.folder import (
    remove_temporaries,
    sync_folder,
    write_all,
    write_manifest,
)
from pmll_async.stores.jsonl.loading import Plan
from pmll_async.stores.jsonl.log import Log
from pmll_async.stores.jsonl.segments import (
    Table,
    next_number,
    plain_table,
    segment_name,
)

_CHUNK: Final = 1 << 22


def mend(folder: Path, log: Log, plan: Plan) -> Recovery:
    """Bring the files of a loaded log in order, so that the next record can be appended.

    Returns what was torn and moved aside. Afterwards the files hold the log's records and nothing
    else, and the manifest lists them all.
    """
    _finish_cuts(folder, log.table)
    table, torn = plain_table(folder), Recovery()
    unproven = plan.proven < log.records
    if table.stop > log.stop:
        torn = _move_torn(folder, table, log.stop)
        table = plain_table(folder)
    if unproven:
        listed = {entry.file for entry in plan.manifest.segments}
        _move_unproven(folder, table, log.place_of(plan.proven), listed)
        table = plain_table(folder)
    log.table = table
    # What the cache covers was not digested again at the ends of the segments.
    log.digests = plan.manifest.digests | log.digests
    if not plan.clean:
        write_manifest(folder, log.manifest(plan.manifest.store))
    return torn


def _finish_cuts(folder: Path, table: Table) -> None:
    """Take away what later segments supersede: an earlier recovery was cut short."""
    remove_temporaries(folder)
    for name in table.superseded:
        (folder / name).unlink()
    for segment in table.segments:
        if segment.excess:
            _cut(folder / segment.file, segment.size)
    if table.superseded:
        sync_folder(folder)


def _move_torn(folder: Path, table: Table, place: int) -> Recovery:
    """Move everything from a place on to files `*.torn-K`."""
    at = table.at(place)
    # The last first: should this be cut short, then what remains has no gap and is torn as before.
    for segment in reversed(table.segments):
        if segment.base > at.base:
            (folder / segment.file).rename(folder / _torn_name(folder, segment.file))
    sync_folder(folder)
    source, target = folder / at.file, _torn_name(folder, at.file)
    _copy([(source, place - at.base, at.size)], folder / target)
    _cut(source, place - at.base)
    return Recovery(moved_bytes=table.stop - place, source=at.file, moved_to=target)


def _move_unproven(folder: Path, table: Table, place: int, listed: Container[str]) -> None:
    """Write everything from a place on into a new segment, synced, before it is called durable.

    `listed` segments stay, if empty, while the manifest names them. What a failed fdatasync was
    to write reads back from memory as if it were on disk; only writing and syncing it again tells.
    """
    later = [segment for segment in table.segments if segment.stop > place]
    pieces = [(folder / s.file, max(0, place - s.base), s.size) for s in later]
    _copy(pieces, folder / segment_name(next_number(folder)))
    for segment in reversed(table.segments):
        if segment.base >= place and segment.file not in listed:
            (folder / segment.file).unlink()
        elif segment.stop > place:
            _cut(folder / segment.file, max(0, place - segment.base))
    sync_folder(folder)


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
    temporary.rename(target)
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
