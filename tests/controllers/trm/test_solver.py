"""Solving puzzles: races of thoughts, what they begin with, and what is left on the chain."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from controller_support import Stop, crashing, journal, phases
from trm_support import FAMILY, Oracle, memory, puzzles

from controllers import Acted, Event
from controllers.trm import NothingRecalledError, PuzzleSolver, Solution, text_of

PUZZLE = puzzles(1)[0]


async def test_a_puzzle_is_solved_from_nothing_over_cycles() -> None:
    async with memory() as lattice:
        solver = PuzzleSolver(lattice, Oracle(slow=5), FAMILY, steps=2)
        found = await solver.solve(PUZZLE, run_id="r")
        assert FAMILY.check(PUZZLE, found.answer)
        assert (found.right, found.steps, found.act) == (True, 5, "cold")
        line = await lattice.get(found.anchor)
        assert np.array_equal(line.key, FAMILY.key(PUZZLE))
        assert line.context["trm"]["puzzle"] == list(PUZZLE)
        assert line.value[0] == 5
        told = [fact[2:] for fact in phases(await journal(lattice, "r"))]
        assert told.count(("reflect", "continue")) == 2
        assert told.count(("act", "done")) == 3


async def test_what_was_solved_is_what_a_similar_one_begins_with() -> None:
    async with memory() as lattice:
        model = Oracle(slow=4)
        solver = PuzzleSolver(lattice, model, FAMILY)
        first = await solver.solve(PUZZLE)
        again = FAMILY.again(np.random.default_rng(1), PUZZLE)
        assert again != PUZZLE
        model.states.clear()
        found = await solver.solve(again)
        assert FAMILY.check(again, found.answer)
        assert (found.steps, found.act) == (1, "warm-1")
        stored = (await lattice.get(first.anchor)).value
        assert any(np.array_equal(state, stored) for state in model.states if state is not None)
        # It is kept as it was thought: turned and renamed to what it began with.
        answer = (await lattice.get(first.anchor)).context["trm"]["answer"]
        assert (await lattice.get(found.anchor)).context["trm"]["answer"] == answer


@pytest.mark.parametrize("other", ["a model", "a family", "a wrong answer", "no similar one"])
async def test_what_does_not_help_is_not_recalled(other: str) -> None:
    async with memory() as lattice:
        first = Oracle(name="other") if other == "a model" else Oracle()
        first.wrong = other == "a wrong answer"
        await PuzzleSolver(lattice, first, FAMILY).solve(PUZZLE)
        family, puzzle = FAMILY, PUZZLE
        if other == "a family":
            family = type(FAMILY)(4, pool=1)
            family.name = "other"
        if other == "no similar one":
            puzzle = (0,) * 15 + (1,)
        found = await PuzzleSolver(lattice, Oracle(slow=2), family).solve(puzzle)
        assert (found.act, found.steps) == ("cold", 2)


async def test_the_last_cycle_gives_what_there_is() -> None:
    async with memory() as lattice:
        solver = PuzzleSolver(lattice, Oracle(wrong=True), FAMILY, steps=2, max_cycles=2)
        found = await solver.solve(PUZZLE)
        assert (found.right, found.confidence, found.steps) == (False, 0.2, 4)
        assert (await solver.run(text_of(PUZZLE))).text.startswith("not solved in 4 steps: ")


async def test_without_a_checker_the_confidence_decides() -> None:
    async with memory() as lattice:
        found = await PuzzleSolver(lattice, Oracle(slow=2), FAMILY, checked=False).solve(PUZZLE)
        assert (found.right, found.confidence, found.steps) == (True, 0.9, 2)


async def test_the_same_puzzle_and_memory_give_the_same_anchors() -> None:
    async def told() -> list[Any]:
        async with memory() as lattice:
            solver = PuzzleSolver(lattice, Oracle(slow=4), FAMILY, noise=2)
            await solver.solve(PUZZLE, run_id="a")
            found = await solver.solve(FAMILY.again(np.random.default_rng(2), PUZZLE), run_id="b")
            return [found, lattice.head, lattice.digest]

    assert await told() == await told()


async def test_noise_differs_between_acts() -> None:
    async with memory() as lattice:
        found = await PuzzleSolver(lattice, Oracle(), FAMILY, noise=2).solve(PUZZLE)
        lines = await lattice.branches(found.anchor)
        noises = {line.context["trm"]["act"]: float(line.value[1]) for line in lines}
        assert len({round(noise, 6) for noise in noises.values()}) == 2
        assert noises.keys() == {"noise-1", "noise-2"}


@pytest.mark.parametrize("when", range(1, 4))
async def test_a_run_that_died_goes_on_where_it_was(when: int) -> None:
    class Dying(Oracle):
        async def think(self, *args: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == when:
                raise Stop
            return await super().think(*args, **options)

    async with memory() as lattice:
        with crashing():
            await PuzzleSolver(lattice, Dying(4), FAMILY, steps=2).solve(PUZZLE, run_id="r")
        result = await PuzzleSolver(lattice, Oracle(4), FAMILY, steps=2).resume("r")
        assert isinstance(result.data, Solution)
        assert (result.data.steps, result.data.right) == (4, True)


async def test_a_cancelled_run_stops_and_is_resumed() -> None:
    begun = asyncio.Event()

    class Slow(Oracle):
        async def think(self, *args: Any, **options: Any) -> Any:
            begun.set()
            await asyncio.Event().wait()  # until it is cancelled

    async with memory() as lattice:
        run = PuzzleSolver(lattice, Slow(), FAMILY).solve(PUZZLE, run_id="r")
        task = asyncio.ensure_future(run)
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await PuzzleSolver(lattice, Oracle(), FAMILY).resume("r")).status == "done"


async def test_a_model_that_raises_is_asked_again_and_then_given_up() -> None:
    class Broken(Oracle):
        async def think(self, *args: Any, **options: Any) -> Any:
            raise ArithmeticError("NaN")

    events: list[Event] = []
    async with memory() as lattice:
        solver = PuzzleSolver(lattice, Broken(), FAMILY, observers=[events.append])
        with pytest.raises(NothingRecalledError, match="is exhausted"):
            await solver.solve(PUZZLE)
    assert sum(isinstance(event, Acted) for event in events) == 3


async def test_a_goal_that_is_no_puzzle_is_said() -> None:
    async with memory() as lattice:
        result = await PuzzleSolver(lattice, Oracle(), FAMILY).run("solve it")
        assert result.status == "exhausted"
        assert "a text of 16 digits" in result.text


@pytest.mark.parametrize("wrong", [{"warm": -1}, {"noise": -1}, {"steps": 0}])
async def test_senseless_counts_are_refused(wrong: dict[str, int]) -> None:
    async with memory() as lattice:
        with pytest.raises(ValueError, match="0 or more"):
            PuzzleSolver(lattice, Oracle(), FAMILY, **wrong)
