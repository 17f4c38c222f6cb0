"""States and moments that only come up together."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from pmll_async import Candidate, Lattice, LatticeView, PmllError, StaleAnchorError
from pmll_async.engine.ledger.ledger import Ledger
from pmll_async.stores.memory import MemoryStore

EAST, NORTH, UP = [1, 0, 0], [0, 1, 0], [0, 0, 1]


class Broken(BaseException):
    """Not an Exception, as some extensions raise them."""


async def strong(view: LatticeView) -> Candidate:
    return Candidate(key=NORTH, confidence=0.9)


async def weak(view: LatticeView) -> Candidate:
    return Candidate(key=UP, confidence=0.1)


async def test_a_forgotten_branch_keeps_its_name() -> None:
    async with Lattice(MemoryStore(), dim=3) as lattice:
        await lattice.put(EAST)
        before = lattice.revision
        branch = (await lattice.race([strong, weak])).losers[0].anchor
        raced = lattice.revision
        await lattice.rollback(before)
        assert await lattice.put(UP) == branch
        await lattice.rollback(raced)
        await lattice.forget(branch)
        assert (await lattice.get(branch)).kind == "branch"
        with pytest.raises(StaleAnchorError):
            await lattice.put(EAST, revises=[branch])


async def test_the_moment_of_a_line_has_the_line() -> None:
    times = iter(range(10_000))
    async with Lattice(
        MemoryStore(), dim=3, clock=lambda: 1_700_000_000 + next(times) * 0.123456789
    ) as lattice:
        for _ in range(50):
            line = await lattice.get(await lattice.put(EAST))
            moment = datetime.fromtimestamp(line.committed_at, UTC)
            assert line.anchor in lattice.at(moment)


async def test_a_clock_that_raises_anything_fails_one_put() -> None:
    broken = False

    def clock() -> float:
        if broken:
            raise Broken
        return time.time()

    async with Lattice(MemoryStore(), dim=3, clock=clock) as lattice:
        broken = True
        with pytest.raises(PmllError, match="clock"):
            await lattice.put(EAST)
        broken = False
        await lattice.put(EAST)
        assert len(lattice) == 1


async def test_a_block_left_by_a_cancelled_scope_lets_go_of_the_store(tmp_path: Path) -> None:
    for _ in range(10):
        with anyio.CancelScope() as scope:
            async with Lattice.open(tmp_path, dim=3) as lattice:
                await lattice.put(EAST, context={"a": 1})
                query = asyncio.ensure_future(lattice.query(EAST, where={"a": 1}))
                await asyncio.sleep(0)
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        async with Lattice.open(tmp_path, lock_timeout=10) as again:
            assert len(again) > 0
        await asyncio.gather(query, return_exceptions=True)


async def test_queries_that_wait_for_one_view_draw_it_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = []
    draw = Ledger.at
    monkeypatch.setattr(Ledger, "at", lambda ledger, n: drawn.append(n) or draw(ledger, n))
    async with Lattice(MemoryStore(), dim=3) as lattice:
        first = await lattice.put(EAST)
        await lattice.put(NORTH)
        view = lattice.at(first)
        answers = await asyncio.gather(*(view.query(EAST) for _ in range(20)))
        assert {lines[0].anchor for lines in answers} == {first}
        assert drawn == [1]


async def test_many_ties_are_ranked_as_few_are() -> None:
    async with Lattice(MemoryStore(), dim=3, clock=lambda: 5.0) as lattice:
        await lattice.put_many(Candidate(key=EAST, context={"n": n}) for n in range(700))
        best = await lattice.query(EAST, k=3, now=5.0)
        # The first is the only novel one; of the others, equal in all, the latest records win.
        assert [line.context["n"] for line in best] == [0, 699, 698]
