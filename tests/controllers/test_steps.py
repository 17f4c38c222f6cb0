"""Steps: what they may be, and what becomes of one that fails."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import anyio
import anyio.from_thread
import pytest
from controller_support import Steps, journal, phases, proposing, steps

from controllers import (
    Done,
    Outcome,
    Plan,
    Retry,
    RTMController,
    StepContext,
    Verdict,
)
from pmll_async import Candidate, InvalidContextError, Lattice, NoWinnerError, stamp


async def test_an_act_that_fails_is_a_failure_in_the_outcome(lattice: Lattice) -> None:
    async def broken(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        raise RuntimeError("no idea")

    def rubbish(ctx: StepContext[Any], plan: Plan[Any]) -> Any:
        return "not a candidate"

    outcomes: list[Outcome] = []

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        outcomes.append(outcome)
        return Done()

    controller = RTMController(
        lattice, **steps(act=[broken, rubbish, proposing(1, 0)], reflect=reflect)
    )
    result = await controller.run("try")
    assert result.status == "done"
    assert [(failure.name, failure.error) for failure in outcomes[0].failures] == [
        ("broken", "RuntimeError"),
        ("rubbish", "TypeError"),
    ]


async def test_no_winner_is_a_value_for_reflect(lattice: Lattice) -> None:
    def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        if ctx.attempt == 0:
            raise RuntimeError("\ud800")
        return Candidate(key=[1, 0])

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        return Retry() if isinstance(outcome, NoWinnerError) else Done()

    result = await RTMController(lattice, **steps(act=[act], reflect=reflect)).run("r", run_id="r")
    assert result.status == "done"
    entries = await journal(lattice, "r")
    assert phases(entries)[2:5] == [
        (0, 0, "act", "failed"),
        (0, 0, "reflect", "retry"),
        (0, 1, "act", "done"),
    ]
    assert entries[2].kind == "note"
    assert "act: RuntimeError" in str(entries[2].context["failures"])


async def test_a_reflect_that_expects_a_winner_names_the_cause(lattice: Lattice) -> None:
    def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        raise RuntimeError("no idea")

    def reflect(ctx: StepContext[Any], outcome: Any) -> Verdict:
        return Done(outcome.winner.anchor)

    controller = RTMController(lattice, **steps(act=[act], reflect=reflect))
    with pytest.raises(AttributeError) as caught:
        await controller.run("try", run_id="r")
    assert isinstance(caught.value.__cause__, NoWinnerError)
    assert caught.value.__notes__ == ["in run r, cycle 0, reflect"]


@pytest.mark.parametrize("stage", ["plan", "reflect"])
async def test_a_step_that_raises_ends_the_run(lattice: Lattice, stage: str) -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError("by zero \ud800")

    controller = RTMController(lattice, **steps(**{stage: broken}))
    with pytest.raises(ZeroDivisionError) as caught:
        await controller.run("try", run_id="r")
    assert f"in run r, cycle 0, {stage}" in caught.value.__notes__
    end = (await journal(lattice, "r"))[-1]
    assert phases([end]) == [(0, 0, "run", "failed")]
    error = {"type": "ZeroDivisionError", "message": "by zero \\ud800"}
    assert end.context["error"] == error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"plan": lambda ctx: "a string"}, "plan step <lambda> returned str, not a Plan"),
        ({"reflect": lambda ctx, outcome: None}, "returned NoneType, not Continue, Done or Retry"),
        ({"plan": lambda ctx: Plan(data=object())}, "object cannot be journaled"),
    ],
)
async def test_rubbish_from_a_step_ends_the_run(
    lattice: Lattice, changes: Steps, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        await RTMController(lattice, **steps(**changes)).run("try")


async def test_data_that_no_context_can_hold_ends_the_run(lattice: Lattice) -> None:
    controller = RTMController(lattice, **steps(plan=lambda ctx: Plan(data=float("nan"))))
    with pytest.raises(InvalidContextError, match="data"):
        await controller.run("try")


async def test_sync_steps_run_in_threads_and_async_ones_on_the_loop(lattice: Lattice) -> None:
    threads: dict[str, int] = {}

    def plan(ctx: StepContext[Any]) -> Plan[Any]:
        threads["plan"] = threading.get_ident()
        # A step in a thread reaches the lattice through the loop.
        anyio.from_thread.run(ctx.memory.note, {"from": "a thread"})
        return Plan()

    async def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        threads["act"] = threading.get_ident()
        return Candidate(key=[1, 0])

    class Reflector:
        def __call__(self, ctx: StepContext[Any], outcome: Outcome) -> Verdict:
            threads["reflect"] = threading.get_ident()
            return Done()

    def judge(ctx: StepContext[Any], plan: Plan[Any], candidate: Candidate) -> float:
        threads["judge"] = threading.get_ident()
        return 1.0

    await RTMController(lattice, plan=plan, act=[act], reflect=Reflector(), judge=judge).run(
        "where"
    )
    here = threading.get_ident()
    assert threads.pop("act") == here
    assert here not in threads.values()
    assert set(threads) == {"plan", "reflect", "judge"}


async def test_async_steps_come_in_any_shape(lattice: Lattice) -> None:
    class Planner:
        async def __call__(self, ctx: StepContext[Any]) -> Plan[Any]:
            return Plan()

    async def act(key: list[int], ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        return Candidate(key=key)

    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        return Done(",".join(score.name for score in outcome.scores))

    result = await RTMController(
        lattice,
        plan=Planner(),
        act=[partial(act, [1, 0]), partial(act, [0, 1])],
        # A sync function that returns an awaitable.
        reflect=lambda *args: reflect(*args),  # noqa: PLW0108  # as said
    ).run("shapes")
    assert result.text == "act,act"


async def test_the_judge_decides(lattice: Lattice) -> None:
    async def judge(ctx: StepContext[Any], plan: Plan[Any], candidate: Candidate) -> float:
        assert (ctx.stage, plan.text, ctx.goal) == ("act", "plan 0", "judge")
        return float(candidate.key[1])

    controller = RTMController(
        lattice, **steps(act=[proposing(1, 0), proposing(0, 1, confidence=0.1)]), judge=judge
    )
    result = await controller.run("judge")
    assert result.winner is not None
    assert list(result.winner.key) == [0, 1]


async def test_candidates_are_scored_against_the_plans_key(lattice: Lattice) -> None:
    controller = RTMController(
        lattice,
        **steps(plan=lambda ctx: Plan(key=[0, 1]), act=[proposing(1, 0), proposing(0.1, 1)]),
    )
    result = await controller.run("near")
    assert result.winner is not None
    assert result.winner.key[1] == 1


async def test_a_step_that_gives_a_key_leaves_a_line(lattice: Lattice) -> None:
    controller = RTMController(
        lattice,
        **steps(
            plan=lambda ctx: Plan("with a key", key=[3, 4]),
            reflect=lambda ctx, outcome: Done("also", key=[1, 1], value=[0, 2]),
        ),
    )
    await controller.run("lines", run_id="r")
    entries = {
        str(entry.context.get("text")): entry for entry in (await journal(lattice, "r"))[:-1]
    }
    assert entries["with a key"].kind == entries["also"].kind == "line"
    assert list(entries["also"].value) == [0, 2]


async def test_stamps_of_other_runs_are_not_taken_over(lattice: Lattice) -> None:
    def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        return Candidate(key=[1, 0], context=stamp({"told": "once"}, {"run": "a", "old": True}))

    controller = RTMController(lattice, **steps(act=[act]))
    result = await controller.run("take over", run_id="b")
    assert result.winner is not None
    assert result.winner.context["told"] == "once"
    facts = {"run": "b", "cycle": 0, "attempt": 0, "stage": "act", "status": "done"}
    assert result.winner.context["pmll"] == facts
