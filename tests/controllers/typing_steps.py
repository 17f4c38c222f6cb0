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
    GoalEnded,
    GoalResult,
    Listener,
    Outcome,
    Pause,
    Plan,
    Planned,
    Retry,
    RTMController,
    RunInfo,
    RunResult,
    RunStream,
    StepContext,
    Usage,
    Verdict,
    cost_budget,
    max_cycles,
    replay,
    time_budget,
)
from pmll_async import Candidate, EventsMissed, Lattice, LatticeView, RaceOutcome, WorkingMemory
from pmll_async.text import TextMemory


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


async def paid(ctx: StepContext[Tools]) -> int:
    async def charge() -> int:
        return 3

    def count() -> list[str]:
        return []

    assert_type(await ctx.once("charge", charge), int)
    assert_type(await ctx.once("count", count, again=False), list[str])
    await ctx.once("charge", 3)  # type: ignore[call-overload]
    ctx.spend(Usage(calls=1))
    ctx.spend(1)  # type: ignore[arg-type]
    assert_type(ctx.results, tuple[GoalResult, ...])
    assert_type(ctx.working, WorkingMemory)
    return 3


async def asking(ctx: StepContext[Tools]) -> Plan[Query] | Pause:
    return Pause("which?") if ctx.answer is None else Plan(data=Query([]), goals=["one"])


def learning(ctx: StepContext[Tools], outcome: Outcome) -> Continue[Query] | Done[int] | Pause:
    return Continue("on", Query([])) if ctx.cycle == 0 else Done(data=3)


def unlearned(ctx: StepContext[Tools], outcome: Outcome) -> Continue[Query] | Done[int]:
    return Done(data="three")  # type: ignore[arg-type]


def told(event: Event) -> None:
    if isinstance(event, GoalEnded):
        assert_type(event.result, GoalResult)


async def resumed(lattice: Lattice, memory: TextMemory) -> None:
    controller = RTMController(
        memory, plan=asking, act=[act], reflect=learning, observers=[told], rules=[cost_budget(1)]
    )
    assert_type(await controller.resume("r", Tools("t"), answer=["any", "JSON"]), RunResult)
    await controller.resume("r")  # type: ignore[call-arg]
    assert_type(await controller.runs(), list[RunInfo])
    async with controller.stream_resumed("r", Tools("t")) as stream:
        async with stream.listen() as events:
            assert_type(events, Listener)
            async for event in events:
                assert_type(event, Event | EventsMissed)
        assert_type(await stream.wait(), RunResult | None)
    async for past in replay(lattice, "r"):
        assert_type(past, Event)


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
