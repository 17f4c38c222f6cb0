"""How a race is scored: by judge, by the concert's formula, or by confidence."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest
from lattice_support import axis, near, proposing

from pmll_async import Candidate, Concert, Lattice, LatticeView, NoWinnerError
from pmll_async.protocols import Clock
from pmll_async.stores.memory import MemoryStore

NAMES = ["a", "b", "c"]


def racers(confidences: tuple[float, ...] = (1.0, 1.0, 1.0)) -> list[Any]:
    return [
        proposing(Candidate(key=axis(i), name=name, confidence=confidence))
        for i, (name, confidence) in enumerate(zip(NAMES, confidences, strict=True))
    ]


def cosine(one: Any, other: Any) -> float:
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    return float(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))


async def test_the_default_score_is_the_formula_of_the_specification(
    lattice: Lattice, clock: Clock
) -> None:
    rng = np.random.default_rng(7)
    stored, keys = rng.normal(size=(5, 8)), rng.normal(size=(6, 8)) * 3
    query, confidences = rng.normal(size=8), [1.0, 0.5, 0.0, 2.0, -1.0, 0.25]
    stored, keys, query = (a.astype(np.float32) for a in (stored, keys, query))
    proposed = [
        Candidate(key=key, confidence=c, timestamp=0.0)
        for key, c in zip(keys, confidences, strict=True)
    ]
    async with lattice:
        for key in stored:
            await lattice.put(key, timestamp=5.0)
        outcome = await lattice.race([proposing(c) for c in proposed], query=query)
    for score, key, confidence in zip(outcome.scores, keys, confidences, strict=True):
        novelty = min(1.0, max(0.0, 1.0 - max(cosine(key, old) for old in stored)))
        expected = confidence * (0.35 + 0.50 * cosine(query, key) + 0.08 * novelty)
        assert score.score == pytest.approx(expected, rel=1e-12, abs=1e-12)
    best = max(range(6), key=lambda i: outcome.scores[i].score)
    assert outcome.winner.anchor == outcome.scores[best].anchor


async def test_the_first_line_is_wholly_novel_and_notes_do_not_count(lattice: Lattice) -> None:
    async with lattice:
        await lattice.note({"a": 1})
        outcome = await lattice.race(racers(), query=axis(0))
        assert [s.score for s in outcome.scores] == [0.35 + 0.5 + 0.08, 0.35 + 0.08, 0.35 + 0.08]


async def test_the_lattices_own_concert_scores(clock: Clock) -> None:
    concert = Concert.cosine()
    async with Lattice(MemoryStore(), dim=8, clock=clock, concert=concert) as lattice:
        candidates = [proposing(Candidate(key=near(0, c))) for c in (0.25, 0.75)]
        outcome = await lattice.race(candidates, query=axis(0))
        assert [s.score for s in outcome.scores] == pytest.approx([0.25, 0.75])


async def test_without_judge_and_query_confidence_decides_then_entry_order(
    lattice: Lattice,
) -> None:
    async with lattice:
        outcome = await lattice.race(racers((0.5, 0.7, 0.7)))
        assert [s.score for s in outcome.scores] == [0.5, 0.7, 0.7]
        assert outcome.winner.anchor == outcome.scores[1].anchor


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
async def test_a_confidence_that_is_no_number_is_a_failure(lattice: Lattice, bad: float) -> None:
    async with lattice:
        outcome = await lattice.race(racers((1.0, bad, 0.5)))
        assert [f.name for f in outcome.failures] == ["b"]


async def judged_later(candidate: Candidate, view: LatticeView) -> float:
    await asyncio.sleep(0)
    return float(candidate.key[2])


JUDGES: dict[str, Any] = {
    "sync": lambda candidate, view: float(candidate.key[2]),
    "numpy": lambda candidate, view: candidate.key[2],
    "async": judged_later,
}


@pytest.mark.parametrize("judge", JUDGES.values(), ids=JUDGES)
async def test_a_judge_is_a_function_or_a_coroutine_function(lattice: Lattice, judge: Any) -> None:
    async with lattice:
        outcome = await lattice.race(racers(), judge=judge, query=axis(0))
        assert [s.score for s in outcome.scores] == [0.0, 0.0, 1.0]
        assert outcome.winner.anchor == outcome.scores[2].anchor


async def test_a_judge_may_ask_the_view(lattice: Lattice) -> None:
    async def judge(candidate: Candidate, view: LatticeView) -> float:
        return -float(len(await view.query(candidate.key, k=1)))

    async with lattice:
        await lattice.put(axis(0))
        outcome = await lattice.race(racers(), judge=judge)
        assert [s.score for s in outcome.scores] == [-1.0, 0.0, 0.0]


class Unfloatable:
    def __float__(self) -> float:
        raise RuntimeError("no number")


def wrong(result: Any) -> list[Any]:
    """Judges that give `result` to candidate b, at once and later; an exception is raised."""

    def at_once(candidate: Candidate, view: LatticeView) -> Any:
        if candidate.name != "b":
            return 1.0
        if isinstance(result, BaseException):
            raise result
        return result

    async def later(candidate: Candidate, view: LatticeView) -> Any:
        await asyncio.sleep(0)
        given = at_once(candidate, view)
        for _ in range(5):
            await asyncio.sleep(0)
        return given

    return [at_once, later]


WRONG: dict[str, Any] = {
    "nan": math.nan,
    "inf": math.inf,
    "none": None,
    "text": "best",
    "complex": 1j,
    "huge": 10**400,
    "unfloatable": Unfloatable(),
    "raises": ZeroDivisionError("no"),
    "cancelled": asyncio.CancelledError(),
}


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
@pytest.mark.parametrize("name", WRONG)
async def test_a_judge_that_gives_no_number_fails_that_candidate_alone(
    lattice: Lattice, name: str, kind: int
) -> None:
    async with lattice:
        outcome = await lattice.race(racers(), judge=wrong(WRONG[name])[kind])
        assert [failure.name for failure in outcome.failures] == ["b"]
        assert [(s.name, s.score) for s in outcome.scores] == [("a", 1.0), ("c", 1.0)]
        assert outcome.winner.anchor == outcome.scores[0].anchor


async def test_a_judge_that_always_raises_leaves_no_winner(lattice: Lattice) -> None:
    def judge(candidate: Candidate, view: LatticeView) -> float:
        raise KeyError(candidate.name)

    async with lattice:
        with pytest.raises(NoWinnerError) as caught:
            await lattice.race(racers(), judge=judge)
        assert [f.error for f in caught.value.failures] == ["KeyError"] * 3
        assert lattice.revision == 0


async def test_scores_below_zero_can_win(lattice: Lattice) -> None:
    async with lattice:
        outcome = await lattice.race(racers(), judge=lambda c, v: -1.0 - float(c.key[0]))
        assert outcome.winner.anchor == outcome.scores[1].anchor
