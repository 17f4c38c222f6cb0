"""Runs that are cancelled, repeated, or share a lattice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count, permutations
from typing import Any

import anyio
import pytest
from controller_support import PATIENCE, journal, phases, plan, proposing, steps

from controllers import Continue, Done, Outcome, Plan, RTMController, StepContext, Verdict
from pmll_async import Candidate, Lattice
from pmll_async.stores.memory import MemoryStore

FULL = [
    ("run", "started"),
    ("plan", "done"),
    ("act", "done"),
    ("reflect", "continue"),
    ("plan", "done"),
    ("act", "done"),
    ("reflect", "done"),
    ("run", "done"),
]


def twice(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
    return Continue() if ctx.cycle == 0 else Done()


async def stages(lattice: Lattice, run_id: str) -> list[tuple[object, ...]]:
    return [phase[2:] for phase in phases(await journal(lattice, run_id))]


def is_readable(told: list[tuple[object, ...]]) -> bool:
    """Whether this is a run's beginning, with or without a word about its end."""
    if told and told[-1] == ("run", "cancelled"):
        told = told[:-1]
    return told == FULL[: len(told)]


@pytest.mark.parametrize("turns", range(0, 80, 2))
async def test_a_run_cancelled_anywhere_leaves_a_readable_journal(
    lattice: Lattice, turns: int
) -> None:
    async def async_plan(ctx: StepContext[Any]) -> Plan[Any]:
        return Plan()

    async def async_twice(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        return twice(ctx, outcome)

    controller = RTMController(lattice, **steps(plan=async_plan, reflect=async_twice))
    task = asyncio.create_task(controller.run("cut", run_id="r"))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    told = await stages(lattice, "r")
    assert is_readable(told)
    if not task.cancelled():
        assert told == FULL
    # Neither the lattice nor the controller is worse for it.
    assert (await controller.run("on", run_id="next")).status == "done"
    assert await stages(lattice, "next") == FULL


@pytest.mark.parametrize("stage", ["plan", "act", "judge", "reflect"])
@pytest.mark.parametrize("how", ["task", "scope", "timeout", "sibling"])
async def test_every_way_to_cancel_a_waiting_step_is_journaled(
    lattice: Lattice, stage: str, how: str
) -> None:
    waiting = asyncio.Event()

    async def wait(*_: object) -> Any:
        waiting.set()
        await anyio.sleep_forever()

    changes = {"act": [wait]} if stage == "act" else {stage: wait}
    controller = RTMController(lattice, **steps(**changes))

    async def run() -> None:
        await controller.run("wait", run_id="r")

    with anyio.fail_after(PATIENCE):
        await _cancelled(how, run, waiting)
    told = await stages(lattice, "r")
    assert told[-1] == ("run", "cancelled")
    assert is_readable(told)


async def _cancelled(how: str, run: Callable[[], Any], waiting: asyncio.Event) -> None:
    if how == "task":
        task = asyncio.create_task(run())
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    elif how == "timeout":
        with pytest.raises(TimeoutError):
            await _out_of_time(run, waiting)
    elif how == "scope":
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await waiting.wait()
            tasks.cancel_scope.cancel()
    else:
        with pytest.raises(ExceptionGroup):
            await _beside_one_that_fails(run, waiting)


async def _out_of_time(run: Callable[[], Any], waiting: asyncio.Event) -> None:
    """The time is up once the step waits."""
    now = asyncio.get_running_loop().time
    async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:
        group.create_task(waiting.wait()).add_done_callback(lambda _: limit.reschedule(now()))
        await run()


async def _beside_one_that_fails(run: Callable[[], Any], waiting: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(run())
        await waiting.wait()
        group.create_task(_fail())


async def _fail() -> None:
    raise KeyError("sibling")


async def test_completion_order_decides_nothing() -> None:
    digests = {await _digest(order) for order in permutations(range(3))}
    assert len(digests) == 1


async def _digest(order: tuple[int, ...]) -> str:
    """A run of three acts that are made to finish in this order."""
    ticks = count()
    finished = [asyncio.Event() for _ in order]

    def act(number: int) -> Callable[..., Any]:
        async def entrant(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
            place = order.index(number)
            if place and ctx.cycle == 0:
                await finished[order[place - 1]].wait()
            finished[number].set()
            return Candidate(
                key=[number + 1, ctx.rng.random()],
                context={"drawn": ctx.rng.random()},
                confidence=1.0 if number else 0.5,
            )

        return entrant

    async with Lattice(MemoryStore(), dim=2, clock=lambda: float(next(ticks))) as lattice:
        controller = RTMController(
            lattice, plan=plan, act=[act(number) for number in range(3)], reflect=twice
        )
        with anyio.fail_after(PATIENCE):
            result = await controller.run("repeat", run_id="r")
        assert result.winner is not None
        assert result.winner.key[0] == 2
        return lattice.digest


async def test_random_numbers_differ_between_steps_and_repeat_with_the_run() -> None:
    drawn: dict[str, list[float]] = {}

    async def run(run_id: str) -> list[float]:
        numbers = drawn[run_id] = []

        async def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
            numbers.append(ctx.rng.random())
            return Candidate(key=[1, 0])

        async with Lattice(MemoryStore(), dim=2) as lattice:
            await RTMController(lattice, **steps(act=[act, act], reflect=twice)).run(
                "x", run_id=run_id
            )
        return numbers

    first, again, other = await run("a"), await run("a"), await run("b")
    assert first == again
    assert len({*first, *other}) == 8


async def test_every_step_has_a_key_of_its_own(lattice: Lattice) -> None:
    keys: list[str] = []

    async def keeping(ctx: StepContext[Any], *_: object) -> Any:
        keys.append(ctx.idempotency_key)
        return await proposing(1, 0)(ctx, Plan())

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        keys.append(ctx.idempotency_key)
        return twice(ctx, outcome)

    await RTMController(lattice, **steps(act=[keeping, keeping], reflect=reflect)).run(
        "keys", run_id="r"
    )
    assert keys == [
        *("r/0.0/act.0", "r/0.0/act.1", "r/0.0/reflect"),
        *("r/1.0/act.0", "r/1.0/act.1", "r/1.0/reflect"),
    ]


async def test_acts_see_the_snapshot_and_not_each_other(lattice: Lattice) -> None:
    seen: list[int] = []

    async def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        await ctx.memory.note({"written": "meanwhile"})
        seen.append(len(ctx.view))
        return Candidate(key=[1, 0], context={"n": len(seen)})

    await RTMController(lattice, **steps(act=[act, act])).run("see")
    assert seen == [2, 2]


async def test_two_controllers_share_a_lattice(lattice: Lattice) -> None:
    one = RTMController(lattice, **steps(reflect=twice))
    other = RTMController(lattice, **steps(act=[proposing(0, 1)], reflect=twice))
    names = [f"{who}{number}" for number in range(10) for who in ("one", "other")]
    async with asyncio.TaskGroup() as runs:
        for name in names:
            controller = one if name.startswith("one") else other
            runs.create_task(controller.run(name, run_id=name))
    for name in names:
        assert await stages(lattice, name) == FULL
    assert len(lattice) == len(FULL) * len(names)


async def test_of_two_runs_with_one_id_the_first_has_it(lattice: Lattice) -> None:
    controller = RTMController(lattice, **steps())
    runs = [controller.run("same", run_id="r") for _ in range(8)]
    results = await asyncio.gather(*runs, return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert len(await stages(lattice, "r")) == 5
