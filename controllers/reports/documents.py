"""Events as plain JSON, for programs and logs: a name, facts, and what was said.

The names and fields are stable: new ones may be added, and these stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final, cast

from pydantic import JsonValue
from pydantic_core import to_jsonable_python

from pmll_async import RaceOutcome

from .. import events
from ..calling import message_of
from ..events import Event
from ..steps import Failed, Verdict

Fields = dict[str, JsonValue]

NAMES: Final[dict[type[Event], str]] = {
    events.RunStarted: "run.started",
    events.RunResumed: "run.resumed",
    events.RunEnded: "run.ended",
    events.GoalStarted: "run.goal_started",
    events.GoalEnded: "run.goal_ended",
    events.PhaseStarted: "run.phase_started",
    events.Planned: "run.planned",
    events.PlanFailed: "run.plan_failed",
    events.Proposed: "run.proposed",
    events.Judged: "run.judged",
    events.Acted: "run.acted",
    events.Reflected: "run.reflected",
    events.Told: "run.told",
    events.Decided: "run.decided",
    events.EffectBegun: "run.effect_begun",
    events.EffectDone: "run.effect_done",
}


def document(event: Event, at: float | None) -> Fields:
    """The event as one JSON object; `at` is when it happened, in seconds since the epoch."""
    when: Fields = {} if at is None else {"at": at}
    where: Fields = {"run_id": event.run_id, "cycle": event.cycle, "goals": list(event.goals)}
    return {
        "event": NAMES[type(event)],
        **when,
        **where,
        "anchor": event.anchor,
        **facts(event),
        **content(event),
        "usage": asdict(event.usage),
    }


def facts(event: Event) -> Fields:
    """What happened, in names, numbers and anchors: nothing that a goal, step or memory says."""
    told: Fields = {}
    for name in ("attempt", "times", "stage", "number", "name", "confidence", "score", "known"):
        if hasattr(event, name):
            told[name] = getattr(event, name)
    match event:
        case events.RunResumed() if event.allowance.facts():
            told["allowance"] = event.allowance.facts()
        case events.PhaseStarted():
            told["steps"] = list(event.names)
        case events.Proposed(failure=failure) if failure is not None:
            told["error"] = failure.error
        case events.Acted(outcome=RaceOutcome() as outcome):
            told |= {"status": "done", **_raced(outcome)}
        case events.Acted(outcome=Failed() as failed) | events.PlanFailed(outcome=failed):
            told |= {"status": "failed", **_came_to_nothing(failed)}
        case events.Planned():
            told["status"] = "done"
        case events.Told(reply=reply):
            told["reply"] = reply
        case events.Decided(tool=tool, approved=approved):
            told |= {"tool": tool, "approved": approved, "changed": list(event.changed)}
        case events.Reflected():
            told["verdict"] = verdict_name(event.verdict)
        case events.GoalEnded():
            told |= {"status": event.result.status, "winner": event.result.winner}
        case events.RunEnded(result=result):
            # By anchor alone: what the line says is content.
            winner = None if result.winner is None else result.winner.anchor
            told |= {"status": result.status, "cycles": result.cycles, "winner": winner}
            if result.error is not None:
                told["error"] = type(result.error).__name__
    return told


def content(event: Event) -> Fields:
    """What the goal, the steps and the memories say: for eyes that may see it."""
    match event:
        case events.RunStarted(goal=goal) | events.GoalStarted(goal=goal):
            return {"goal": goal}
        case events.RunResumed():
            return {"goal": event.goal, "answer": jsonable(event.answer)}
        case events.Planned(plan=plan):
            said: Fields = {"text": plan.text, "data": jsonable(plan.data)}
            return said | {"sub_goals": list(plan.goals)}
        case events.Reflected(verdict=verdict):
            return {"text": verdict.text, "data": jsonable(verdict.data)}
        case events.GoalEnded(result=ended):
            return _said(ended.goal, ended.text, ended.data) | {"reason": ended.reason}
        case events.RunEnded(result=result):
            end = _said(result.goal, result.text, result.data) | {"reason": result.reason}
            return end if result.error is None else end | {"message": message_of(result.error)}
        case events.Proposed(failure=failure) if failure is not None:
            return {"message": failure.message}
        case events.Told(text=text):
            return {"text": text}
        case events.Decided(said=said_so):
            return {"said": said_so, "arguments": jsonable(event.arguments)}
        case events.Acted(outcome=RaceOutcome() as outcome):
            return {"context": jsonable(outcome.winner.context), **_messages(outcome)}
        case events.Acted(outcome=Failed() as failed) | events.PlanFailed(outcome=failed):
            return _messages(failed)
        case _:
            return {}


def verdict_name(verdict: Verdict) -> str:
    """What the journal calls it: continue, retry or done."""
    return type(verdict).__name__.lower()


def jsonable(value: Any) -> JsonValue:
    """The value as JSON, or what it calls itself where there is none."""
    attempts: tuple[Callable[[Any], Any], ...] = (_as_json, repr)
    for attempt in attempts:
        try:
            return cast(JsonValue, attempt(value))
        # It is the user's object, which may do anything when it is looked at.
        except Exception:  # noqa: BLE001, S112  # the next attempt is what is done about it
            continue
    return f"<{type(value).__name__}>"


def _as_json(value: Any) -> Any:
    return to_jsonable_python(value, bytes_mode="base64", inf_nan_mode="null", fallback=repr)


def _said(goal: str, text: str, data: Any) -> Fields:
    return {"goal": goal, "text": text, "data": jsonable(data)}


def _raced(outcome: RaceOutcome) -> Fields:
    strengths: Fields = {line.anchor: line.strength for line in outcome.losers}
    return {
        "winner": outcome.winner.anchor,
        "scores": [score.model_dump() for score in outcome.scores],
        "branches": strengths,
        "revised": list(outcome.revised),
        **_came_to_nothing(outcome),
    }


def _came_to_nothing(outcome: RaceOutcome | Failed) -> Fields:
    failures: list[JsonValue] = [
        {"name": failure.name, "error": failure.error} for failure in outcome.failures
    ]
    return {"failures": failures, "unfinished": list(outcome.unfinished)}


def _messages(outcome: RaceOutcome | Failed) -> Fields:
    return {"messages": [failure.message for failure in outcome.failures]}
