"""A read-only lattice beside a writer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pmll_async import Lattice, ReadOnlyStoreError

DIM = 4


def key(n: int) -> list[float]:
    return [1.0, n % 7, n % 3, 1.0 + n % 5]


async def test_a_follower_sees_what_is_acknowledged_and_never_less(tmp_path: Path) -> None:
    async with (
        Lattice.open(tmp_path, dim=DIM) as writer,
        Lattice.open(tmp_path, read_only=True) as follower,
    ):
        seen = 0
        for n in range(40):
            anchor = await writer.put(key(n), context={"n": n})
            line = await follower.get(anchor)
            assert line.context == {"n": n}
            assert len(follower) >= seen
            seen = len(follower)
        assert (follower.head, follower.digest) == (writer.head, writer.digest)
        assert await follower.query(key(3), k=3, now=0) == await writer.query(key(3), k=3, now=0)


async def test_a_follower_goes_on_after_cancelled_queries(tmp_path: Path) -> None:
    async with (
        Lattice.open(tmp_path, dim=DIM) as writer,
        Lattice.open(tmp_path, read_only=True) as follower,
    ):
        for n in range(60):
            await writer.put(key(n))
            cut = [asyncio.ensure_future(follower.query(key(n))) for _ in range(3)]
            await asyncio.sleep(0)
            for query in cut:
                query.cancel()
            assert len(await follower.query(key(n), k=100, min_similarity=-1)) == n + 1
            await asyncio.gather(*cut, return_exceptions=True)
        assert follower.digest == writer.digest


async def test_a_follower_writes_nothing(tmp_path: Path) -> None:
    async with Lattice.open(tmp_path, dim=DIM) as writer:
        await writer.put(key(0))
    async with Lattice.open(tmp_path, read_only=True) as follower:
        for refused in (follower.put(key(1)), follower.note({}), follower.rollback(0)):
            with pytest.raises(ReadOnlyStoreError):
                await refused
        assert len(follower) == 1
