"""Corners of the loop: loops that end, answers and data of each step, effects within effects."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any, Final

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest
from controller_support import PATIENCE, Stop, crashing, steps

from controllers import (
    Continue,
    Done,
    Outcome,
    Pause,
    Plan,
    Retry,
    RTMController,
    StepContext,
    Verdict,
)
from controllers.run import turns
from pmll_async import Candidate, Lattice
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import GatedStore

THREADS: Final = 40
"""As many worker threads as anyio has."""
SYNC_STEPS: Final = 60


def test_a_loop_that_has_ended_is_forgotten() -> None:
    async def main() -> None:
        async with Lattice(MemoryStore(), dim=2) as lattice:
            await RTMController(lattice, **steps()).run("x")

    gc.collect()
    before = len(turns._TURNSTILES)
    for _ in range(3):
        asyncio.run(main())
    gc.collect()
    assert len(turns._TURNSTILES) <= before


async def test_a_resume_finds_the_last_plan_behind_cycles_without_one(lattice: Lattice) -> None:
    seen: list[tuple[str, int]] = []

    def plan(ctx: StepContext[Any]) -> Plan[Any]:
        if ctx.depth:
            return Plan("part")
        if ctx.cycle == 0:
            return Plan("the last one", goals=["part"])
        if ctx.cycle == 1:
            raise RuntimeError
        seen.append((ctx.plan.text, len(ctx.results)))
        if not ctx.resumed:
            raise Stop
        return Plan()

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        return Continue() if ctx.depth == 0 and ctx.cycle < 2 else Done()

    controller = RTMController(lattice, **steps(plan=plan, reflect=reflect))
    with crashing():
        await controller.run("x", run_id="r")
    await controller.resume("r")
    assert seen == [("the last one", 1)] * 2


async def test_an_answer_is_for_the_act_that_asked(lattice: Lattice) -> None:
    answers: list[Any] = []

    async def asking(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate | Pause:
        return Candidate(key=[1, 0]) if ctx.answer else Pause("may I?")

    async def other(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        answers.append(ctx.answer)
        return Candidate(key=[0, 1])

    controller = RTMController(lattice, **steps(act=[asking, other]))
    await controller.run("x", run_id="r")
    await controller.resume("r", answer="yes")
    assert answers == [None, None]


async def test_an_effect_that_took_place_is_recorded_by_a_run_that_is_cancelled() -> None:
    done: list[int] = []
    store, scope = GatedStore(MemoryStore()), anyio.CancelScope()

    async def release() -> None:
        for _ in range(50):  # turns of the loop: the cancellation is through after a few
            await anyio.lowlevel.checkpoint()
        store.release()

    async def charge() -> int:
        done.append(1)
        if len(done) == 1:
            # Somebody else's commit is under way, so that the record has to wait.
            store.hold()
            tasks.start_soon(lattice.note, {"of": "another"})
            await asyncio.to_thread(store.wait_for_append)
            tasks.start_soon(release)
            scope.cancel()
        return len(done)

    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        return Done(data=await ctx.once("charge", charge))

    async with Lattice(store, dim=2) as lattice, anyio.create_task_group() as tasks:
        controller = RTMController(lattice, **steps(reflect=reflect))
        with scope:
            await controller.run("x", run_id="r")
        assert (await controller.resume("r")).data == 1


async def test_many_sync_steps_may_have_sync_effects(lattice: Lattice) -> None:
    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        inside.append(1)
        if len(inside) == THREADS:
            together.set()
        assert together.wait(PATIENCE)
        return Done(data=anyio.from_thread.run(ctx.once, "one", effect))

    def effect() -> int:
        return 1

    inside: list[int] = []
    together = threading.Event()
    controller = RTMController(lattice, **steps(reflect=reflect))
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for number in range(SYNC_STEPS):
                tasks.start_soon(controller.run, f"goal {number}", None)


async def test_a_task_cancelled_from_without_leaves_no_thread_behind(lattice: Lattice) -> None:
    began, may_end, ended = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def plan(ctx: StepContext[Any]) -> Plan:
        loop.call_soon_threadsafe(began.set)
        may_end.wait(PATIENCE)
        ended.set()
        return Plan()

    run = asyncio.create_task(RTMController(lattice, **steps(plan=plan)).run("x"))
    await began.wait()
    run.cancel()
    loop.call_soon(may_end.set)
    with pytest.raises(asyncio.CancelledError):
        await run
    assert ended.is_set()


async def test_what_a_step_does_to_its_data_is_its_own_affair(lattice: Lattice) -> None:
    seen: list[list[int]] = []

    async def act(ctx: StepContext[Any], plan: Plan[list[int]]) -> Candidate:
        seen.append(list(plan.data))
        plan.data.append(2)
        return Candidate(key=[1, 0])

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        return Done() if ctx.attempt else Retry()

    def plan(ctx: StepContext[Any]) -> Plan[list[int]]:
        return Plan("x", [1])

    await RTMController(lattice, **steps(plan=plan, act=[act, act], reflect=reflect)).run("x")
    assert seen == [[1]] * 4


async def test_an_effect_that_asks_for_itself_is_told(lattice: Lattice) -> None:
    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        async def inner() -> int:
            return 1

        async def outer() -> int:
            return await ctx.once("a", inner)

        with pytest.raises(RuntimeError):
            await ctx.once("a", outer)
        return Done()

    with anyio.fail_after(PATIENCE):
        await RTMController(lattice, **steps(reflect=reflect)).run("x")


@pytest.mark.parametrize("wrong", [{"plan": None}, {"act": [None]}, {"reflect": 3}])
async def test_a_step_that_is_no_function_is_refused(lattice: Lattice, wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"plan|act|reflect"):
        RTMController(lattice, **steps(**wrong))
