"""User code as mypy sees it; every `type: ignore` marks an error that mypy must find.

It is type-checked and never run.
"""

from dataclasses import dataclass
from typing import Any, assert_type

from controllers import (
    Acted,
    Continue,
    Done,
    Event,
    Failed,
    Outcome,
    Plan,
    Planned,
    Retry,
    RTMController,
    RunResult,
    RunStream,
    StepContext,
    Verdict,
    max_cycles,
    time_budget,
)
from pmll_async import Candidate, Lattice, LatticeView, RaceOutcome


@dataclass(frozen=True)
class Tools:
    name: str


@dataclass(frozen=True)
class Query:
    words: list[str]


def plan(ctx: StepContext[Tools]) -> Plan[Query]:
    assert_type(ctx.deps, Tools)
    assert_type(ctx.memory, Lattice)
    assert_type(ctx.view, LatticeView)
    assert_type(ctx.previous, Continue | Retry | None)
    return Plan(ctx.deps.name, Query([ctx.goal]))


async def act(ctx: StepContext[Tools], plan: Plan[Query]) -> Candidate:
    assert_type(plan.data.words, list[str])
    return Candidate(key=[ctx.rng.random()])


async def act_on_a_number(ctx: StepContext[Tools], plan: Plan[int]) -> Candidate:
    return Candidate(key=[plan.data])


def reflect(ctx: StepContext[Tools], outcome: Outcome) -> Verdict:
    if isinstance(outcome, Failed):
        return Retry("nothing")
    assert_type(outcome, RaceOutcome)
    return Done(data=outcome.winner.anchor)


def careless(ctx: StepContext[Tools], outcome: Outcome) -> Verdict:
    return Done(outcome.winner.anchor)  # type: ignore[union-attr]


async def judge(ctx: StepContext[Tools], plan: Plan[Query], candidate: Candidate) -> float:
    return candidate.confidence


def bare_plan(ctx: StepContext) -> Plan:
    assert_type(ctx.deps, Any)
    return Plan()


def bare_act(ctx: StepContext, plan: Plan) -> Candidate:
    assert_type(plan.data, Any)
    return Candidate(key=[1])


def bare_reflect(ctx: StepContext, outcome: Outcome) -> Verdict:
    return Continue()


async def run(lattice: Lattice) -> None:
    controller = RTMController(
        lattice,
        plan=plan,
        act=[act],
        reflect=reflect,
        judge=judge,
        rules=[time_budget(60), max_cycles(3), lambda budget: None],
    )
    assert_type(await controller.run("goal", Tools("t")), RunResult)
    await controller.run("goal", deps=Tools("t"), run_id="r")
    await controller.run("goal")  # type: ignore[call-arg]
    await controller.run("goal", 3)  # type: ignore[arg-type]

    async with controller.stream("goal", Tools("t")) as stream:
        assert_type(stream, RunStream)
        async for event in stream:
            assert_type(event, Event)
            if isinstance(event, Planned):
                assert_type(event.cycle, int)
            elif isinstance(event, Acted):
                assert_type(event.outcome, RaceOutcome | Failed)


async def run_bare(lattice: Lattice) -> None:
    controller = RTMController(lattice, plan=bare_plan, act=[bare_act], reflect=bare_reflect)
    await controller.run("goal")
    await controller.run("goal", {"any": "thing"})


def wrong(lattice: Lattice) -> None:
    RTMController(  # type: ignore[misc]
        lattice, plan=plan, act=[act_on_a_number], reflect=reflect
    )
    RTMController(
        lattice,
        plan=plan,
        act=[act],
        reflect=lambda ctx, outcome: "done",  # type: ignore[arg-type,return-value]
    )
    RTMController(lattice, plan=plan, act=act, reflect=reflect)  # type: ignore[arg-type]
