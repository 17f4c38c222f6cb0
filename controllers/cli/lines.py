"""Events as plain lines, for a file, a pipe or a past run: a line a fact, nothing redrawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pmll_async import RaceOutcome

from .. import events
from ..events import Event, RunResult
from ..reports.documents import verdict_name
from ..reports.plain import clock_time, conclusion, counted, labelled, one_line
from ..steps import Failed
from ..watch.entrants import Entrant, decided
from ..watch.picture import spent

_LABEL: Final = 10  # columns: the longest, "exhausted" and "cancelled", and a blank
_FATES: Final = {"winner": "✔", "branch": " ", "same": " ", "failed": "✗", "unfinished": "◌"}

Rows = Iterator[tuple[str, str]]


@dataclass(slots=True)
class Lines:
    """Turns events into lines; keeps the day, which is told when it changes."""

    day: str = ""

    def of(self, event: Event, at: float) -> Iterator[str]:
        """The lines of an event that happened at `at`, in seconds since the epoch."""
        day, time = clock_time(at)
        if day != self.day:
            self.day = day
            yield day
        indent = "  " * event.depth
        last = ""
        for label, told in _rows(event):
            shown = "" if label == last else label
            last = label
            yield f"{time}  {shown:<{_LABEL}}{indent}{told}".rstrip()


def _rows(event: Event) -> Rows:
    match event:
        case events.RunStarted():
            yield "run", f"{one_line(event.goal)} (run {one_line(event.run_id)})"
        case events.RunResumed():
            answer = "" if event.answer is None else f", answered: {one_line(str(event.answer))}"
            again = f"run {one_line(event.run_id)}, resume {event.times}{answer}"
            yield "resumed", f"{one_line(event.goal)} ({again})"
        case events.RunEnded(result=result):
            yield from _end(result)
        case events.GoalStarted(goal=goal):
            yield "goal", one_line(goal)
        case events.GoalEnded(result=ended):
            yield "goal", labelled(ended.status, conclusion(ended))
        case _:
            yield from _phase_rows(event)


def _phase_rows(event: Event) -> Rows:
    match event:
        case events.PhaseStarted(stage="act", names=names):
            yield "act", f"racing {', '.join(map(one_line, names))}"
        case events.Planned(plan=plan):
            yield "plan", f"{_cycle(event)}: {one_line(plan.text)}"
            for goal in plan.goals:
                yield "plan", f"  first: {one_line(goal)}"
        case events.PlanFailed(outcome=failed):
            yield "plan", f"{_cycle(event)}: ✗ {one_line(str(failed))}"
        case events.Proposed(failure=failure) if failure is not None:
            yield "act", f"✗ {one_line(event.name)}  {one_line(failure.error)}"
        case events.Proposed():
            yield "act", f"● {one_line(event.name)}  confidence {event.confidence:.2f}"
        case events.Judged():
            yield "act", f"● {one_line(event.name)}  {event.score:.3f}"
        case events.Acted(outcome=outcome):
            yield from _race(outcome)
        case events.Reflected(verdict=verdict):
            yield "reflect", labelled(verdict_name(verdict), verdict.text)
        case events.Decided():
            does = "is" if event.approved else "is not"
            yield "act", f"{one_line(event.tool)} {does} allowed: {one_line(event.said)}"
        case events.EffectBegun(name=name):
            yield "once", f"{one_line(name)} begun"
        case events.EffectDone(name=name, known=known):
            yield "once", f"{one_line(name)} {'known' if known else 'done'}"


def _cycle(event: events.PhaseEvent) -> str:
    return f"cycle {event.cycle}" + (f".{event.attempt}" if event.attempt else "")


def _race(outcome: RaceOutcome | Failed) -> Rows:
    entrants = decided((), outcome)
    width = max((len(one_line(entrant.name)) for entrant in entrants), default=0)
    for entrant in entrants:
        name = f"{one_line(entrant.name):<{width}}"
        yield "act", f"{_FATES[entrant.fate]} {name}  {_became(entrant)}"
    if isinstance(outcome, Failed):
        yield "act", f"✗ {one_line(str(outcome))}"
    elif outcome.revised:
        revised = ", ".join(map(one_line, outcome.revised))
        yield "act", f"  revised, strength halved: {revised}"


def _became(entrant: Entrant) -> str:
    match entrant.fate:
        case "winner":
            return f"{entrant.score:.3f}  → chain {entrant.anchor}"
        case "branch":
            return f"{entrant.score:.3f}  → branch {entrant.anchor}, strength {entrant.strength:g}"
        case "same":
            return f"{entrant.score:.3f}  same content as a better one"
        case "failed":
            return one_line(entrant.reason)
        case _:
            return "unfinished"


def _end(result: RunResult) -> Rows:
    cost = spent(result.usage)
    after = f"after {counted(result.cycles, 'cycle')}" + (f", {cost}" if cost else "")
    yield result.status, labelled(after, conclusion(result))
