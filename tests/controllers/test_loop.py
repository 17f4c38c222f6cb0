"""The loop: phases, what each hands to the next, and how a run ends."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from controller_support import journal, phases, plan, proposing, steps

from controllers import (
    Continue,
    Done,
    Outcome,
    Plan,
    Retry,
    RTMController,
    RunExistsError,
    StepContext,
    Verdict,
    retry_limit,
    time_budget,
)
from pmll_async import Candidate, Lattice, Source, source_of
from pmll_async.stores.memory import MemoryStore


async def test_every_phase_is_on_the_chain(lattice: Lattice) -> None:
    verdicts = iter([Continue("more", {"seen": 1}), Done("enough", [1, 2])])
    controller = RTMController(
        lattice,
        plan=plan,
        act=[proposing(1, 0), proposing(0, 1, confidence=0.5)],
        reflect=lambda ctx, outcome: next(verdicts),
    )
    result = await controller.run("learn", run_id="r")
    entries = await journal(lattice, "r")
    assert phases(entries) == [
        (0, 0, "run", "started"),
        (0, 0, "plan", "done"),
        (0, 0, "act", "done"),
        (0, 0, "reflect", "continue"),
        (1, 0, "plan", "done"),
        (1, 0, "act", "done"),
        (1, 0, "reflect", "done"),
        (1, 0, "run", "done"),
    ]
    assert [entry.kind for entry in entries] == [*["note"] * 2, "line", *["note"] * 2, "line"] + [
        "note"
    ] * 2
    told = [{key: item for key, item in e.context.items() if key != "pmll"} for e in entries]
    assert told == [
        {"goal": "learn"},
        {"text": "plan 0", "data": 0},
        {"key": [1.0, 0.0]},
        {"text": "more", "data": {"seen": 1}, "winner": entries[2].anchor},
        {"text": "plan 1", "data": 1},
        {"key": [1.0, 0.0]},
        {"text": "enough", "data": [1, 2]},
        {"text": "enough", "data": [1, 2], "times": 0, "winner": entries[5].anchor},
    ]
    # The losers are branches of the same run.
    (branch,) = await lattice.branches(entries[2].anchor)
    assert branch.context["pmll"] == entries[2].context["pmll"]
    assert (result.status, result.cycles, result.text, result.data) == ("done", 2, "enough", [1, 2])
    assert result.winner is not None
    assert (result.winner.anchor, result.anchor) == (entries[5].anchor, entries[7].anchor)


async def test_what_reflect_returns_feeds_the_next_plan(lattice: Lattice) -> None:
    seen: list[object] = []

    def plan(ctx: StepContext[Any]) -> Plan[int]:
        seen.append((ctx.previous, ctx.plan.data))
        return Plan(data=ctx.cycle * 10)

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        return Continue(data=ctx.plan.data + 1) if ctx.cycle < 2 else Done()

    await RTMController(lattice, **steps(plan=plan, reflect=reflect)).run("count")
    assert seen == [(None, None), (Continue(data=1), 0), (Continue(data=11), 10)]


async def test_a_retry_races_the_acts_again_on_the_same_plan(lattice: Lattice) -> None:
    seen: list[object] = []

    def act(ctx: StepContext[Any], plan: Plan[int]) -> Candidate:
        seen.append((ctx.cycle, ctx.attempt, plan.text, ctx.previous))
        return Candidate(key=[1, ctx.attempt])

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        return Retry("again") if ctx.attempt < 2 else Done()

    result = await RTMController(lattice, **steps(act=[act], reflect=reflect)).run(
        "try", run_id="r"
    )
    again = Retry("again")
    assert seen == [(0, 0, "plan 0", None), (0, 1, "plan 0", again), (0, 2, "plan 0", again)]
    assert result.cycles == 1
    assert [phase[1:] for phase in phases(await journal(lattice, "r"))][2:-1] == [
        (0, "act", "done"),
        (0, "reflect", "retry"),
        (1, "act", "done"),
        (1, "reflect", "retry"),
        (2, "act", "done"),
        (2, "reflect", "done"),
    ]


async def test_retries_have_a_limit(lattice: Lattice) -> None:
    controller = RTMController(
        lattice, **steps(reflect=lambda ctx, outcome: Retry("no")), rules=[retry_limit(2)]
    )
    result = await controller.run("try", run_id="r")
    assert (result.status, result.reason, result.text) == ("exhausted", "2 retries are over", "no")
    races = [entry for entry in await journal(lattice, "r") if entry.kind == "line"]
    assert len(races) == 3


async def test_cycles_have_a_limit(lattice: Lattice) -> None:
    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        assert ctx.budget.last_cycle == (ctx.cycle == 2)
        return Continue("on", ctx.cycle)

    controller = RTMController(lattice, **steps(reflect=reflect), max_cycles=3)
    result = await controller.run("on", run_id="r")
    assert (result.status, result.cycles, result.data) == ("exhausted", 3, 2)
    assert phases(await journal(lattice, "r"))[-1] == (2, 0, "run", "exhausted")
    assert (await lattice.get(result.anchor)).context["reason"] == "3 cycles are over"


async def test_time_has_a_limit(lattice: Lattice) -> None:
    now = 100.0

    def clock() -> float:
        return now

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        nonlocal now
        now += 7.0
        return Continue()

    controller = RTMController(
        lattice, **steps(reflect=reflect), rules=[time_budget(20)], clock=clock
    )
    result = await controller.run("hurry")
    assert (result.status, result.cycles) == ("exhausted", 3)
    assert result.reason == "20 seconds are over"


async def test_an_own_rule_is_a_function(lattice: Lattice) -> None:
    spent = iter([1, 5, 11])
    controller = RTMController(
        lattice,
        **steps(reflect=lambda ctx, outcome: Continue()),
        # Asked before each PLAN and before each race.
        rules=[lambda budget: "too dear" if budget.cycle and next(spent) > 10 else None],
    )
    result = await controller.run("spend")
    assert (result.status, result.reason, result.cycles) == ("exhausted", "too dear", 2)


async def test_a_run_id_serves_once(lattice: Lattice) -> None:
    controller = RTMController(lattice, **steps())
    first = await controller.run("once", run_id="r")
    with pytest.raises(RunExistsError, match="'r'") as caught:
        await controller.run("once", run_id="r")
    assert caught.value.run_id == "r"
    assert len(await journal(lattice, "r")) == 5
    assert first.run_id == "r"


async def test_run_ids_are_made_up_where_none_is_given(lattice: Lattice) -> None:
    controller = RTMController(lattice, **steps())
    ids = {(await controller.run("again")).run_id for _ in range(3)}
    assert len(ids) == 3
    assert all(len(run_id) == 32 for run_id in ids)


def test_a_controller_needs_acts_and_sane_limits() -> None:
    lattice = Lattice(MemoryStore(), dim=2)
    with pytest.raises(ValueError, match="at least one step"):
        RTMController(lattice, **steps(act=[]))
    with pytest.raises(ValueError, match="max_cycles"):
        RTMController(lattice, **steps(), max_cycles=0)


async def test_losers_are_decayed_as_the_controller_says(lattice: Lattice) -> None:
    controller = RTMController(
        lattice, **steps(act=[proposing(1, 0), proposing(0, 1, confidence=0.5)]), decay=0.25
    )
    result = await controller.run("decay")
    assert result.winner is not None
    assert [b.strength for b in await lattice.branches(result.winner.anchor)] == [0.25]


async def test_acts_that_do_not_end_in_time_are_named(lattice: Lattice) -> None:
    async def endless(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        await anyio.sleep_forever()
        raise AssertionError

    controller = RTMController(lattice, **steps(act=[endless]), timeout=0)
    await controller.run("hurry", run_id="r")
    act = (await journal(lattice, "r"))[2]
    assert (act.context["failures"], act.context["unfinished"]) == ([], ["endless"])


async def test_what_an_act_proposes_in_somebodys_name_stays_theirs(lattice: Lattice) -> None:
    page = await lattice.as_writer("web", trust=0.25).put([1.0, 0.0])

    async def act(ctx: StepContext[Any], plan: Plan) -> Candidate:
        agent = ctx.memory.as_writer("agent").derived_from(page)
        return await agent.candidate(Candidate(key=[0.0, 1.0]))

    controller = RTMController(lattice, plan=plan, act=[act], reflect=lambda ctx, outcome: Done())
    await controller.run("learn", run_id="r")
    [line] = [entry for entry in await journal(lattice, "r") if entry.kind == "line"]
    assert source_of(line.context) == Source("agent", 0.25, parents=(page,))
    assert line.context["pmll"]["run"] == "r"
    await lattice.revoke("web")
    assert await lattice.query([0.0, 1.0]) == []
