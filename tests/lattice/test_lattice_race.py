"""Races: who may run, who fails, who is stopped, and what is written about it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from lattice_support import DIM, PATIENCE, SpyStore, axis, near, proposing, steps, topics
from structlog.testing import capture_logs

from pmll_async import Candidate, Lattice, LatticeView, NoWinnerError

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


async def group_raising(view: LatticeView) -> Candidate:
    raise ExceptionGroup("many", [ValueError("a"), KeyError("b")])


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("not even this")


async def unprintable(view: LatticeView) -> Candidate:
    raise UnprintableError


async def surrogate(view: LatticeView) -> Candidate:
    raise ValueError("\ud800")


async def cancelled_error(view: LatticeView) -> Candidate:
    raise asyncio.CancelledError


async def cancels_itself(view: LatticeView) -> Candidate:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)
    return line(1)


async def awaits_a_cancelled_task(view: LatticeView) -> Candidate:
    task = asyncio.ensure_future(asyncio.sleep(0))
    task.cancel()
    await task
    return line(1)


async def times_itself_out(view: LatticeView) -> Candidate:
    with anyio.fail_after(0):
        await asyncio.Event().wait()
    return line(1)


async def rubbish(view: LatticeView) -> Any:
    return {"key": axis(0)}


async def nothing(view: LatticeView) -> Any:
    return None


async def wrong_dim(view: LatticeView) -> Candidate:
    return Candidate(key=[1.0])


async def without_direction(view: LatticeView) -> Candidate:
    return Candidate(key=[0.0] * DIM)


async def no_json(view: LatticeView) -> Candidate:
    return Candidate(key=axis(0), context={"a": math.nan})


def no_coroutine(view: LatticeView) -> Any:
    return line(1)


def raises_at_once(view: LatticeView) -> Any:
    raise ZeroDivisionError


BAD: list[Any] = [
    *(raising, group_raising, unprintable, surrogate, cancelled_error, cancels_itself),
    *(awaits_a_cancelled_task, times_itself_out, rubbish, nothing, wrong_dim),
    *(without_direction, no_json, no_coroutine, raises_at_once, 3),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda b: getattr(b, "__name__", str(b)))
async def test_a_bad_candidate_fails_alone(lattice: Lattice, bad: Any) -> None:
    async def patient(view: LatticeView) -> Candidate:
        await steps(20)
        return line(2)

    async with lattice:
        async with asyncio.timeout(PATIENCE):
            outcome = await lattice.race([good, bad, patient], query=axis(0))
        assert [failure.name for failure in outcome.failures] == [
            getattr(bad, "__name__", type(bad).__name__)
        ]
        assert outcome.unfinished == ()
        assert [score.name for score in outcome.scores] == ["c0", "c2"]
        assert outcome.winner.context["topic"] == 0
        assert [loser.context["topic"] for loser in outcome.losers] == [2]


async def test_if_all_fail_nothing_is_written(lattice: Lattice, store: SpyStore) -> None:
    async def endless(view: LatticeView) -> Candidate:
        await asyncio.Event().wait()
        raise AssertionError

    async with lattice:
        with pytest.raises(NoWinnerError) as caught:
            await lattice.race([raising, wrong_dim, endless], timeout=0.01, idempotency_key="k")
        assert [f.error for f in caught.value.failures] == [
            "ZeroDivisionError",
            "DimensionMismatchError",
        ]
        assert caught.value.failures[0].message == "no"
        assert caught.value.unfinished == ("endless",)
        assert "append" not in store.calls
        await lattice.race([good], idempotency_key="k")


async def test_who_never_ends_is_unfinished_at_the_deadline(lattice: Lattice) -> None:
    ended = []

    async def endless(view: LatticeView) -> Candidate:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)
        raise AssertionError

    async with lattice:
        outcome = await lattice.race([endless, good, endless], timeout=0.05)
        assert outcome.unfinished == ("endless", "endless")
        assert ended == [1, 1]
        assert outcome.failures == ()
        assert outcome.winner.context["topic"] == 0


async def test_who_returns_after_the_deadline_does_not_compete(lattice: Lattice) -> None:
    async def late(view: LatticeView) -> Candidate:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return line(1, 100.0)
        raise AssertionError

    async with lattice:
        outcome = await lattice.race([late, good], timeout=0.05)
        assert (outcome.unfinished, outcome.losers) == (("late",), ())


async def test_who_ignores_cancellation_is_named_and_waited_for(
    lattice: Lattice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pmll_async.engine.race.race.STUBBORN_SECONDS", 0.01)
    ended = []
    with capture_logs() as logs:

        async def stubborn(view: LatticeView) -> Candidate:
            while not logs:
                try:
                    await asyncio.sleep(0.001)
                except asyncio.CancelledError:
                    continue
            ended.append(1)
            return line(1, 100.0)

        async with lattice, asyncio.timeout(PATIENCE):
            outcome = await lattice.race([stubborn, good], timeout=0.01)
    assert [(log["event"], log["candidate"]) for log in logs] == [
        ("race.ignores_cancellation", "stubborn")
    ]
    assert ended == [1], "it was abandoned"
    assert outcome.unfinished == ("stubborn",)


async def test_a_race_of_one(lattice: Lattice) -> None:
    async with lattice:
        outcome = await lattice.race([good])
        assert (outcome.losers, outcome.winner.anchor) == ((), lattice.head)
        assert outcome.winner == await lattice.get(lattice.head)
        assert await lattice.branches(lattice.head) == []


async def test_a_race_of_a_thousand(lattice: Lattice) -> None:
    keys = [near(0, i / 1000) for i in range(1000)]
    racers = [proposing(Candidate(key=key, name=str(i))) for i, key in enumerate(keys)]
    async with lattice:
        outcome = await lattice.race(racers, query=axis(0))
        assert lattice.revision == len(lattice) == 1
        assert [score.name for score in outcome.scores] == [str(i) for i in range(1000)]
        assert outcome.winner.anchor == outcome.scores[999].anchor
        assert len(outcome.losers) == len({loser.anchor for loser in outcome.losers}) == 999
        assert all(loser.prev_anchor == "0" * 16 for loser in outcome.losers)
        assert len(await lattice.branches(lattice.head)) == 999


async def test_of_equal_contents_the_best_scored_is_kept(lattice: Lattice) -> None:
    async with lattice:
        racers = [proposing(line(0, c)) for c in (0.1, 0.9, 0.5)] + [proposing(line(1, 0.7))]
        outcome = await lattice.race(racers)
        assert [s.score for s in outcome.scores] == [0.1, 0.9, 0.5, 0.7]
        anchors = [s.anchor for s in outcome.scores]
        assert anchors[0] == anchors[1] == anchors[2] == outcome.winner.anchor
        assert [loser.anchor for loser in outcome.losers] == [anchors[3]]


async def test_the_record_tells_all_and_losers_are_best_first(lattice: Lattice) -> None:
    async with lattice:
        start = await lattice.put(axis(7))
        racers = [proposing(line(i, c)) for i, c in enumerate((0.2, 0.9, 0.5))]
        outcome = await lattice.race(racers, decay=0.25)
        assert outcome.winner.context["topic"] == 1
        assert [loser.context["topic"] for loser in outcome.losers] == [2, 0]
        for loser in outcome.losers:
            assert (loser.kind, loser.position, loser.strength) == ("branch", None, 0.25)
            assert loser.prev_anchor == outcome.winner.prev_anchor == start
            assert loser.anchor not in lattice
        assert list(outcome.losers) == await lattice.branches(outcome.winner.anchor)
        assert lattice.revision == 2
        assert await topics(lattice) == [None, 1]


@pytest.mark.parametrize("decay", [0.0, 0.04, 0.05, 1.0])
async def test_a_branch_under_a_twentieth_is_dormant(lattice: Lattice, decay: float) -> None:
    async with lattice:
        outcome = await lattice.race([proposing(line(0)), proposing(line(1))], decay=decay)
        (loser,) = outcome.losers
        found = [found.anchor for found in await lattice.query(axis(1), min_similarity=0.9)]
        assert found == ([loser.anchor] if decay >= 0.05 else [])
        assert (await lattice.get(loser.anchor)).strength == decay
        assert await lattice.query(axis(1), min_similarity=0.9, branches=False) == []
        await lattice.decay(loser.anchor, 100.0)
        awake = await lattice.query(axis(1), min_similarity=0.9)
        assert [found.strength for found in awake] == ([1.0] if decay else [])


async def test_a_branch_can_win_a_later_race(lattice: Lattice) -> None:
    async def bring_back(view: LatticeView) -> Candidate:
        (found,) = await view.query(axis(1), k=1, min_similarity=0.9)
        assert found.kind == "branch"
        return Candidate(key=found.key, value=found.value, context=found.context, name="back")

    async with lattice:
        await lattice.race([proposing(line(0)), proposing(line(1))])
        outcome = await lattice.race([bring_back, proposing(line(2))], query=axis(1))
        assert outcome.winner.context["topic"] == 1
        assert await topics(lattice) == [0, 1]
