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
