"""The event stream: what it tells, and what leaving it does."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from controller_support import PATIENCE, journal, phases, plan, proposing, steps
from structlog.testing import capture_logs

from controllers import (
    Acted,
    Continue,
    Done,
    Event,
    Failed,
    Outcome,
    Pause,
    PhaseStarted,
    Plan,
    Planned,
    Proposed,
    Reflected,
    Retry,
    RTMController,
    RunEnded,
    RunExistsError,
    RunNotFoundError,
    RunStarted,
    RunStream,
    StepContext,
    Verdict,
    replay,
)
from pmll_async import EventsMissed, Lattice


def twice(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
    return Continue("more") if ctx.cycle == 0 else Done("enough")


async def forever(ctx: StepContext[Any]) -> Plan[Any]:
    await anyio.sleep_forever()
    raise AssertionError


async def read_into(seen: list[Event], run: RunStream) -> None:
    async for event in run:
        seen.append(event)  # noqa: PERF401  # what came before an error counts


async def ends(lattice: Lattice, run_id: str) -> list[str]:
    """The statuses of the run's own entries."""
    return [
        str(status)
        for *_, stage, status in phases(await journal(lattice, run_id))
        if stage == "run"
    ]


async def test_events_tell_every_phase_once_it_is_durable(lattice: Lattice) -> None:
    controller = RTMController(lattice, **steps(reflect=twice))
    seen: list[Event] = []
    async with controller.stream("tell", run_id="r") as run:
        async for event in run:
            assert event.anchor in lattice
            seen.append(event)
    cycle = [
        *(PhaseStarted, Planned, PhaseStarted, Proposed, Acted),
        *(PhaseStarted, Reflected),
    ]
    assert [type(event) for event in seen] == [RunStarted, *cycle, *cycle, RunEnded]
    assert {event.run_id for event in seen} == {run.run_id} == {"r"}
    assert [event.cycle for event in seen] == [0] * 8 + [1] * 8
    kept = [event.anchor for event in seen if not isinstance(event, PhaseStarted | Proposed)]
    assert kept == [entry.anchor for entry in await journal(lattice, "r")]
    last = seen[-1]
    assert isinstance(last, RunEnded)
    assert run.result is last.result
    assert last.result.status == "done"


async def test_a_race_without_a_winner_is_told(lattice: Lattice) -> None:
    def act(ctx: StepContext[Any], plan: Plan[Any]) -> Any:
        raise RuntimeError

    controller = RTMController(lattice, **steps(act=[act]))
    async with controller.stream("tell", run_id="r") as run:
        acted = [event async for event in run if isinstance(event, Acted)]
    assert isinstance(acted[0].outcome, Failed)
    assert acted[0].anchor == (await journal(lattice, "r"))[2].anchor


async def test_nothing_is_lost_on_a_slow_reader(lattice: Lattice) -> None:
    newest = 0

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        nonlocal newest
        newest = ctx.cycle
        return Continue()

    controller = RTMController(lattice, **steps(reflect=reflect), max_cycles=60)
    async with controller.stream("tell", run_id="r") as run:
        cycles = []
        async for event in run:
            await lattice.get(event.anchor)
            # The run waits for its reader when the buffer is full.
            assert newest - event.cycle <= 64 // 7 + 2
            cycles.append(event.cycle)
        assert cycles == [0, *sorted([*range(60)] * 7), 59]
        assert run.result is not None
        assert run.result.cycles == 60
    assert len(await journal(lattice, "r")) == 2 + 3 * 60


@pytest.mark.parametrize("kind", [RunStarted, Planned, Acted, Reflected])
async def test_leaving_early_cancels_the_run_and_says_so(
    lattice: Lattice, kind: type[Event]
) -> None:
    controller = RTMController(lattice, **steps(reflect=lambda *_: Continue()), max_cycles=10_000)
    async with controller.stream("leave", run_id="r") as run:
        async for event in run:
            if isinstance(event, kind):
                break
    assert await ends(lattice, "r") == ["started", "cancelled"]
    assert run.result is not None
    assert run.result.status == "cancelled"
    assert run.result.anchor == lattice.head


async def test_a_run_whose_goal_was_reached_is_done_however_one_leaves(lattice: Lattice) -> None:
    async with RTMController(lattice, **steps()).stream("leave", run_id="r") as run:
        async for event in run:
            if isinstance(event, Reflected):
                break
    assert await ends(lattice, "r") == ["started", "done"]
    assert run.result is not None
    assert run.result.status == "done"


async def test_an_unread_stream_can_be_left(lattice: Lattice) -> None:
    async with RTMController(lattice, **steps(plan=forever)).stream("leave", run_id="r"):
        pass
    assert await ends(lattice, "r") == ["started", "cancelled"]


async def test_an_error_in_the_block_is_raised_as_it_is(lattice: Lattice) -> None:
    with pytest.raises(KeyError, match="mine") as caught:
        async with RTMController(lattice, **steps(plan=forever)).stream("raise", run_id="r"):
            raise KeyError("mine")
    assert caught.value.__cause__ is None
    assert await ends(lattice, "r") == ["started", "cancelled"]


async def test_an_exception_group_in_the_block_is_raised_as_it_is(lattice: Lattice) -> None:
    group = ExceptionGroup("mine", [KeyError("a"), KeyError("b")])
    with pytest.raises(ExceptionGroup) as caught:
        async with RTMController(lattice, **steps(plan=forever)).stream("raise"):
            raise group
    assert caught.value is group


async def test_a_failed_step_ends_the_events_and_is_raised_once(lattice: Lattice) -> None:
    def broken(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        raise ZeroDivisionError("mine")

    seen: list[Event] = []
    async with RTMController(lattice, **steps(reflect=broken)).stream("fail", run_id="r") as run:
        with pytest.raises(ZeroDivisionError, match="mine"):
            await read_into(seen, run)
        assert [event async for event in run] == []
    assert [type(event) for event in seen if event.anchor][-2:] == [PhaseStarted, RunEnded]
    assert run.result is not None
    assert isinstance(run.result.error, ZeroDivisionError)
    assert await ends(lattice, "r") == ["started", "failed"]


async def test_cancelling_the_reader_cancels_the_run(lattice: Lattice) -> None:
    reading = asyncio.Event()

    async def read() -> None:
        async with RTMController(lattice, **steps(plan=forever)).stream("wait", run_id="r") as run:
            async for _ in run:
                reading.set()

    task = asyncio.create_task(read())
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await ends(lattice, "r") == ["started", "cancelled"]


async def test_a_time_limit_around_the_block_cancels_the_run(lattice: Lattice) -> None:
    with anyio.CancelScope() as scope:
        async with RTMController(lattice, **steps(plan=forever)).stream("wait", run_id="r") as run:
            async for _ in run:
                scope.cancel()
    assert scope.cancelled_caught
    assert await ends(lattice, "r") == ["started", "cancelled"]


async def test_a_known_run_id_is_refused_at_the_door(lattice: Lattice) -> None:
    controller = RTMController(lattice, **steps())
    await controller.run("first", run_id="r")
    with pytest.raises(RunExistsError):
        async with controller.stream("second", run_id="r"):
            pytest.fail("the block was entered")


async def test_a_lattice_that_closes_meanwhile_ends_the_run(lattice: Lattice) -> None:
    going, closed = asyncio.Event(), asyncio.Event()

    async def act(ctx: StepContext[Any], plan: Plan[Any]) -> Any:
        going.set()
        await closed.wait()
        return await proposing(1, 0)(ctx, plan)

    with anyio.fail_after(PATIENCE):
        async with RTMController(lattice, plan=plan, act=[act], reflect=twice).stream("x") as run:
            await going.wait()
            await lattice.aclose()
            closed.set()
            with pytest.raises(RuntimeError, match="closed"):
                async for _ in run:
                    pass
    assert run.result is not None
    assert (run.result.status, run.result.anchor) == ("failed", "")


async def test_listeners_hear_everything_beside_the_reader(lattice: Lattice) -> None:
    controller = RTMController(lattice, **steps(reflect=twice))
    async with (
        controller.stream("tell") as run,
        run.listen() as one,
        run.listen() as other,
    ):
        read = [event async for event in run]
        assert read == [event async for event in one] == [event async for event in other]


async def test_a_slow_listener_is_told_how_much_it_missed(lattice: Lattice) -> None:
    controller = RTMController(lattice, **steps(reflect=twice))
    async with controller.stream("tell") as run, run.listen(buffer=3) as slow:
        read = [event async for event in run]
        heard = [event async for event in slow]
    assert heard == [EventsMissed(len(read) - 3), *read[-3:]]


async def test_a_listener_may_come_late_and_go_early(lattice: Lattice) -> None:
    controller = RTMController(lattice, **steps(reflect=twice))
    async with controller.stream("tell") as run:
        await anext(run)
        async with run.listen() as late:
            first = await anext(late)
        read = [event async for event in run]
        assert first in read
        result = await run.wait()
        assert result == read[-1].result
        async with run.listen() as after:
            assert [event async for event in after] == []
    with pytest.raises(ValueError, match="at least 1"):
        run.listen(buffer=0)


async def test_observers_see_every_run_and_cannot_hurt_it(lattice: Lattice) -> None:
    seen: list[Event] = []

    def broken(event: Event) -> None:
        raise ZeroDivisionError

    controller = RTMController(lattice, **steps(), observers=[broken, seen.append])
    with capture_logs() as logs:
        assert (await controller.run("tell", run_id="r")).status == "done"
    assert [type(event) for event in seen][::8] == [RunStarted, RunEnded]
    assert {log["event"] for log in logs} == {"observer.failed"}
    assert (logs[0]["observer"], len(logs)) == ("broken", len(seen))
    told = [event async for event in replay(lattice, "r")]
    assert told == [event for event in seen if not isinstance(event, PhaseStarted | Proposed)]


async def test_a_replay_tells_what_was_told(lattice: Lattice) -> None:
    seen: list[Event] = []

    def plan(ctx: StepContext[Any]) -> Plan[int]:
        if ctx.depth == 0 and ctx.attempt == 0 and ctx.cycle == 1:
            raise RuntimeError("not yet")
        return Plan(f"plan {ctx.cycle}", goals=["a", "b"] if ctx.depth == 0 else ())

    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict | Pause:
        if isinstance(outcome, Failed):
            return Retry("again")
        if ctx.goal == "b" and ctx.cycle == 0:
            return Continue("more", {"x": 1})
        if ctx.depth == 0 and ctx.cycle == 1 and ctx.answer is None:
            return Pause("enough?")
        await ctx.once("mail", dict)
        return Done("enough") if ctx.depth or ctx.cycle == 1 else Continue("more")

    acts = [proposing(1, 0), proposing(0, 1, confidence=0.5)]
    controller = RTMController(
        lattice, plan=plan, act=acts, reflect=reflect, observers=[seen.append]
    )
    assert (await controller.run("tell", run_id="r")).status == "paused"
    assert (await controller.resume("r", answer="yes")).status == "done"
    told = [event async for event in replay(lattice, "r")]
    assert told == [event for event in seen if not isinstance(event, PhaseStarted | Proposed)]
    with pytest.raises(RunNotFoundError):
        await anext(replay(lattice, "nobody"))
