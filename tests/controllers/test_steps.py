"""Steps: what they may be, and what becomes of one that fails."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import anyio
import anyio.from_thread
import pytest
from controller_support import journal, phases, proposing, steps

from controllers import (
    Continue,
    Done,
    Failed,
    Outcome,
    Plan,
    Retry,
    RTMController,
    StepContext,
    Verdict,
    time_budget,
)
from pmll_async import Candidate, Lattice, NoWinnerError, StaleAnchorError, stamp


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
        return Retry() if isinstance(outcome, Failed) else Done()

    result = await RTMController(lattice, **steps(act=[act], reflect=reflect)).run("r", run_id="r")
    assert result.status == "done"
    entries = await journal(lattice, "r")
    assert phases(entries)[2:5] == [
        (0, 0, "act", "failed"),
        (0, 0, "reflect", "retry"),
        (0, 1, "act", "done"),
    ]
    assert entries[2].kind == "note"
    told = {"name": "act", "error": "RuntimeError", "message": "?"}
    assert entries[2].context["failures"] == [told]


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


async def test_a_reflect_that_raises_ends_the_run(lattice: Lattice) -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError("by zero \ud800")

    controller = RTMController(lattice, **steps(reflect=broken))
    with pytest.raises(ZeroDivisionError) as caught:
        await controller.run("try", run_id="r")
    assert "in run r, cycle 0, reflect" in caught.value.__notes__
    end = (await journal(lattice, "r"))[-1]
    assert phases([end]) == [(0, 0, "run", "failed")]
    error = {"type": "ZeroDivisionError", "message": "by zero \\ud800"}
    assert end.context["error"] == error


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned NoneType, not Continue, Done or Retry"),
        (Done(data=object()), "say in its annotation what it is: `-> Done"),
        (Done(data=[float("inf")]), "JSON has no inf"),
    ],
)
async def test_rubbish_from_reflect_ends_the_run(
    lattice: Lattice, returned: Any, message: str
) -> None:
    controller = RTMController(lattice, **steps(reflect=lambda ctx, outcome: returned))
    with pytest.raises(TypeError, match=message):
        await controller.run("try")


@pytest.mark.parametrize(
    ("data", "kind"),
    [({"a": {1}}, "set"), ([(1, 2)], "tuple"), ({1: "a"}, "int"), ({"a": [{"b": b"c"}]}, "bytes")],
)
async def test_data_that_json_would_change_is_refused_however_deep_it_is(
    lattice: Lattice, data: Any, kind: str
) -> None:
    controller = RTMController(lattice, **steps(reflect=lambda ctx, outcome: Done(data=data)))
    with pytest.raises(TypeError, match=f"returned {kind} data"):
        await controller.run("try")


async def test_a_forgotten_await_is_named(lattice: Lattice) -> None:
    async def later() -> int:
        return 1

    waiting = later()
    controller = RTMController(lattice, **steps(reflect=lambda ctx, outcome: Done(data=waiting)))
    with pytest.raises(TypeError, match="was `await` forgotten"):
        await controller.run("try")
    waiting.close()


async def test_a_failed_outcome_says_why_it_has_no_winner(lattice: Lattice) -> None:
    def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        raise NameError("name 'cellos' is not defined")

    def reflect(ctx: StepContext[Any], outcome: Any) -> Verdict:
        return Done(outcome.winner.anchor)

    with pytest.raises(AttributeError, match=r"cellos.*ask isinstance"):
        await RTMController(lattice, **steps(act=[act], reflect=reflect)).run("try")


async def test_an_exhausted_run_says_what_failed_last(lattice: Lattice) -> None:
    def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        raise NameError("cellos")

    controller = RTMController(
        lattice, **steps(act=[act], reflect=lambda *_: Continue()), max_cycles=2
    )
    result = await controller.run("try")
    assert result.reason == "2 cycles are over (act came to nothing: act: NameError: cellos)"


async def observe(event: object) -> None:
    """An observer that nobody would await."""


@pytest.mark.parametrize(
    ("memory", "changes", "message"),
    [
        ("memory", {}, "a Lattice or a TextMemory, not str"),
        (Lattice, {}, "a Lattice or a TextMemory, not Lattice"),
        (None, {"rules": time_budget(1)}, "rules is a list"),
        (None, {"rules": [3]}, "rules are plain functions"),
        (None, {"observers": [observe]}, "observers are plain functions that are not async"),
        (None, {"observers": [list]}, "observers are plain functions"),
    ],
)
def test_what_cannot_work_is_refused_when_the_controller_is_made(
    lattice: Lattice, memory: Any, changes: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        RTMController(memory or lattice, **steps(**changes))


def broken_plan(ctx: StepContext[Any]) -> Plan[int]:
    raise ZeroDivisionError("by zero \ud800")


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (broken_plan, "broken_plan: ZeroDivisionError: by zero ?"),
        (lambda ctx: "a string", "plan step <lambda> returned str, not a Plan"),
        (lambda ctx: Plan(data=object()), "say in its annotation what it is: `-> Plan"),
        (lambda ctx: Plan(data=float("nan")), "JSON has no nan"),
        (lambda ctx: Plan(data=2**60), "InvalidContextError: context at data"),
        (lambda ctx: Plan(key=[1, 2, 3]), "DimensionMismatchError"),
        (lambda ctx: Plan(goals="one"), "the goals of <lambda>'s plan are texts"),
    ],
)
async def test_a_plan_that_fails_is_a_value_for_reflect(
    lattice: Lattice, plan: Any, message: str
) -> None:
    outcomes: list[Any] = []

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        outcomes.append(outcome)
        return Retry("again") if ctx.attempt == 0 else Done()

    result = await RTMController(lattice, **steps(plan=plan, reflect=reflect)).run("r", run_id="r")
    assert (result.status, result.cycles) == ("done", 1)
    assert all(isinstance(outcome, Failed) for outcome in outcomes)
    assert [outcome.stage for outcome in outcomes] == ["plan", "plan"]
    assert message in str(outcomes[0])
    assert outcomes[0].error is not None
    assert phases(await journal(lattice, "r"))[1:5] == [
        (0, 0, "plan", "failed"),
        (0, 0, "reflect", "retry"),
        (0, 1, "plan", "failed"),
        (0, 1, "reflect", "done"),
    ]


async def test_what_an_act_revises_may_have_gone_stale(lattice: Lattice) -> None:
    old = await lattice.put([1, 0])
    await lattice.put([1, 0.1], revises=(old,))

    def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        return Candidate(key=[0, 1], revises=() if ctx.attempt else (old,))

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        if isinstance(outcome, Failed):
            assert isinstance(outcome.error, StaleAnchorError)
            return Retry()
        return Done()

    result = await RTMController(lattice, **steps(act=[act], reflect=reflect)).run("revise")
    assert result.status == "done"
    assert result.winner is not None


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
    facts = {
        "run": "b",
        "cycle": 0,
        "attempt": 0,
        "stage": "act",
        "status": "done",
        "cycles": 1,
    }
    assert result.winner.context["pmll"] == facts
