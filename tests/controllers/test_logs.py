"""`log_events`: each event in the log, under a name that stays, and without what was said."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from typing import Any

from controller_support import done, proposing, steps
from structlog.testing import capture_logs

from controllers import Continue, Done, Plan, RTMController, StepContext, Usage
from controllers.reports.documents import NAMES, document
from controllers.reports.logs import log_events
from pmll_async import Candidate, Lattice
from pmll_async.stores.memory import MemoryStore

SECRET = "the vault's number is 4711"


def secretive(ctx: StepContext[Any]) -> Plan[str]:
    ctx.spend(Usage(calls=1, input_tokens=5))
    return Plan(SECRET, SECRET, goals=[SECRET] if ctx.depth == 0 else [])


async def remembering(ctx: StepContext[Any], plan: Plan[str]) -> Candidate:
    return Candidate(key=[1, ctx.depth], context={"text": SECRET})


async def failing(ctx: StepContext[Any], plan: Plan[str]) -> Candidate:
    raise ValueError(SECRET)


def reflecting(ctx: StepContext[Any], outcome: Any) -> Any:
    return Done(SECRET, SECRET) if ctx.cycle else Continue(SECRET, SECRET)


async def logged(
    lattice: Lattice, goal: str = "count", content: bool = True, **changes: Any
) -> list[Any]:
    observer = partial(log_events, content=content)
    with capture_logs() as entries:
        controller = RTMController(lattice, **steps(observers=[observer], **changes))
        with contextlib.suppress(ValueError):
            await controller.run(goal, run_id="r")
    return entries


async def test_each_event_is_an_entry_with_the_run_and_the_cycle(lattice: Lattice) -> None:
    entries = await logged(lattice, act=[proposing(1, 0), proposing(0, 1, confidence=0.5)])
    told = [entry for entry in entries if not entry["event"].endswith(".content")]
    assert [(entry["event"], entry["log_level"]) for entry in told] == [
        ("run.started", "info"),
        ("run.phase_started", "debug"),
        ("run.planned", "info"),
        ("run.phase_started", "debug"),
        ("run.proposed", "debug"),
        ("run.proposed", "debug"),
        ("run.acted", "info"),
        ("run.phase_started", "debug"),
        ("run.reflected", "info"),
        ("run.ended", "info"),
    ]
    assert {(entry["run_id"], entry["cycle"]) for entry in entries} == {("r", 0)}
    (acted,) = [entry for entry in told if entry["event"] == "run.acted"]
    assert [score["score"] for score in acted["scores"]] == [1.0, 0.5]
    assert (acted["status"], list(acted["branches"].values())) == ("done", [0.5])
    assert (told[-1]["status"], told[-1]["cycles"]) == ("done", 1)


async def test_what_was_said_is_logged_at_debug_only_and_if_asked_for(lattice: Lattice) -> None:
    changes = {"plan": secretive, "act": [remembering, failing], "reflect": reflecting}
    async with Lattice(MemoryStore(), dim=2) as other:
        assert "4711" not in repr(await logged(other, SECRET, content=False, **changes))
    entries = await logged(lattice, SECRET, **changes)
    above = [entry for entry in entries if entry["log_level"] != "debug"]
    assert {entry["event"] for entry in above} >= {"run.goal_ended", "run.planned", "run.acted"}
    assert "4711" not in repr(above)
    facts = [entry for entry in entries if not entry["event"].endswith(".content")]
    assert "4711" not in repr(facts)
    assert above[-1]["calls"] == 6
    said = {entry["event"] for entry in entries if "4711" in repr(entry)}
    assert said == {
        f"run.{name}.content"
        for name in (
            *("started", "planned", "proposed", "acted", "reflected", "ended"),
            *("goal_started", "goal_ended"),
        )
    }


async def test_what_failed_is_a_warning(lattice: Lattice) -> None:
    def broken(ctx: StepContext[Any], outcome: Any) -> Any:
        raise ValueError(SECRET)

    entries = await logged(lattice, act=[failing], reflect=broken)
    warned = [entry for entry in entries if entry["log_level"] == "warning"]
    assert [entry["event"] for entry in warned] == ["run.acted", "run.ended"]
    assert warned[0]["failures"] == [{"name": "failing", "error": "ValueError"}]
    assert (warned[1]["status"], warned[1]["error"]) == ("failed", "ValueError")
    assert "4711" not in repr(warned)


async def test_plans_that_fail_and_effects_are_logged(lattice: Lattice) -> None:
    def unplanned(ctx: StepContext[Any]) -> Plan[Any]:
        raise ValueError(SECRET)

    async def mailing(ctx: StepContext[Any], outcome: Any) -> Any:
        await ctx.once("mail", lambda: 1)
        return done(ctx, outcome)

    entries = await logged(lattice, plan=unplanned, reflect=mailing)
    levels = {entry["event"]: entry["log_level"] for entry in entries}
    assert levels["run.plan_failed"] == "warning"
    assert levels["run.effect_begun"] == levels["run.effect_done"] == "info"
    assert [entry["name"] for entry in entries if entry["event"] == "run.effect_done"] == ["mail"]


async def test_names_are_constant_dotted_and_each_events_own() -> None:
    assert len(set(NAMES.values())) == len(NAMES) == 16
    assert all(re.fullmatch(r"run\.[a-z_]+", name) for name in NAMES.values())


async def test_data_of_any_kind_is_told_as_json(lattice: Lattice) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("not even this")

    controller = RTMController(lattice, **steps())
    async with controller.stream("count", run_id="r") as run:
        told = [event async for event in run]
    (planned,) = [event for event in told if NAMES[type(event)] == "run.planned"]
    for data, shown in ((Odd(), "<Odd>"), (float("nan"), None), (b"\xff", "_w=="), ({1}, [1])):
        odd: Any = replace(planned, plan=Plan("", data))  # type: ignore[call-arg]  # it has one
        assert json.loads(json.dumps(document(odd, 1.0), allow_nan=False))["data"] == shown


def test_logging_needs_no_terminal() -> None:
    code = (
        "import sys; sys.modules.update(rich=None, typer=None); import controllers.reports.logs;"
        "assert 'pmll_controllers.watch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
