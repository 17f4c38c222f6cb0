"""What the tests of the LMDB store share; they are skipped where its package is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from make_records import Chain

from pmll_async.records.blocks import Block

lmdb: Any = pytest.importorskip(
    "lmdb", reason="lmdb is not installed: pip install 'pmll-async[lmdb]'"
)

from pmll_async.stores.lmdb import LmdbStore  # noqa: E402  # skipped without its package
from pmll_async.stores.lmdb.environment import key_of  # noqa: E402


@contextmanager
def opened(path: Path, chain: Chain, **options: Any) -> Iterator[LmdbStore]:
    """A loaded store."""
    store = LmdbStore(path, **options)
    store.open(chain.header, chain.hasher)
    try:
        for _ in store.load():
            pass
        yield store
    finally:
        store.close()


def load(store: LmdbStore, chain: Chain) -> list[Block]:
    store.open(None, chain.hasher)
    return list(store.load())


@contextmanager
def table(path: Path, name: bytes, *, write: bool = False) -> Iterator[Any]:
    """A transaction of a closed store's file, on one of its tables, around the store."""
    environment = lmdb.open(str(path), max_dbs=3, map_size=1 << 30)
    try:
        database = environment.open_db(name)
        with environment.begin(db=database, write=write) as transaction:
            yield transaction
    finally:
        environment.close()


def frames_of(path: Path) -> list[bytes]:
    """The frames in a closed store's file, in order."""
    with table(path, b"records") as records:
        return [frame for _, frame in records.cursor()]


def replace_frame(path: Path, n: int, frame: bytes) -> None:
    """Put other bytes in a record's place."""
    with table(path, b"records", write=True) as records:
        assert records.put(key_of(n), frame)


def row_numbers(path: Path) -> list[int]:
    """The first records of the rows of a closed store."""
    with table(path, b"rows") as rows:
        return [int.from_bytes(key, "big") for key, _ in rows.cursor()]
