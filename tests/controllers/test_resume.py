"""Resume: a run that stopped anywhere goes on from the chain alone."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Any

import anyio
import pytest
from controller_support import PATIENCE, Stop, crashing, journal, phases, proposing, steps

from controllers import (
    Continue,
    Done,
    Failed,
    Outcome,
    Plan,
    Retry,
    RTMController,
    RunActiveError,
    RunExistsError,
    RunNotFoundError,
    StepContext,
    Verdict,
)
from pmll_async import Candidate, Lattice


@dataclass(frozen=True)
class Note:
    day: date
    words: tuple[str, ...]


class Agent:
    """Steps that note each call, and stop the run at the calls they are told to."""

    def __init__(self, *stops: str) -> None:
        self.stops = set(stops)
        self.calls: list[str] = []
        self.resumed: list[str] = []
        self.keys: dict[str, set[str]] = {}

    def called(self, ctx: StepContext[Any]) -> None:
        name = f"{'/'.join(ctx.goals[1:])}{ctx.stage}{ctx.cycle}.{ctx.attempt}"
        self.calls.append(name)
        self.keys.setdefault(name, set()).add(ctx.idempotency_key)
        if ctx.resumed:
            self.resumed.append(name)
        if name in self.stops:
            self.stops.remove(name)
            raise Stop

    async def plan(self, ctx: StepContext[Any]) -> Plan[Note]:
        self.called(ctx)
        said = ctx.previous.data if ctx.previous else "nothing"
        goals = ("a", "b") if ctx.depth == 0 and ctx.cycle == 1 else ()
        note = Note(date(2026, 1, 1 + ctx.cycle), (ctx.goal, str(said)))
        return Plan(f"plan {ctx.cycle}", note, goals=goals)

    async def act(self, ctx: StepContext[Any], plan: Plan[Note]) -> Candidate:
        self.called(ctx)
        assert isinstance(plan.data.day, date)
        results = [[result.goal, result.status, result.text] for result in ctx.results]
        words = list(plan.data.words)
        return Candidate(
            key=[1 + ctx.cycle, ctx.attempt + 1], context={"words": words, "results": results}
        )

    async def reflect(self, ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        self.called(ctx)
        assert not isinstance(outcome, Failed)
        words = outcome.winner.context["words"]
        if ctx.depth:
            return Done(f"did {ctx.goal}")
        if ctx.cycle == 0 and ctx.attempt == 0:
            return Retry("once more")
        return Done("enough", words) if ctx.cycle == 2 else Continue("on", ctx.cycle)

    def controller(self, lattice: Lattice) -> RTMController[Any, Any]:
        return RTMController(lattice, plan=self.plan, act=[self.act], reflect=self.reflect)


async def said(lattice: Lattice) -> list[tuple[Any, ...]]:
    """What the run did, told without the turns of its processes."""
    return [
        (*phase, entry.context.get("text"), entry.context.get("data"), entry.context.get("words"))
        for entry in await journal(lattice, "r")
        for phase in phases([entry])
        if phase[2] != "run"
    ]


CALLS = [
    *("plan0.0", "act0.0", "reflect0.0", "act0.1", "reflect0.1", "plan1.0"),
    *("aplan0.0", "aact0.0", "areflect0.0", "bplan0.0", "bact0.0", "breflect0.0"),
    *("act1.0", "reflect1.0", "plan2.0", "act2.0", "reflect2.0"),
]


@pytest.fixture
async def whole(lattice: Lattice) -> tuple[list[tuple[Any, ...]], Any]:
    agent = Agent()
    result = await agent.controller(lattice).run("all", run_id="r")
    assert agent.calls == CALLS
    story = await said(lattice)
    await lattice.rollback(0)
    return story, result


@pytest.mark.parametrize("stop", CALLS)
async def test_a_run_goes_on_from_wherever_it_stopped(
    lattice: Lattice, whole: tuple[list[tuple[Any, ...]], Any], stop: str
) -> None:
    story, expected = whole
    agent = Agent(stop)
    controller = agent.controller(lattice)
    with crashing():
        await controller.run("all", run_id="r")
    result = await controller.resume("r")
    # Only the step that had begun is called twice, and knows it, under the same key.
    place = CALLS.index(stop)
    assert agent.calls == [*CALLS[: place + 1], *CALLS[place:]]
    assert agent.resumed == [stop]
    assert [len(keys) for keys in agent.keys.values()] == [1] * len(CALLS)
    assert await said(lattice) == story
    for name in ("status", "cycles", "text", "data", "goal", "usage"):
        assert getattr(result, name) == getattr(expected, name)
    assert result.winner is not None
    assert result.winner.context["words"] == expected.winner.context["words"]


async def test_a_run_may_stop_again_and_again(
    lattice: Lattice, whole: tuple[list[tuple[Any, ...]], Any]
) -> None:
    story, expected = whole
    agent = Agent(*CALLS)
    controller = agent.controller(lattice)
    with crashing():
        await controller.run("all", run_id="r")
    for _ in CALLS[1:]:
        with crashing():
            await controller.resume("r")
    result = await controller.resume("r")
    assert agent.calls == [call for call in CALLS for _ in range(2)]
    assert await said(lattice) == story
    assert (result.cycles, result.data) == (expected.cycles, expected.data)
    (info,) = await controller.runs()
    assert (info.status, info.resumed) == ("done", len(CALLS))


async def test_a_run_that_is_done_gives_its_result_again(lattice: Lattice) -> None:
    agent = Agent()
    controller = agent.controller(lattice)
    first = await controller.run("all", run_id="r")
    calls, revision = len(agent.calls), lattice.revision
    again = await controller.resume("r")
    assert (len(agent.calls), lattice.revision) == (calls, revision)
    assert again == first
    async with controller.stream_resumed("r") as run:
        assert [event async for event in run] == []
        assert run.result == first


async def test_a_run_that_is_running_is_not_resumed(lattice: Lattice) -> None:
    going, go = asyncio.Event(), asyncio.Event()

    async def wait(ctx: StepContext[Any]) -> Plan[int]:
        going.set()
        await go.wait()
        return Plan()

    controller = RTMController(lattice, **steps(plan=wait))
    other = RTMController(lattice, **steps())
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(controller.run, "wait", None)
            await going.wait()
            (info,) = await other.runs()
            assert info.status == "running"
            with pytest.raises(RunActiveError, match="is running now"):
                await other.resume(info.run_id)
            go.set()
    assert [info.status for info in await other.runs()] == ["done"]


async def test_what_is_not_there_is_not_resumed(lattice: Lattice) -> None:
    controller = RTMController(lattice, **steps())
    with pytest.raises(RunNotFoundError, match="'nobody'"):
        await controller.resume("nobody")
    await controller.run("one", run_id="r")
    with pytest.raises(ValueError, match="asked nothing"):
        await controller.resume("r", answer="what")


async def test_a_cancelled_run_can_be_resumed(lattice: Lattice) -> None:
    going = asyncio.Event()

    async def act(ctx: StepContext[Any], plan: Plan[int]) -> Candidate:
        if not ctx.resumed:
            going.set()
            await anyio.sleep_forever()
        return Candidate(key=[1, 0])

    controller = RTMController(lattice, **steps(act=[act]))
    async with controller.stream("cancel", run_id="r"):
        await going.wait()
    assert [info.status for info in await controller.runs()] == ["cancelled"]
    result = await controller.resume("r")
    assert result.status == "done"
    assert [phase[2:] for phase in phases(await journal(lattice, "r"))] == [
        ("run", "started"),
        ("plan", "done"),
        ("run", "cancelled"),
        ("run", "resumed"),
        ("act", "done"),
        ("reflect", "done"),
        ("run", "done"),
    ]


async def test_a_run_that_failed_asks_reflect_again(lattice: Lattice) -> None:
    outcomes: list[Any] = []

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        outcomes.append(outcome)
        if not ctx.resumed:
            raise RuntimeError("not today")
        return Done("tomorrow")

    controller = RTMController(
        lattice, **steps(reflect=reflect, act=[proposing(1, 0), proposing(0, 1, confidence=0.5)])
    )
    with pytest.raises(RuntimeError, match="not today"):
        await controller.run("try", run_id="r")
    assert (await controller.resume("r")).text == "tomorrow"
    assert outcomes[0] == outcomes[1]
    assert outcomes[0].scores == outcomes[1].scores


async def test_an_exhausted_run_goes_on_with_a_larger_budget(lattice: Lattice) -> None:
    small = RTMController(lattice, **steps(reflect=lambda *_: Continue("on")), max_cycles=2)
    assert (await small.run("on", run_id="r")).status == "exhausted"
    assert (await small.resume("r")).status == "exhausted"
    large = RTMController(
        lattice,
        **steps(reflect=lambda ctx, _: Continue("on") if ctx.cycle < 4 else Done("there")),
        max_cycles=8,
    )
    result = await large.resume("r")
    assert (result.status, result.text, result.cycles) == ("done", "there", 5)


@pytest.mark.parametrize("turns", range(0, 150, 2))
async def test_a_run_cancelled_anywhere_goes_on(
    lattice: Lattice, whole: tuple[list[tuple[Any, ...]], Any], turns: int
) -> None:
    story, expected = whole
    agent = Agent()
    controller = agent.controller(lattice)
    task = asyncio.create_task(controller.run("all", run_id="r"))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    # Its first entry may still be on the way to the chain.
    try:
        result = await controller.run("all", run_id="r")
    except RunExistsError:
        result = await controller.resume("r")
    assert await said(lattice) == story
    assert (result.status, result.data) == (expected.status, expected.data)
    assert len(agent.calls) <= len(CALLS) + 1


async def test_a_run_leaves_nothing_in_working_memory(lattice: Lattice) -> None:
    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        ctx.working.push("a thought", key="k")
        assert ctx.working is lattice.working.scope("pmll.run.r")
        return Done()

    await RTMController(lattice, **steps(reflect=reflect)).run("think", run_id="r")
    assert lattice.working.scope("pmll.run.r").peek("k") is None
