"""Races beside other writers: one snapshot, one record, found again by key, in any order."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from lattice_support import DIM, axis, near, proposing, steps, topics

from pmll_async import (
    Candidate,
    ConflictError,
    Lattice,
    LatticeView,
    LineNotFoundError,
    RaceOutcome,
    StaleAnchorError,
)
from pmll_async.protocols import Clock
from pmll_async.stores.memory import MemoryStore

Racer = Callable[[LatticeView], Awaitable[Candidate]]


def line(number: int, confidence: float = 1.0, **fields: Any) -> Candidate:
    return Candidate(
        key=axis(number),
        context={"topic": number},
        name=f"c{number}",
        confidence=confidence,
        **fields,
    )


good = proposing(line(0))


async def raising(view: LatticeView) -> Candidate:
    raise ZeroDivisionError("no")


async def test_candidates_see_one_snapshot(lattice: Lattice) -> None:
    wrote, seen = asyncio.Event(), []

    async def writes(view: LatticeView) -> Candidate:
        await lattice.put(axis(5), None, {"topic": "meanwhile"})
        wrote.set()
        return line(0)

    async def reads(view: LatticeView) -> Candidate:
        await wrote.wait()
        lines = await view.query(axis(5), k=10, min_similarity=-1)
        seen.append([found.context["topic"] for found in lines])
        seen.append([(view.head, len(view), view.revision)])
        seen.append([found.context["topic"] async for found in view.rewind()])
        seen.append((await view.bias_vector(axis(5))).tolist())
        return line(1)

    async with lattice:
        head = await lattice.put(axis(5), None, {"topic": "before"})
        outcome = await lattice.race([writes, reads])
        assert seen[:3] == [["before"], [(head, 1, 1)], ["before"]]
        assert seen[3] == axis(5).tolist()
        assert await topics(lattice) == ["before", "meanwhile", 0], "it commits on the new head"
        assert outcome.winner.prev_anchor == (await lattice.get(lattice.head)).prev_anchor != head


async def test_with_prev_anchor_a_moved_head_is_an_error(lattice: Lattice) -> None:
    async def writes(view: LatticeView) -> Candidate:
        await lattice.put(axis(5))
        return line(0)

    async with lattice:
        head = await lattice.put(axis(7))
        with pytest.raises(StaleAnchorError) as caught:
            await lattice.race([writes], prev_anchor=head)
        assert (caught.value.given, caught.value.current) == (head, lattice.head)
        assert lattice.revision == 2
        outcome = await lattice.race([good], prev_anchor=lattice.head)
        assert outcome.winner.anchor == lattice.head


async def test_the_winner_revises_and_losers_do_not(lattice: Lattice) -> None:
    async with lattice:
        old = [await lattice.put(axis(i), None, {"topic": i}) for i in (4, 5)]
        racers = [
            proposing(line(0, 2.0, revises=(old[0],))),
            proposing(line(1, 1.0, revises=(old[1],))),
        ]
        await lattice.race(racers)
        assert [(await lattice.get(anchor)).strength for anchor in old] == [0.5, 1.0]
        with pytest.raises(StaleAnchorError):
            await lattice.race([proposing(line(2, revises=(old[0],)))])
        with pytest.raises(LineNotFoundError):
            await lattice.race([proposing(line(2, revises=("f" * 16,)))])
        assert lattice.revision == 3


async def test_a_known_key_returns_the_outcome_and_runs_nothing(lattice: Lattice) -> None:
    ran = []

    def counting(number: int) -> Racer:
        async def candidate(view: LatticeView) -> Candidate:
            ran.append(number)
            return line(number, [0.5, -0.0, 0.25][number])

        return candidate

    async with lattice:
        racers = [*(counting(i) for i in range(3)), raising]
        first = await lattice.race(racers, idempotency_key="k")
        await lattice.decay(first.losers[0].anchor, 0.1)
        await lattice.put(axis(7))
        again = await lattice.race(racers, idempotency_key="k")
        assert ran == [0, 1, 2]
        assert again == first
        assert hash(again) == hash(first)
        assert (await lattice.find("k")).anchor == first.winner.anchor
        with pytest.raises(ConflictError):
            await lattice.put(axis(0), idempotency_key="k")
        assert lattice.revision == 3


async def test_of_two_races_with_one_key_one_is_recorded(lattice: Lattice) -> None:
    go = asyncio.Event()
    async with lattice:
        races = [
            asyncio.create_task(lattice.race([proposing(line(i), after=go)], idempotency_key="k"))
            for i in (0, 1)
        ]
        await steps(5)
        go.set()
        first, second = await asyncio.gather(*races)
        assert first == second
        assert lattice.revision == 1


async def raced(order: tuple[int, ...], clock: Clock) -> tuple[RaceOutcome, str, str]:
    """A race whose candidates finish in this order."""
    gates = [asyncio.Event() for _ in order]
    # Two of the scores are equal, so that entry order has something to decide.
    racers = [
        proposing(line(i, c), after=gate)
        for i, (gate, c) in enumerate(zip(gates, (0.3, 0.9, 0.9, 0.1), strict=True))
    ]
    async with Lattice(MemoryStore(), dim=DIM, clock=clock) as lattice:
        await lattice.put(near(1, 0.5))
        racing = asyncio.create_task(lattice.race(racers, query=near(1, 0.8, other=2)))
        for number in order:
            await steps(3)
            gates[number].set()
        return await racing, lattice.head, lattice.digest


async def test_the_order_of_completion_decides_nothing(clock: Clock) -> None:
    results = [await raced(order, clock) for order in itertools.permutations(range(4))]
    assert all(result == results[0] for result in results)
