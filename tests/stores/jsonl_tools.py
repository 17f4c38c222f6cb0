"""What the tests of the JSONL store share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_records import Chain, small_history

from pmll_async.records.blocks import Block
from pmll_async.records.record import Record
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.jsonl.frames import decode_object

SHARED_MEMORY = Path("/dev/shm")
_COLUMNS = (
    *("times", "line_counts", "anchors", "kinds", "strengths", "norms", "timestamps"),
    *("novelties", "keys"),
)
LOG = "log-00000001.jsonl"


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder in memory where there is one: thousands of openings need no real fsync."""
    parent = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="pmll-test-", dir=parent) as folder:
        yield Path(folder)


@contextmanager
def opened(path: Path, chain: Chain, **options: Any) -> Iterator[JsonlStore]:
    """A loaded store."""
    store = JsonlStore(path, **options)
    store.open(chain.header, chain.hasher)
    try:
        for _ in store.load():
            pass
        yield store
    finally:
        store.close()


def closed(path: Path, chain: Chain) -> Path:
    """A closed store with a small history."""
    with opened(path, chain) as store:
        small_history(chain, store)
    return path


def load(store: JsonlStore, chain: Chain) -> list[Block]:
    store.open(None, chain.hasher)
    return list(store.load())


def contents(store: JsonlStore) -> list[Record]:
    return [store.read(n) for n in range(store.recovery.records)]


def contexts_of(records: list[Record]) -> list[bytes]:
    return [line.content.context for record in records for line in record.lines]


def all_contexts(store: JsonlStore, stop: int) -> list[bytes]:
    return [context for piece in store.contexts(0, stop) for context in piece]


def same_blocks(blocks: list[Block], chain: Chain, records: int) -> bool:
    """Whether these blocks are exactly the columns of the chain's first records."""
    expected = chain.columns(records)
    if not blocks:
        return records == 0
    for name in _COLUMNS:
        joined = np.concatenate([getattr(block, name) for block in blocks])
        if joined.tobytes() != getattr(expected, name).tobytes():
            return False
    marks = [mark for block in blocks for mark in block.marks]
    uses = [use for block in blocks for use in block.key_uses]
    return (
        tuple(marks) == expected.marks
        and tuple(uses) == expected.key_uses
        and blocks[-1].digest == expected.digest
    )


def manifest_of(path: Path) -> dict[str, Any]:
    return dict(decode_object((path / "MANIFEST.json").read_bytes()))


def open_files() -> list[str]:
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [str(link.readlink()) for link in links]


def copy_as_killed(source: Path, target: Path) -> Path:
    """The folder as a kill of its writer would leave it."""
    if target.exists():
        shutil.rmtree(target)
    return Path(shutil.copytree(source, target))


class CrashError(BaseException):
    """The process ends here."""


@contextmanager
def crashing(patch: pytest.MonkeyPatch, after: int) -> Iterator[list[str]]:
    """The process ends at the call after so many that change names or bytes on disk."""
    calls: list[str] = []

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **options: Any) -> Any:
            if len(calls) == after:
                raise CrashError
            calls.append(name)
            return call(*args, **options)

        return counting

    with patch.context() as context:
        for name in ("rename", "unlink", "ftruncate", "fsync", "write", "truncate"):
            context.setattr(os, name, counted(name, getattr(os, name)))
        yield calls
