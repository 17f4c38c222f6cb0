"""Keys that are read again are the stored ones or `CorruptionError`, whichever byte is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pmll_async.errors import CorruptionError, StoreError
from pmll_async.protocols import Store, SupportsKeys
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.testing import ChainBuilder

ROWS = (np.array([0, 1, 2, 2, 3]), np.array([0, 0, 0, 1, 0]))


def chain_of_records() -> ChainBuilder:
    """A put, one that packs, a race and one more put."""
    chain = ChainBuilder(dim=6)
    chain.put({"text": '"key":"AAAA"'})
    chain.put(key=[0, 3, 0, 0, -4, 0])
    chain.race([{"n": 0}, {"n": 1}])
    chain.put()
    return chain


def filled(store: Store, chain: ChainBuilder) -> SupportsKeys:
    store.open(chain.header, chain.hasher)
    list(store.load())
    store.append(chain.records, chain.block())
    assert isinstance(store, SupportsKeys)
    return store


def wrong_bytes(path: Path, first: int, stop: int, store: SupportsKeys) -> int:
    """Let each byte be another one in turn; how many of them were noticed."""
    good, blamed = store.keys(*ROWS).tobytes(), list[int | None]()
    with path.open("r+b", buffering=0) as file:
        for offset in range(first, stop):
            file.seek(offset)
            right = file.read(1)
            file.seek(offset)
            file.write(bytes([right[0] ^ 1]))
            try:
                assert store.keys(*ROWS).tobytes() == good
            except CorruptionError as exc:
                blamed.append(exc.n)
            file.seek(offset)
            file.write(right)
    assert store.keys(*ROWS).tobytes() == good
    assert set(blamed) <= {0, 1, 2, 3}
    return len(blamed)


def test_a_wrong_byte_in_a_log(tmp_path: Path) -> None:
    store = JsonlStore(tmp_path / "memory")
    keys = filled(store, chain_of_records())
    log = tmp_path / "memory" / "log-00000001.jsonl"
    size = log.stat().st_size
    assert wrong_bytes(log, 0, size, keys) == size
    store.close()


def test_a_log_that_was_cut_off(tmp_path: Path) -> None:
    store = JsonlStore(tmp_path / "memory")
    keys = filled(store, chain_of_records())
    log = tmp_path / "memory" / "log-00000001.jsonl"
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 40)
    with pytest.raises(CorruptionError) as caught:
        keys.keys(*ROWS)
    assert caught.value.n == 3
    assert keys.keys(ROWS[0][:4], ROWS[1][:4]).shape == (4, 6)


def test_a_wrong_byte_in_an_lmdb_file(tmp_path: Path) -> None:
    pytest.importorskip("lmdb", reason="lmdb is not installed: pip install 'pmll-async[lmdb]'")
    from pmll_async.stores.lmdb import LmdbStore

    chain = chain_of_records()
    store = LmdbStore(tmp_path / "memory.lmdb")
    keys = filled(store, chain)
    data = tmp_path / "memory.lmdb" / "data.mdb"
    for n in (0, 3):
        key = chain.records[n].lines[0].content.key
        start = data.read_bytes().rindex(key)
        assert wrong_bytes(data, start - 8, start + len(key) + 8, keys) == len(key) + 16
    store.close()


def test_what_is_not_there(tmp_path: Path) -> None:
    store = JsonlStore(tmp_path / "memory")
    keys = filled(store, chain_of_records())
    with pytest.raises(StoreError):
        keys.keys(np.array([4]), np.array([0]))
    with pytest.raises(CorruptionError):
        keys.keys(np.array([0]), np.array([1]))
    store.close()
    with pytest.raises(StoreError):
        keys.keys(*ROWS)
