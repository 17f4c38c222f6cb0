"""Whatever becomes of a run, its spans end and say how; nothing of it stays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from controller_support import PATIENCE, Steps, done

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")

from opentelemetry.trace import StatusCode, get_current_span
from telemetry_support import Recorder, controller, failing, told, trace_of

from controllers import (
    Done,
    Outcome,
    Pause,
    PhaseStarted,
    Plan,
    Planned,
    Retry,
    RunResumed,
    RunStarted,
    StepContext,
    Verdict,
)
from controllers.otel import Telemetry
from pmll_async import Candidate, Lattice


async def test_a_phase_that_comes_to_nothing_is_an_error_and_the_run_is_not(
    lattice: Lattice, telemetry: Telemetry, spans: Recorder
) -> None:
    def plan(ctx: StepContext[Any]) -> Plan:
        if ctx.attempt == 0:
            raise LookupError("which plan?")
        return Plan()

    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        return Retry() if ctx.attempt == 0 else Done()

    running = controller(lattice, telemetry, plan=plan, act=[failing], reflect=reflect)
    await running.run("stumble")
    failed, planned = spans.named("pmll.plan")
    (act,) = spans.named("pmll.act")
    assert failed.status.status_code is act.status.status_code is StatusCode.ERROR
    assert (failed.attributes or {})["error.type"] == "LookupError"
    assert [event.name for event in failed.events] == ["exception"]
    assert planned.status.status_code is StatusCode.UNSET
    assert len(spans.named("pmll.cycle")) == 1
    (run,) = spans.named("pmll.run")
    assert run.status.status_code is StatusCode.UNSET


async def test_a_run_that_fails_says_with_what(
    lattice: Lattice, telemetry: Telemetry, spans: Recorder, user: Any
) -> None:
    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        raise KeyError("mine")

    with user.start_as_current_span("request") as request:
        with pytest.raises(KeyError):
            await controller(lattice, telemetry, reflect=reflect).run("fail")
        assert get_current_span() is request
    assert spans.under_way == []
    for name in ("pmll.run", "pmll.reflect"):
        (span,) = spans.named(name)
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == "KeyError"
        assert [event.name for event in span.events] == ["exception"]
    assert told(spans.named("pmll.run")[0], "run.status") == "failed"


def asking() -> Steps:
    async def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate | Pause:
        return Pause("which?") if ctx.answer is None else Candidate(key=[1, 0])

    def plan(ctx: StepContext[Any]) -> Plan:
        return Plan(goals=["inner"] if ctx.depth == 0 else [])

    return {"plan": plan, "act": [act], "reflect": done}


async def test_a_pause_ends_the_spans_and_a_resume_begins_new_ones(
    lattice: Lattice, telemetry: Telemetry, spans: Recorder
) -> None:
    running = controller(lattice, telemetry, **asking())
    await running.run("outer", run_id="r")
    assert spans.under_way == []
    assert not get_current_span().get_span_context().is_valid
    first = len(spans.started)
    await running.resume("r", answer="this")
    assert spans.under_way == []
    paused, resumed = spans.named("pmll.run")
    assert (told(paused, "run.status"), told(paused, "run.resumed")) == ("paused", None)
    assert told(resumed, "run.resumed") == 1
    assert trace_of(paused) != trace_of(resumed)
    # The sub-goal that the run paused in is gone on with.
    names = [span.name for span in spans.started[first:] if span.name != "pmll.commit"]
    assert names[:4] == ["pmll.run", "pmll.goal", "pmll.cycle", "pmll.act"]
    assert len(spans.named("pmll.goal")) == 2


async def test_a_cancelled_run_ends_its_spans(
    lattice: Lattice, telemetry: Telemetry, spans: Recorder
) -> None:
    begun = asyncio.Event()

    async def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError("never")

    running = asyncio.create_task(controller(lattice, telemetry, act=[act]).run("for ever"))
    async with asyncio.timeout(PATIENCE):
        await begun.wait()
        assert "pmll.act" in spans.under_way
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        # The task's own end is told a turn of the loop later.
        await asyncio.sleep(0)
    assert spans.under_way == []
    (run,) = spans.named("pmll.run")
    assert told(run, "run.status") in ("cancelled", "interrupted")
    assert run.status.status_code is StatusCode.UNSET


async def test_leaving_a_stream_early_ends_its_spans(
    lattice: Lattice, telemetry: Telemetry, spans: Recorder
) -> None:
    async with controller(lattice, telemetry).stream("two") as run:
        assert isinstance(await anext(run), RunStarted)
    await asyncio.sleep(0)
    assert spans.under_way == []


def started(run_id: str) -> RunStarted:
    return RunStarted(run_id=run_id, cycle=0, anchor="0" * 16, goals=("g",), goal="g")


async def test_a_commit_of_before_is_not_the_phase_s(
    lattice: Lattice, telemetry: Telemetry, spans: Recorder
) -> None:
    # As after a crash behind the commit of a race: the phase finds its outcome on the chain.
    anchor = await lattice.put([1, 0])
    told = {"run_id": "r", "cycle": 0, "anchor": anchor, "goals": ("g",), "attempt": 0}
    telemetry(started("r"))
    telemetry(PhaseStarted(**told, stage="plan", names=("plan",)))
    telemetry(Planned(**told, plan=Plan()))
    telemetry.close()
    assert spans.outline() == ["run", "  cycle", "    plan"]


def test_runs_that_never_end_are_not_kept_for_ever(spans: Recorder) -> None:
    telemetry = Telemetry(tracer_provider=spans.provider)
    for number in range(1_100):
        telemetry(started(f"r{number}"))
    assert len(spans.under_way) == 1_024
    (first, *_) = spans.named("pmll.run")
    assert (told(first, "run.id"), told(first, "run.status")) == ("r0", "interrupted")
    telemetry.close()
    assert spans.under_way == []


def test_a_run_that_begins_again_ends_what_was_left_of_it(spans: Recorder) -> None:
    telemetry = Telemetry(tracer_provider=spans.provider)
    telemetry(started("r"))
    again = RunResumed(run_id="r", cycle=0, anchor="0" * 16, goals=("g",), goal="g", times=1)
    telemetry(again)
    assert len(spans.started) == 2
    assert [told(span, "run.resumed") for span in spans.named("pmll.run")] == [None]
    telemetry.close()
    assert spans.under_way == []


async def test_closing_ends_what_is_under_way_and_hears_no_more(
    lattice: Lattice, telemetry: Telemetry, spans: Recorder
) -> None:
    async with controller(lattice, telemetry).stream("left") as run:
        await anext(run)
        telemetry.close()
        assert spans.under_way == []
        over = len(spans.started)
        assert [event async for event in run]
    assert len(spans.started) == over
    assert lattice._hub._observers == ()


async def test_a_run_cut_by_a_time_limit_leaves_its_caller_s_span_current(
    lattice: Lattice, telemetry: Telemetry, spans: Recorder, user: Any
) -> None:
    begun = asyncio.Event()

    async def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError("never")

    async def run_until_it_acts() -> None:
        async with asyncio.timeout(PATIENCE) as limit:
            watching = asyncio.create_task(begun.wait())
            watching.add_done_callback(lambda _: limit.reschedule(0))
            await controller(lattice, telemetry, act=[act]).run("for ever")

    with user.start_as_current_span("request") as request:
        with pytest.raises(TimeoutError):
            await run_until_it_acts()
        assert get_current_span() is request
        assert spans.under_way == ["request"]
    (run,) = spans.named("pmll.run")
    assert told(run, "run.status") == "cancelled"
