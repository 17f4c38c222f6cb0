"""Mending a log after a crash, in an order in which another crash loses nothing.

Only a writer does this, after every record that is kept was read and checked.
"""

from __future__ import annotations

import re
from collections.abc import Container
from contextlib import suppress
from typing import Final

from pmll_async.protocols import Recovery
from pmll_async.stores.jsonl.cache import Cache
from pmll_async.stores.jsonl.directory import Directory
from pmll_async.stores.jsonl.folder import (
    KEYRING,
    LOCK,
    MANIFEST,
    SEGMENT_NAME,
    STORE,
    write_manifest,
)
from pmll_async.stores.jsonl.loader import LoadPlan
from pmll_async.stores.jsonl.log import Log
from pmll_async.stores.jsonl.segments import Table, next_number, plain_table, segment_name

_OURS: Final = "|".join([*map(re.escape, (KEYRING, LOCK, MANIFEST, STORE)), SEGMENT_NAME.pattern])
_TEMPORARY: Final = re.compile(rf"(?:{_OURS})(?:\.torn-[0-9]+)?\.tmp")


def mend(folder: Directory, log: Log, cache: Cache, plan: LoadPlan) -> Recovery:
    """Bring the files of a loaded log in order, so that the next record can be appended.

    Returns what was torn and moved aside. Afterwards the files hold the log's records and nothing
    else, and the manifest lists them all.
    """
    # First: the tables made below take every file as it is.
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
        write_manifest(folder, log.manifest(plan.manifest.store, cache.roots))
    return torn


def _finish_cuts(folder: Directory, table: Table) -> None:
    """Take away what later segments supersede: an earlier recovery was cut short."""
    _remove_temporaries(folder)
    for name in table.superseded:
        folder.unlink(name)
    for segment in table.segments:
        if segment.excess:
            folder.cut(segment.file, segment.size)
    if table.superseded:
        folder.sync()


def _remove_temporaries(folder: Directory) -> None:
    """What a crash left of a replacement or a copy of ours; what else ends so is somebody's."""
    for name in folder.names():
        if _TEMPORARY.fullmatch(name):
            with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
                folder.unlink(name)


def _move_torn(folder: Directory, table: Table, place: int) -> Recovery:
    """Move everything from a place on to files `*.torn-K`."""
    at = table.at(place)
    # The last first: should this be cut short, then what remains has no gap and is torn as before.
    for segment in reversed(table.segments):
        if segment.base > at.base:
            folder.rename(segment.file, _torn_name(folder, segment.file))
    folder.sync()
    target = _torn_name(folder, at.file)
    folder.copy([(at.file, place - at.base, at.size)], target)
    folder.cut(at.file, place - at.base)
    return Recovery(moved_bytes=table.stop - place, source=at.file, moved_to=target)


def _move_unproven(folder: Directory, table: Table, place: int, listed: Container[str]) -> None:
    """Write everything from a place on into a new segment, synced, before it is called durable.

    `listed` segments stay, if empty, while the manifest names them. What a failed fdatasync was
    to write reads back from memory as if it were on disk; only writing and syncing it again tells.
    """
    later = [segment for segment in table.segments if segment.stop > place]
    parts = [(segment.file, max(0, place - segment.base), segment.size) for segment in later]
    folder.copy(parts, segment_name(next_number(folder)))
    for segment in reversed(table.segments):
        if segment.base >= place and segment.file not in listed:
            folder.unlink(segment.file)
        elif segment.stop > place:
            folder.cut(segment.file, max(0, place - segment.base))
    folder.sync()


def _torn_name(folder: Directory, name: str) -> str:
    k = 1
    while folder.stat(f"{name}.torn-{k}") is not None:
        k += 1
    return f"{name}.torn-{k}"
