"""Effects: done once, whatever happens to the run; and what steps spend."""

from __future__ import annotations

import asyncio
from datetime import date
from functools import partial
from typing import Any

import pytest
from controller_support import Stop, crashing, journal, phases, proposing, steps

from controllers import (
    Done,
    EffectRepeatedError,
    EffectUnknownError,
    Outcome,
    Plan,
    RTMController,
    StepContext,
    Usage,
    Verdict,
)
from pmll_async import Candidate, Lattice
from pmll_async.stores.memory import MemoryStore


async def test_a_recorded_effect_is_not_done_again(lattice: Lattice) -> None:
    done: list[str] = []

    async def charge() -> date:
        done.append("charged")
        return date(2026, 11, 22)

    async def mail() -> None:
        done.append("mailed")
        if len(done) == 2:
            raise Stop

    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        day = await ctx.once("charge", charge)
        assert day == date(2026, 11, 22)
        await ctx.once("mail", mail)
        return Done(str(day))

    controller = RTMController(lattice, **steps(reflect=reflect))
    with crashing():
        await controller.run("sell", run_id="r")
    assert (await controller.resume("r")).text == "2026-11-22"
    assert done == ["charged", "mailed", "mailed"]
    told = [
        (entry.context["effect"], phase[3])
        for entry in await journal(lattice, "r")
        for phase in phases([entry])
        if phase[2] == "effect"
    ]
    assert told == [("charge", "begun"), ("charge", "done"), ("mail", "begun"), ("mail", "done")]


async def test_an_effect_whose_end_is_unknown_can_be_refused(lattice: Lattice) -> None:
    async def charge() -> None:
        raise Stop

    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        if not ctx.resumed:
            await ctx.once("charge", charge, again=False)
        with pytest.raises(EffectUnknownError, match="look whether it took place") as caught:
            await ctx.once("charge", charge, again=False)
        assert caught.value.name == "charge"
        return Done("ask the bank")

    controller = RTMController(lattice, **steps(reflect=reflect))
    with crashing():
        await controller.run("sell", run_id="r")
    assert (await controller.resume("r")).text == "ask the bank"


async def test_an_effect_whose_result_cannot_be_kept_still_took_place(lattice: Lattice) -> None:
    done: list[str] = []

    def charge() -> Any:
        done.append("charged")
        return object()

    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        with pytest.raises(TypeError, match="say in its annotation"):
            await ctx.once("charge", charge)
        if not ctx.resumed:
            raise Stop
        return Done()

    controller = RTMController(lattice, **steps(reflect=reflect))
    with crashing():
        await controller.run("sell", run_id="r")
    await controller.resume("r")
    assert done == ["charged"]


@pytest.mark.parametrize("at_once", [False, True])
async def test_each_effect_of_a_step_has_a_name_of_its_own(lattice: Lattice, at_once: bool) -> None:
    sent: list[str] = []

    async def mail(to: str) -> str:
        sent.append(to)
        return to

    async def both(ctx: StepContext[Any]) -> None:
        calls = [partial(ctx.once, "mail", partial(mail, to)) for to in ("ann", "ben")]
        if at_once:
            await asyncio.gather(*(call() for call in calls))
        for call in calls:
            await call()

    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        with pytest.raises(EffectRepeatedError, match="name each effect of a step"):
            await both(ctx)
        return Done(data=[await ctx.once(f"mail/{to}", partial(mail, to)) for to in ("ann", "ben")])

    result = await RTMController(lattice, **steps(reflect=reflect)).run("tell")
    assert (result.data, sent) == (["ann", "ben"], ["ann", "ann", "ben"])


async def test_an_effect_is_given_as_a_function(lattice: Lattice) -> None:
    async def charge() -> int:
        return 1

    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        with pytest.raises(TypeError, match="not what it returned"):
            await ctx.once("charge", charge())
        return Done()

    await RTMController(lattice, **steps(reflect=reflect)).run("sell")


async def test_an_effect_that_raised_is_tried_again(lattice: Lattice) -> None:
    async def flaky() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError
        return len(tries)

    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        with pytest.raises(ConnectionError):
            await ctx.once("call", flaky)
        return Done(data=await ctx.once("call", flaky))

    tries: list[int] = []
    assert (await RTMController(lattice, **steps(reflect=reflect)).run("call")).data == 2


@pytest.mark.parametrize("name", ["", "x" * 129])
async def test_an_effect_has_a_name(lattice: Lattice, name: str) -> None:
    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        with pytest.raises(ValueError, match="1 to 128 characters"):
            await ctx.once(name, list)
        return Done()

    await RTMController(lattice, **steps(reflect=reflect)).run("call")


async def test_what_was_spent_is_counted_once(lattice: Lattice) -> None:
    stops = [True]

    async def paid(ctx: StepContext[Any], name: str) -> None:
        async def call() -> None:
            ctx.spend(Usage(calls=1, cost=0.25))

        await ctx.once(name, call)

    async def act(ctx: StepContext[Any], plan: Plan[int]) -> Candidate:
        await paid(ctx, "one")
        await paid(ctx, "two")
        if stops and ctx.idempotency_key.endswith("act.1"):
            stops.pop()
            raise Stop
        return Candidate(key=[1, ctx.idempotency_key.endswith("act.1")])

    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        await paid(ctx, "three")
        return Done()

    controller = RTMController(lattice, **steps(act=[act, act], reflect=reflect))
    with crashing():
        await controller.run("pay", run_id="r")
    result = await controller.resume("r")
    assert result.usage == Usage(calls=5, cost=1.25)
    assert (await controller.resume("r")).usage == result.usage


async def test_a_judge_pays_for_each_candidate_once(lattice: Lattice) -> None:
    paid: list[list[float]] = []

    async def judge(ctx: StepContext[Any], plan: Plan[int], candidate: Candidate) -> float:
        async def ask() -> float:
            paid.append(list(candidate.key))
            return float(candidate.key[1])

        score = await ctx.once("score", ask)
        if ctx.resumed or len(paid) < 2:
            return score
        raise Stop

    acts = [proposing(1, 0), proposing(0, 1)]
    controller = RTMController(lattice, **steps(act=acts), judge=judge)
    with crashing():
        await controller.run("judge", run_id="r")
    result = await controller.resume("r")
    assert result.winner is not None
    assert list(result.winner.key) == [0, 1]
    assert paid == [[1, 0], [0, 1]]


async def test_an_effects_key_names_the_effect(lattice: Lattice) -> None:
    """The same after a resume, in threads and tasks, and no other effect's, step's or run's."""
    seen: list[tuple[str, str]] = []

    async def act(ctx: StepContext[Any], plan: Plan[int]) -> Candidate:
        def look() -> None:
            seen.append(("look", ctx.idempotency_key))

        async def inner() -> None:
            seen.append(("inner", ctx.idempotency_key))

        async def outer() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(ctx.once("inner", inner))
            seen.append(("outer", ctx.idempotency_key))
            if not ctx.resumed:
                raise Stop

        await ctx.once("look", look)
        seen.append(("step", ctx.idempotency_key))
        await ctx.once("outer", outer)
        return Candidate(key=[1, 0])

    controller = RTMController(lattice, **steps(act=[act]))
    with crashing():
        await controller.run("look", run_id="r")
    await controller.resume("r")
    step = "r/0.0/act.0"
    assert seen == [
        *[("look", f"{step}/look"), ("step", step), ("inner", f"{step}/inner")],
        *[("outer", f"{step}/outer"), ("step", step), ("outer", f"{step}/outer")],
    ]


async def test_a_judges_effects_have_keys_of_their_own(lattice: Lattice) -> None:
    keys: list[str] = []

    async def judge(ctx: StepContext[Any], plan: Plan[int], candidate: Candidate) -> float:
        return await ctx.once("score", lambda: keys.append(ctx.idempotency_key) or 1.0)

    acts = [proposing(1, 0), proposing(0, 1)]
    await RTMController(lattice, **steps(act=acts), judge=judge).run("judge", run_id="r")
    # Effects of two candidates are called in threads beside each other.
    assert sorted(keys) == ["r/0.0/judge.0/score", "r/0.0/judge.1/score"]


async def test_a_run_within_an_effect_has_its_own_keys(lattice: Lattice) -> None:
    keys: list[str] = []

    async def other() -> None:
        async with Lattice(MemoryStore(), dim=2) as second:
            inner = RTMController(second, **steps(reflect=reflect))
            await inner.run("the same id", "inner", run_id="r")

    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        keys.append(ctx.idempotency_key)
        if ctx.deps != "inner":
            await ctx.once("other", other)
        return Done()

    await RTMController(lattice, **steps(reflect=reflect)).run("nest", run_id="r")
    assert keys == ["r/0.0/reflect"] * 2


async def test_an_effect_of_unknown_end_names_the_key_it_was_given(lattice: Lattice) -> None:
    given: list[str] = []

    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        async def charge() -> None:
            given.append(ctx.idempotency_key)
            raise Stop

        if not ctx.resumed:
            await ctx.once("charge", charge)
        with pytest.raises(EffectUnknownError) as caught:
            await ctx.once("charge", charge, again=False)
        assert [caught.value.key] == given == ["r/0.0/reflect/charge"]
        return Done()

    controller = RTMController(lattice, **steps(reflect=reflect))
    with crashing():
        await controller.run("sell", run_id="r")
    await controller.resume("r")


async def test_random_numbers_are_the_steps_in_its_effects_too(lattice: Lattice) -> None:
    drawn: list[float] = []

    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        if drawn:
            drawn.append(ctx.rng.random())
        else:
            await ctx.once("draw", lambda: drawn.append(ctx.rng.random()))
        return Done()

    for _ in range(2):
        async with Lattice(MemoryStore(), dim=2) as each:
            await RTMController(each, **steps(reflect=reflect)).run("draw", run_id="r")
    assert drawn[0] == drawn[1]
