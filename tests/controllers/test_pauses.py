"""Pauses: a step asks, the run stops durably, and goes on with the answer."""

from __future__ import annotations

from typing import Any

import pytest
from controller_support import Stop, crashing, journal, phases, proposing, steps

from controllers import (
    Done,
    Outcome,
    Pause,
    Plan,
    RTMController,
    RunPausedError,
    StepContext,
    Verdict,
)
from pmll_async import Candidate, Lattice


@pytest.mark.parametrize("stage", ["plan", "act", "reflect"])
async def test_a_run_waits_for_its_answer(lattice: Lattice, stage: str) -> None:
    answers: list[Any] = []

    def asking(phase: str, said: Any) -> Any:
        async def step(ctx: StepContext[Any], *_: object) -> Any:
            if phase == stage and ctx.answer is None:
                return Pause("publish?", {"draft": 1})
            answers.append(ctx.answer)
            return said

        return step

    candidate = Candidate(key=[1, 0])
    controller = RTMController(
        lattice,
        plan=asking("plan", Plan()),
        act=[asking("act", candidate), proposing(0, 1)],
        reflect=asking("reflect", Done("published")),
    )
    paused = await controller.run("ask", run_id="r")
    assert (paused.status, paused.text, paused.data) == ("paused", "publish?", {"draft": 1})
    before = await journal(lattice, "r")
    assert phases(before)[-1][2:] == ("run", "paused")
    (info,) = await controller.runs()
    assert (info.status, info.text) == ("paused", "publish?")
    with pytest.raises(RunPausedError, match="'publish\\?'"):
        await controller.resume("r")
    result = await controller.resume("r", answer={"yes": 1})
    assert (result.status, result.text, result.cycles) == ("done", "published", 1)
    expected = {"plan": 0, "act": 1, "reflect": 2}[stage]
    assert answers == [{"yes": 1} if n == expected else None for n in range(3)]
    assert len([phase for phase in phases(await journal(lattice, "r")) if phase[2] == "act"]) == 1


async def test_an_answer_outlives_a_crash(lattice: Lattice) -> None:
    stops = [True]

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict | Pause:
        if ctx.answer is None:
            return Pause("go?")
        if stops:
            stops.pop()
            raise Stop
        return Done(str(ctx.answer))

    controller = RTMController(lattice, **steps(reflect=reflect))
    assert (await controller.run("ask", run_id="r")).status == "paused"
    with crashing():
        await controller.resume("r", answer="yes")
    assert (await controller.resume("r")).text == "yes"


async def test_a_sub_goal_may_ask(lattice: Lattice) -> None:
    def plan(ctx: StepContext[Any]) -> Plan[int] | Pause:
        if ctx.depth == 0:
            return Plan(goals=["a", "b"])
        return Plan() if ctx.answer or ctx.goal == "a" else Pause(f"{ctx.goal}?")

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        return Done(",".join(result.text for result in ctx.results) or ctx.goal)

    controller = RTMController(lattice, **steps(plan=plan, reflect=reflect))
    assert (await controller.run("ask", run_id="r")).text == "b?"
    assert (await controller.resume("r", answer=True)).text == "a,b"
