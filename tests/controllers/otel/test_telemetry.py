"""Spans of real runs: what is inside what, in whose trace, and that each comes to its end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from controller_support import PATIENCE, proposing

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")

from opentelemetry.trace import StatusCode, get_current_span
from telemetry_support import Recorder, controller, failing, told, trace_of

from controllers import Continue, Done, Outcome, Pause, Plan, StepContext, Usage, Verdict
from controllers.otel import Telemetry
from pmll_async import Candidate, Lattice


async def test_a_run_is_a_tree_of_its_goals_cycles_and_phases(
    lattice: Lattice, telemetry: Telemetry, spans: Recorder
) -> None:
    def plan(ctx: StepContext[Any]) -> Plan:
        return Plan(goals=["first", "first"] if ctx.goals == ("all",) and not ctx.cycle else [])

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        return Continue() if ctx.goals == ("all",) and not ctx.cycle else Done()

    await controller(lattice, telemetry, plan=plan, reflect=reflect).run("all")
    phases = ["plan", "act", "  candidate", "reflect"]
    goal = ["    goal", "      cycle", *(f"        {line}" for line in phases)]
    assert spans.outline("pmll.commit") == [
        "run",
        "  cycle",
        "    plan",
        *goal,
        *goal,
        *(f"    {line}" for line in phases[1:]),
        "  cycle",
        *(f"    {line}" for line in phases),
    ]
    assert spans.under_way == []
    assert [told(cycle, "cycle") for cycle in spans.named("pmll.cycle")] == [0, 0, 0, 1]
    assert [told(goal, "goal.depth") for goal in spans.named("pmll.goal")] == [1, 1]
    (run,) = spans.named("pmll.run")
    assert (told(run, "run.status"), told(run, "run.cycles")) == ("done", 4)


async def test_every_span_is_within_the_one_around_it(
    lattice: Lattice, telemetry: Telemetry, spans: Recorder
) -> None:
    async def plan(ctx: StepContext[Any]) -> Plan:
        await ctx.once("look", lambda: 1)
        return Plan(goals=["inner"] if ctx.depth == 0 else [])

    await controller(lattice, telemetry, plan=plan).run("outer")
    assert len(spans.ended) > 20
    for span in spans.ended:
        around = spans.parent_of(span)
        assert span.start_time <= span.end_time, span.name
        if around is not None:
            assert around.start_time <= span.start_time, (around.name, span.name)
            assert span.end_time <= around.end_time, (around.name, span.name)


async def test_every_commit_of_a_run_is_in_its_trace_once(
    lattice: Lattice, telemetry: Telemetry, spans: Recorder
) -> None:
    async def plan(ctx: StepContext[Any]) -> Plan:
        await ctx.once("look", lambda: 1)
        return Plan(goals=["inner"] if ctx.depth == 0 else [])

    await controller(lattice, telemetry, plan=plan).run("outer")
    commits = spans.named("pmll.commit")
    anchors = [line.anchor async for line in lattice.rewind()]
    assert sorted(told(span, "anchor") for span in commits) == sorted(anchors)
    revisions = [told(span, "revision") for span in commits]
    assert sorted(revisions) == list(range(1, lattice.revision + 1))
    assert ["run", "cycle", "plan", "effect", "commit"] in [spans.path_of(span) for span in commits]


async def test_runs_side_by_side_keep_to_their_own_traces(
    lattice: Lattice, telemetry: Telemetry, spans: Recorder, user: Any
) -> None:
    count, together = 8, asyncio.Barrier(8)

    async def plan(ctx: StepContext[Any]) -> Plan:
        with user.start_as_current_span("user", attributes={"pmll.run.id": ctx.run_id}):
            await together.wait()
        return Plan(goals=[f"{ctx.goal}.1"] if ctx.depth == 0 else [])

    async def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        await together.wait()
        with user.start_as_current_span("user", attributes={"pmll.run.id": ctx.run_id}):
            return Candidate(key=[1, 0], context={"goal": ctx.goal})

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        with user.start_as_current_span("user", attributes={"pmll.run.id": ctx.run_id}):
            return Done()

    running = controller(lattice, telemetry, plan=plan, act=[act], reflect=reflect)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(running.run(f"goal {n}") for n in range(count)))
    assert spans.under_way == []
    traces: dict[int, set[str]] = {}
    for span in spans.ended:
        traces.setdefault(trace_of(span), set()).add(told(span, "run.id"))
    assert sorted(map(len, traces.values())) == [1] * count
    assert len(set.union(*traces.values())) == count
    paths = {tuple(spans.path_of(span)[-2:]) for span in spans.named("user")}
    assert paths == {("plan", "user"), ("act", "user"), ("reflect", "user")}
    assert max(told(span, "commit.batch.size") for span in spans.named("pmll.commit")) > 1


async def test_a_run_is_inside_what_called_it_and_leaves_it_as_it_was(
    lattice: Lattice, telemetry: Telemetry, spans: Recorder, user: Any
) -> None:
    running = controller(lattice, telemetry)
    with user.start_as_current_span("request") as request:
        await running.run("one")
        assert get_current_span() is request
        async with running.stream("two") as run:
            assert [event.run_id async for event in run]
        assert get_current_span() is request
    assert [spans.path_of(span) for span in spans.named("pmll.run")] == [["request", "run"]] * 2


async def test_a_run_inside_a_step_is_inside_its_span(
    lattice: Lattice, telemetry: Telemetry, spans: Recorder
) -> None:
    inner = controller(lattice, telemetry)

    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        await inner.run("inner")
        return Done()

    await controller(lattice, telemetry, reflect=reflect).run("outer")
    _, second = spans.named("pmll.run")
    assert spans.path_of(second) == ["run", "cycle", "reflect", "run"]


async def test_what_an_effect_does_is_inside_its_span(
    lattice: Lattice, telemetry: Telemetry, spans: Recorder, user: Any
) -> None:
    async def fetch() -> int:
        with user.start_as_current_span("fetch"):
            return 1

    async def broken() -> int:
        raise OSError("no wire")

    async def plan(ctx: StepContext[Any]) -> Plan | Pause:
        await ctx.once("fetch", fetch)
        with user.start_as_current_span("between"):
            pass
        if ctx.answer is None:
            return Pause("and now?")
        with pytest.raises(OSError, match="no wire"):
            await ctx.once("broken", broken)
        return Plan()

    made = controller(lattice, telemetry, plan=plan)
    await made.run("effects", run_id="r")
    await made.resume("r", answer="go on")
    assert spans.under_way == []
    assert [spans.path_of(span)[-2:] for span in spans.named("fetch")] == [["effect", "fetch"]]
    assert [spans.path_of(span)[-2:] for span in spans.named("between")] == [
        ["plan", "between"]
    ] * 2
    effects = [
        (told(span, "effect"), told(span, "effect.known")) for span in spans.named("pmll.effect")
    ]
    assert effects == [("fetch", None), ("fetch", True), ("broken", None)]
    assert not get_current_span().get_span_context().is_valid


async def test_effects_of_one_name_in_two_acts_are_told_apart(
    lattice: Lattice, telemetry: Telemetry, spans: Recorder, user: Any
) -> None:
    together = asyncio.Barrier(2)

    async def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        async def look() -> str:
            await together.wait()
            with user.start_as_current_span("inside"):
                return ctx.idempotency_key

        await ctx.once("look", look)
        with user.start_as_current_span("after"):
            return Candidate(key=[1, 0])

    async with asyncio.timeout(PATIENCE):
        await controller(lattice, telemetry, act=[act, act]).run("twins")
    effects = {id(spans.parent_of(span)) for span in spans.named("inside")}
    assert len(effects) == 2
    assert {tuple(spans.path_of(span)[-2:]) for span in spans.named("after")} == {("act", "after")}
    assert spans.under_way == []


async def test_candidates_tell_how_they_came_out(
    lattice: Lattice, telemetry: Telemetry, spans: Recorder
) -> None:
    async def late(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        await asyncio.Event().wait()
        raise AssertionError("never")

    acts = [proposing(1, 0, confidence=0.5), proposing(0, 1), failing, late]
    await controller(lattice, telemetry, act=acts, timeout=0.05).run("race")
    candidates = spans.named("pmll.candidate")
    told_of = [
        (told(span, "candidate.number"), told(span, "candidate.status")) for span in candidates
    ]
    assert told_of == [(0, "lost"), (1, "won"), (2, "failed"), (None, "unfinished")]
    assert [told(span, "candidate.score") for span in candidates] == [0.5, 1.0, None, None]
    failed = candidates[2]
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.events[0].attributes == {"exception.type": "ValueError"}
    (act,) = spans.named("pmll.act")
    assert act.status.status_code is StatusCode.UNSET


async def test_what_was_spent_is_told_where_it_was(
    lattice: Lattice, telemetry: Telemetry, spans: Recorder
) -> None:
    def plan(ctx: StepContext[Any]) -> Plan:
        ctx.spend(Usage(calls=1, input_tokens=10, output_tokens=3, cost=0.5))
        return Plan()

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        ctx.spend(Usage(calls=2, input_tokens=7))
        return Done() if ctx.cycle else Continue()

    await controller(lattice, telemetry, plan=plan, reflect=reflect).run("spend")
    plans = [told(span, "usage.input_tokens") for span in spans.named("pmll.plan")]
    assert (plans, told(spans.named("pmll.reflect")[1], "usage.calls")) == ([10, 10], 2)
    assert told(spans.named("pmll.act")[0], "usage.calls") is None
    (run,) = spans.named("pmll.run")
    usage = {k: v for k, v in (run.attributes or {}).items() if k.startswith("gen_ai.usage")}
    assert usage == {"gen_ai.usage.input_tokens": 34, "gen_ai.usage.output_tokens": 6}
    assert told(run, "usage.cost") == 1.0


@pytest.mark.parametrize("content", [False, True])
async def test_texts_are_told_only_on_request(
    lattice: Lattice, spans: Recorder, content: bool
) -> None:
    def plan(ctx: StepContext[Any]) -> Plan:
        return Plan("a secret plan", goals=["secret inner"] if ctx.depth == 0 else [])

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        if ctx.depth == 0 and ctx.cycle == 1:
            raise RuntimeError("a secret trouble")
        return Done("a secret end") if ctx.depth else Continue("a secret thought")

    async def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        raise ValueError("a secret failure")

    telemetry = Telemetry(lattice, tracer_provider=spans.provider, content=content)
    changes = {"plan": plan, "act": [act, proposing(1, 0)], "reflect": reflect}
    with pytest.raises(RuntimeError):
        await controller(lattice, telemetry, **changes).run("a secret goal")
    written = "".join(str(span.to_json()) for span in spans.ended)
    secrets = {"goal", "plan", "end", "inner", "thought", "failure", "trouble"}
    told = {secret for secret in secrets if f"secret {secret}" in written}
    assert told == (secrets if content else set())
    trouble = spans.named("pmll.run")[0].events[-1].attributes or {}
    assert "in reflect" in str(trouble["exception.stacktrace"])
