"""A run that ended for lack of budget goes on with another one, which it keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_support import pmll
from controller_support import Stop, crashing, journal, proposing, steps

from controllers import (
    Allowance,
    Budget,
    Continue,
    Done,
    Outcome,
    Plan,
    Retry,
    RTMController,
    RunResumed,
    StepContext,
    Usage,
    Verdict,
    cost_budget,
    replay,
    retry_limit,
    time_budget,
    total_cycles,
)
from controllers.reports.documents import document
from pmll_async import InvalidInputError, Lattice


def until(cycle: int) -> Any:
    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        return Done("there") if ctx.cycle >= cycle else Continue(f"cycle {ctx.cycle}")

    return reflect


async def test_an_exhausted_run_goes_on_with_more_cycles(lattice: Lattice) -> None:
    run = RTMController(lattice, **steps(reflect=until(4)), max_cycles=2)
    assert (await run.run("on", run_id="r")).reason == "2 cycles are over"
    assert (await run.resume("r")).reason == "2 cycles are over"
    more = await run.resume("r", budget=Allowance(cycles=2))
    assert (more.status, more.reason, more.cycles) == ("exhausted", "4 cycles are over", 4)
    # What it was given is its own from then on, and what comes is added.
    last = await run.resume("r", budget=Allowance(cycles=1))
    assert (last.status, last.text, last.cycles) == ("done", "there", 5)
    told = [event async for event in replay(lattice, "r") if isinstance(event, RunResumed)]
    assert [event.allowance.cycles for event in told] == [0, 2, 3]
    assert document(told[1], 0.0)["allowance"] == {"cycles": 2}
    assert "allowance" not in document(told[0], 0.0)


async def test_a_cycles_retries_are_not_over_for_ever(lattice: Lattice) -> None:
    works: list[bool] = []

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        return Done("at last") if works else Retry("again")

    run = RTMController(lattice, **steps(reflect=reflect), max_retries=1)
    assert (await run.run("try", run_id="r")).reason == "1 retries are over"
    works.append(True)
    assert (await run.resume("r")).status == "exhausted"
    assert (await run.resume("r", budget=Allowance(retries=2))).status == "done"


async def test_an_allowance_outlives_a_crash(lattice: Lattice) -> None:
    crashes = [True]

    def plan(ctx: StepContext[Any]) -> Plan[Any]:
        if ctx.cycle == 1 and crashes:
            crashes.clear()
            raise Stop
        return Plan()

    run = RTMController(lattice, **steps(plan=plan, reflect=until(2)), max_cycles=1)
    await run.run("on", run_id="r")
    with crashing():
        await run.resume("r", budget=Allowance(cycles=2))
    assert (await run.resume("r")).status == "done"


async def test_the_last_cycle_is_that_of_the_allowance(lattice: Lattice) -> None:
    seen: list[tuple[int, bool]] = []

    def plan(ctx: StepContext[Any]) -> Plan[Any]:
        seen.append((ctx.cycle, ctx.budget.last_cycle))
        return Plan()

    run = RTMController(lattice, **steps(plan=plan, reflect=until(9)), max_cycles=1)
    await run.run("on", run_id="r")
    await run.resume("r", budget=Allowance(cycles=2))
    assert seen == [(0, True), (1, False), (2, True)]


@pytest.mark.parametrize(
    ("rule", "allowance"),
    [
        (total_cycles(3), Allowance(cycles=1)),
        (retry_limit(1), Allowance(retries=1)),
        (time_budget(5), Allowance(seconds=1.5)),
        (cost_budget(2), Allowance(cost=0.5)),
    ],
)
def test_each_rule_adds_what_the_run_was_given(rule: Any, allowance: Allowance) -> None:
    at = {"total_cycles": 3, "retry_limit": 2, "time_budget": 5.0, "cost_budget": 2.0}
    spent: dict[str, Any] = {
        "cycle": 0,
        "attempt": 2 if rule.__qualname__.startswith("retry") else 0,
        "elapsed": at["time_budget"],
        "max_cycles": 8,
        "cycles": 3,
        "usage": Usage(cost=at["cost_budget"]),
    }
    assert rule(Budget(**spent)) is not None
    assert rule(Budget(**spent, allowance=allowance)) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"cycles": -1},
        {"cycles": 1.5},
        {"retries": True},
        {"seconds": float("nan")},
        {"cost": float("inf")},
        {"cost": "5"},
    ],
)
def test_an_allowance_is_of_numbers_from_0_on(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        Allowance(**wrong)


async def test_what_is_no_budget_is_refused_before_anything_is_read(lattice: Lattice) -> None:
    run = RTMController(lattice, **steps())
    wrong: Any = 8
    with pytest.raises(InvalidInputError, match=r"budget=Allowance\(cycles=8\), not 8"):
        await run.resume("nobody", budget=wrong)


async def test_a_run_without_one_is_journaled_as_ever(lattice: Lattice) -> None:
    run = RTMController(lattice, **steps(act=[proposing(0, 1)], reflect=until(1)), max_cycles=1)
    await run.run("on", run_id="r")
    await run.resume("r")
    entry = next(
        entry
        for entry in await journal(lattice, "r")
        if entry.context["pmll"]["status"] == "resumed"
    )
    assert set(json.loads(json.dumps(dict(entry.context), default=dict))) == {
        "pmll",
        "times",
        "elapsed",
    }


AGENT = """
from controllers import Continue, Done, Plan, RTMController
from pmll_async import Candidate, Lattice

controller = RTMController(
    Lattice.open("runs", dim=2),
    plan=lambda ctx: Plan(),
    act=[lambda ctx, plan: Candidate(key=[1, ctx.cycle])],
    reflect=lambda ctx, outcome: Done("there") if ctx.cycle == 2 else Continue(),
    max_cycles=1,
)
"""


def test_a_command_line_gives_more_cycles_too(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(AGENT, encoding="utf-8")
    resume = ("resume", "agent:controller", "first")
    assert (
        pmll("run", *("agent:controller", "go", "--run-id", "first"), cwd=tmp_path).returncode == 4
    )
    assert pmll(*resume, cwd=tmp_path).returncode == 4
    done = pmll(*resume, "--cycles", "2", "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "there\n")
