"""Going back over old lines: what stands, what is replaced, what is in doubt, and crashes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from controller_support import Stop, crashing, journal
from trm_support import FAMILY, Oracle, memory, puzzles

from controllers.trm import PuzzleSolver, ReconsiderController, Review, Solution
from pmll_async import Lattice

PUZZLES = puzzles(3)


async def solved(lattice: Lattice, model: Oracle, *, checked: bool = True) -> list[Solution]:
    solver = PuzzleSolver(lattice, model, FAMILY, warm=0, checked=checked)
    return [await solver.solve(puzzle) for puzzle in PUZZLES]


class Sure(Oracle):
    """Takes what is wrong for right."""

    async def think(self, *args: Any, **options: Any) -> Any:
        stood = await super().think(*args, **options)
        object.__setattr__(stood, "confidence", 0.6)
        return stood


async def strength(lattice: Lattice, anchor: str) -> float:
    return (await lattice.get(anchor)).strength


async def test_what_is_right_stands_and_is_reinforced() -> None:
    async with memory() as lattice:
        first, *_ = [each.anchor for each in await solved(lattice, Oracle())]
        await lattice.decay(first, 0.4)
        found = await ReconsiderController(lattice, Oracle(), FAMILY).review()
        assert (len(found.stood), found.replaced, found.doubted) == (3, (), ())
        assert await strength(lattice, first) == pytest.approx(0.5)


async def test_what_is_wrong_is_replaced_by_what_is_right() -> None:
    async with memory() as lattice:
        wrong = await solved(lattice, Sure(wrong=True), checked=False)
        assert not FAMILY.check(PUZZLES[0], wrong[0].answer)
        controller = ReconsiderController(lattice, Oracle(), FAMILY)
        found = await controller.review()
        assert [old for old, _ in found.replaced] == [each.anchor for each in wrong]
        for (old, new), puzzle in zip(found.replaced, PUZZLES, strict=True):
            assert await strength(lattice, old) == 0.5
            line = await lattice.get(new)
            assert FAMILY.check(puzzle, line.context["trm"]["answer"])
        # The new ones are what is recalled, and what the next pass is about.
        again = await controller.review()
        assert set(again.stood) == {new for _, new in found.replaced}
        assert (await PuzzleSolver(lattice, Oracle(), FAMILY).solve(PUZZLES[0])).steps == 1


async def test_where_nothing_is_right_the_line_decays() -> None:
    async with memory() as lattice:
        lines = await solved(lattice, Sure(wrong=True), checked=False)
        found = await ReconsiderController(lattice, Oracle(wrong=True), FAMILY).review()
        assert found.doubted == tuple(each.anchor for each in lines)
        assert await strength(lattice, lines[0].anchor) == 0.5


async def test_lines_of_another_model_are_replaced_by_its_own() -> None:
    async with memory() as lattice:
        lines = await solved(lattice, Oracle(name="old"))
        found = await ReconsiderController(lattice, Oracle(name="new"), FAMILY).review()
        assert [old for old, _ in found.replaced] == [each.anchor for each in lines]


async def test_without_a_checker_the_more_confident_answer_wins() -> None:
    async with memory() as lattice:
        wrong = await solved(lattice, Sure(wrong=True), checked=False)
        found = await ReconsiderController(lattice, Oracle(), FAMILY, checked=False).review()
        assert [old for old, _ in found.replaced] == [each.anchor for each in wrong]
        again = await ReconsiderController(lattice, Oracle(), FAMILY, checked=False).review()
        assert len(again.stood) == 3


async def test_passes_are_bounded_and_go_on_with_what_was_not_reconsidered() -> None:
    async with memory() as lattice:
        lines = [each.anchor for each in await solved(lattice, Oracle())]
        controller = ReconsiderController(lattice, Oracle(), FAMILY, lines=2)
        assert (await controller.review()).stood == tuple(lines[:2])
        assert (await controller.review()).stood == (lines[2], lines[0])


async def test_there_may_be_nothing_to_reconsider() -> None:
    async with memory() as lattice:
        assert await ReconsiderController(lattice, Oracle(), FAMILY).review() == Review()


@pytest.mark.parametrize("when", range(1, 6))
async def test_a_pass_that_died_is_resumed_and_does_no_line_twice(when: int) -> None:
    class Dying(Oracle):
        async def think(self, *args: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == when:
                raise Stop
            return await super().think(*args, **options)

    async with memory() as lattice:
        lines = [each.anchor for each in await solved(lattice, Oracle())]
        for anchor in lines:
            await lattice.decay(anchor, 0.4)
        with crashing():
            await ReconsiderController(lattice, Dying(), FAMILY).review(run_id="r")
        result = await ReconsiderController(lattice, Oracle(), FAMILY).resume("r")
        assert result.data == Review(stood=tuple(lines))
        assert [await strength(lattice, anchor) for anchor in lines] == pytest.approx([0.5] * 3)


async def test_a_strength_that_was_changed_before_a_crash_is_not_changed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with memory() as lattice:
        lines = [each.anchor for each in await solved(lattice, Oracle())]
        await lattice.decay(lines[0], 0.4)
        decay = Lattice.decay

        async def dying(self: Lattice, anchor: str, factor: float) -> None:
            await decay(self, anchor, factor)
            raise Stop

        monkeypatch.setattr(Lattice, "decay", dying)
        with crashing():
            await ReconsiderController(lattice, Oracle(), FAMILY).review(run_id="r")
        monkeypatch.undo()
        await ReconsiderController(lattice, Oracle(), FAMILY).resume("r")
        assert await strength(lattice, lines[0]) == pytest.approx(0.5)


@pytest.mark.parametrize("erase", [False, True])
async def test_a_line_that_is_gone_does_not_come_back(erase: bool) -> None:
    async with memory() as lattice:
        lines = [each.anchor for each in await solved(lattice, Oracle(name="old"))]
        controller = ReconsiderController(lattice, Oracle(), FAMILY)
        await lattice.forget(lines[1], erase=erase)
        review = await controller.review()
        assert [old for old, _ in review.replaced] == [lines[0], lines[2]]


async def test_a_line_that_goes_while_a_pass_is_under_way_is_passed_over() -> None:
    class Forgetting(Oracle):
        async def think(self, *args: Any, **options: Any) -> Any:
            if not self.states:
                await lattice.forget(lines[1], erase=True)
                await lattice.forget(lines[2])
            return await super().think(*args, **options)

    async with memory() as lattice:
        lines = [each.anchor for each in await solved(lattice, Oracle())]
        review = await ReconsiderController(lattice, Forgetting(), FAMILY).review()
        assert review == Review(stood=(lines[0],))


async def test_a_cancelled_pass_is_resumed() -> None:
    begun = asyncio.Event()

    class Slow(Oracle):
        async def think(self, *args: Any, **options: Any) -> Any:
            begun.set()
            await asyncio.Event().wait()  # until it is cancelled

    async with memory() as lattice:
        await solved(lattice, Oracle())
        pass_ = ReconsiderController(lattice, Slow(), FAMILY).review(run_id="r")
        task = asyncio.ensure_future(pass_)
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        result = await ReconsiderController(lattice, Oracle(), FAMILY).resume("r")
        assert len(result.data.stood) == 3
        entries = await journal(lattice, "r")
        assert entries[-1].context["pmll"]["status"] == "done"


@pytest.mark.parametrize("wrong", [{"lines": 0}, {"steps": 0}])
async def test_senseless_counts_are_refused(wrong: dict[str, int]) -> None:
    async with memory() as lattice:
        with pytest.raises(ValueError, match="1 or more"):
            ReconsiderController(lattice, Oracle(), FAMILY, **wrong)
