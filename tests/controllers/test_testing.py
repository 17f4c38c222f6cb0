"""What users test their steps with, tested by using it as they do."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from controller_support import steps

from controllers import (
    Continue,
    Done,
    Event,
    Failed,
    Outcome,
    Pause,
    Plan,
    Retry,
    RTMController,
    StepContext,
    Usage,
    Verdict,
    replay,
)
from controllers.llm import Reply, llm_plan
from controllers.testing import (
    FakeModel,
    ManualClock,
    Scripted,
    ScriptOver,
    assert_outline,
    crash_everywhere,
    outline,
)
from pmll_async import Candidate, EventsMissed, Lattice

FAST = Candidate(key=[1, 0])


@dataclass(frozen=True)
class Query:
    words: tuple[str, ...]


# --- scripts -------------------------------------------------------------------------------------


async def test_steps_play_their_scripts(lattice: Lattice) -> None:
    plan = Scripted(
        Plan("first", Query(("a",))), ConnectionError("none"), Plan(), returns=Plan[Query]
    )
    act = Scripted(FAST, lambda ctx, plan: Candidate(key=[0, 1]), name="fast")
    reflect = Scripted(Continue("more"), Retry("again"), Done("fine"), name="reflect")
    controller = RTMController(lattice, plan=plan, act=[act], reflect=reflect)
    assert (await controller.run("play")).text == "fine"
    assert plan.contexts[1].previous == Continue("more")
    assert act.calls[0][1].data == Query(("a",))
    assert isinstance(reflect.calls[1][1], Failed)
    for script in (plan, act, reflect):
        script.assert_played()


async def test_a_call_too_many_ends_the_test_and_not_the_run(lattice: Lattice) -> None:
    script = Scripted(Continue(), name="reflect")
    with pytest.raises(ScriptOver, match=r"^reflect was called 2 times; its script has 1 item$"):
        await RTMController(lattice, **steps(reflect=script)).run("play")
    act = Scripted[Candidate](name="act")
    with pytest.raises(BaseExceptionGroup) as caught:
        await RTMController(lattice, **steps(act=[act])).run("play")
    assert caught.group_contains(ScriptOver, match="has 0 items")


async def test_items_that_nobody_asked_for_are_told() -> None:
    script = Scripted(1, 2, TimeoutError, name="fetch")
    assert await script() == 1
    with pytest.raises(AssertionError) as caught:
        script.assert_played()
    assert str(caught.value) == (
        "fetch was called 1 times; its script has 3 items, of which nobody asked for: 2,"
        " <class 'TimeoutError'>"
    )


async def test_a_script_calls_functions_of_either_kind_and_raises_errors_of_either() -> None:
    async def later(n: int) -> int:
        return n + 1

    script = Scripted(later, abs, KeyError, KeyError("mine"))
    assert (await script(1), await script(-2)) == (2, 2)
    for message in ("^$", "mine"):
        with pytest.raises(KeyError, match=message):
            await script()
    assert script.calls == [(1,), (-2,), (), ()]


async def test_a_script_is_an_effect(lattice: Lattice) -> None:
    effect = Scripted(Query(("a",)), returns=Query)

    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        assert await ctx.once("ask", effect) == Query(("a",))
        return Done()

    await RTMController(lattice, **steps(reflect=reflect)).run("play")
    effect.assert_played()


async def test_a_fake_model_plays_replies_and_keeps_what_it_heard(lattice: Lattice) -> None:
    model = FakeModel("no JSON", Reply('{"text": "look"}', Usage(calls=1, cost=0.5)))
    events: list[Event] = []
    controller = RTMController(lattice, **steps(plan=llm_plan(model)), observers=[events.append])
    result = await controller.run("the goal")
    assert result.usage == Usage(calls=2, cost=0.5)
    assert [len(messages) for messages in model.heard] == [2, 4]
    assert "the goal" in model.heard[0][-1]["content"]
    assert_outline(events, "...\nplan 0: look...\n...")
    model.assert_played()
    with pytest.raises(ScriptOver, match="model was called 3 times"):
        await model([])


async def test_a_fake_model_keeps_what_it_heard_as_it_was() -> None:
    model, messages = FakeModel("yes", TimeoutError), [{"role": "user", "content": "?"}]
    assert await model(messages) == "yes"
    messages.append({"role": "assistant", "content": "yes"})
    with pytest.raises(TimeoutError):
        await model(messages)
    assert [len(heard) for heard in model.heard] == [1, 2]


def test_the_clock_is_the_one_of_the_package() -> None:
    clock = ManualClock(10.0)
    clock.advance(5)
    assert clock() == 15


def test_no_test_runner_is_imported() -> None:
    code = "import sys, controllers.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- outlines ------------------------------------------------------------------------------------


async def told(lattice: Lattice) -> list[Event]:
    """A run in which everything happens once."""

    def plan(ctx: StepContext[Any]) -> Plan[int]:
        if ctx.depth:
            return Plan("small\nsteps")
        if ctx.cycle == 1:
            raise RuntimeError("no idea")
        return Plan("in parts", 1, goals=["part"])

    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict | Pause:
        if ctx.depth:
            return Done("did it")
        if ctx.cycle == 1:
            return Done("enough") if ctx.answer else Pause("enough?")
        if ctx.attempt == 0:
            return Retry("all failed")
        await ctx.once("mail", Scripted(None))
        return Continue("more", {"n": 1})

    fast = Scripted(FAST, KeyError("a"), FAST, name="fast")
    slow = Scripted(Candidate(key=[0, 1], confidence=0.5), OSError("b"), TimeoutError, name="slow")
    events: list[Event] = []
    controller = RTMController(
        lattice, plan=plan, act=[slow, fast], reflect=reflect, observers=[events.append]
    )
    await controller.run("all", run_id="r")
    await controller.resume("r", answer=True)
    return events


STORY = """
    started: all
    plan 0: in parts = 1
    goal: part
      plan 0: small\\nsteps
      act 0: fast won, slow lost
      reflect 0: done did it
    goal done: did it
    act 0 failed: slow OSError: b; fast KeyError: 'a'
    reflect 0: retry all failed
    act 0.1: fast won, slow failed with TimeoutError
    effect mail begun
    effect mail done
    reflect 0.1: continue more = {'n': 1}
    plan 1 failed: plan RuntimeError: no idea
    paused: enough?
    resumed with True
    reflect 1: done enough
    done: enough
"""


async def test_an_outline_tells_all_that_is_on_the_chain(lattice: Lattice) -> None:
    events = await told(lattice)
    assert_outline(events, STORY)
    assert outline([event async for event in replay(lattice, "r")]) == outline(events)
    assert outline([EventsMissed(3)]) == "(3 events missed)"


async def test_other_ends_are_told(lattice: Lattice) -> None:
    events: list[Event] = []

    def controller(**changes: Any) -> RTMController[Any, Any]:
        return RTMController(lattice, **steps(**changes), max_cycles=1, observers=[events.append])

    await controller(reflect=Scripted(Continue("more"))).run("a")
    with pytest.raises(ValueError, match="mine"):
        await controller(reflect=Scripted(ValueError("mine"))).run("b")
    async with controller(plan=Scripted(Plan())).stream("c"):
        pass
    assert_outline(
        events,
        """
        started: a
        ...
        exhausted: 1 cycles are over
        started: b
        ...
        failed: ValueError: mine
        ...
        cancelled
        """,
    )


@pytest.mark.parametrize(
    "expected",
    [
        "...",
        "started: all\n...\ndone: enough",
        "...\nreflect 0.1: continue ...\n...",
        "...\nact 0...: ... KeyError...\n...\n...",
        "started: all\n...\nplan 1 failed: ...\n...\n",
    ],
)
async def test_dots_stand_for_anything(lattice: Lattice, expected: str) -> None:
    assert_outline(await told(lattice), expected)


async def test_a_difference_is_shown_line_by_line(lattice: Lattice) -> None:
    events = await told(lattice)
    expected = STORY.replace("goal done: did it", "goal done: ...").replace(
        "mail begun", "post begun"
    )
    with pytest.raises(AssertionError) as caught:
        assert_outline(events, expected)
    first, *lines = str(caught.value).splitlines()
    assert first == "the run went otherwise:"
    assert [line for line in lines if line[0] in "-+"] == [
        "- effect post begun",
        "+ effect mail begun",
    ]
    assert "  goal done: ..." in lines
    for wrong in ("", "started: all", "...\ngoal: part\n  done: enough"):
        with pytest.raises(AssertionError, match="otherwise"):
            assert_outline(events, wrong)


# --- crashes -------------------------------------------------------------------------------------


@dataclass
class World:
    done: Counter[str] = field(default_factory=Counter)


def shop(lattice: Lattice) -> RTMController[Any, Any]:
    async def effect(ctx: StepContext[World], name: str) -> str:
        def act() -> str:
            ctx.deps.done[name] += 1
            return name

        return await ctx.once(name, act)

    def plan(ctx: StepContext[World]) -> Plan[Any]:
        return Plan(goals=["wrap"] if ctx.depth == 0 else ())

    async def reflect(ctx: StepContext[World], outcome: Outcome) -> Verdict | Pause:
        if ctx.depth:
            return Done(await effect(ctx, "wrapped"))
        if ctx.answer is None:
            return Pause("sell it?")
        return Done(f"{ctx.answer}: {await effect(ctx, 'charged')}")

    return RTMController(lattice, **steps(plan=plan, reflect=reflect))


async def test_a_run_is_resumed_from_a_crash_at_each_commit() -> None:
    crashes = await crash_everywhere(shop, "sell", World, dim=2, answer="yes")
    assert len(crashes) == 2 * 16
    assert {crashed.result.text for crashed in crashes} == {"yes: charged"}
    # Twice only where the crash came between the effect and its record.
    twice = [crashed.where for crashed in crashes if max(crashed.deps.done.values()) > 1]
    assert twice == ["before commit 7 of 16", "before commit 14 of 16"]


async def test_steps_that_depend_on_the_process_are_found() -> None:
    def forgetful(lattice: Lattice) -> RTMController[Any, Any]:
        seen: list[int] = []

        def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
            seen.append(1)
            return Done(f"{len(seen)} seen") if ctx.cycle else Continue()

        return RTMController(lattice, **steps(reflect=reflect))

    with pytest.raises(
        AssertionError, match=r"the result's text is '1 seen'; undisturbed.*'2 seen'"
    ):
        await crash_everywhere(forgetful, "count", dict, dim=2)


async def test_phases_that_depend_on_the_process_are_found() -> None:
    def restless(lattice: Lattice) -> RTMController[Any, Any]:
        seen: list[int] = []

        def plan(ctx: StepContext[Any]) -> Plan[Any]:
            seen.append(1)
            return Plan(f"{len(seen)}")

        reflect = Scripted(*[lambda ctx, _: Done() if ctx.cycle else Continue()] * 2)
        return RTMController(lattice, **steps(plan=plan, reflect=reflect))

    with pytest.raises(AssertionError, match=r"went otherwise:(.|\n)*\n- plan 1: 2\n\+ plan 1: 1"):
        await crash_everywhere(restless, "count", dict, dim=2)


async def test_an_undisturbed_run_that_fails_is_raised() -> None:
    def broken(lattice: Lattice) -> RTMController[Any, Any]:
        return RTMController(lattice, **steps(reflect=Scripted(KeyError("mine"))))

    with pytest.raises(KeyError, match="mine"):
        await crash_everywhere(broken, "fail", dict, dim=2)
