"""The lines kept in memory are bounded by number and by bytes, whichever is less."""

from __future__ import annotations

import numpy as np
import pytest

from pmll_async import FrozenDict, Lattice, Limits
from pmll_async.engine.queries.reader import LineCache, StoredLine
from pmll_async.stores.memory import MemoryStore


def line(size: int) -> StoredLine:
    empty = np.empty(0, dtype="<f4")
    return StoredLine(empty, empty, FrozenDict(), "0" * 16, 0.0, 0.0, 0.0, 0.0, size)


def test_large_lines_push_each_other_out() -> None:
    cache = LineCache(Limits(cached_bytes=1000))
    for number in range(10):
        cache.put(number, line(300))
    assert [number for number in range(10) if cache.get(number)] == [7, 8, 9]
    cache.put(9, line(900))
    assert [number for number in range(10) if cache.get(number)] == [9]
    cache.put(3, line(1001))
    assert cache.get(3) is None, "what is larger than all room is not kept"
    cache.put(4, line(1000))
    assert cache.get(4) is not None


def test_small_ones_go_by_their_number() -> None:
    cache = LineCache(Limits(cached_lines=2))
    for number in range(3):
        cache.put(number, line(10))
    assert [number for number in range(3) if cache.get(number)] == [1, 2]
    with pytest.raises(ValueError, match="cached_bytes"):
        Limits(cached_bytes=-1)


async def test_what_a_line_takes_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its vectors and its context: a hundred of 200 kB are not kept in 10 MB."""
    limits = Limits(cached_bytes=10_000_000)
    store = MemoryStore()
    async with Lattice(store, dim=2, limits=limits) as lattice:
        anchors = [
            await lattice.put([1, i], None, {"text": "x" * 200_000, "i": i}) for i in range(20)
        ]
        for anchor in anchors:
            await lattice.get(anchor)
        asked: list[int] = []
        read = store.read
        monkeypatch.setattr(store, "read", lambda n: asked.append(n) or read(n))
        for anchor in reversed(anchors):
            await lattice.get(anchor)
    assert 10 <= len(asked) < 20, "the newest are kept, the others read again"
