"""A run's events as text: what a test compares, and what a person reads when they differ."""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Iterable
from typing import Any, Final

from pmll_async import EventsMissed, RaceOutcome

from .. import Event, Failed, GoalResult, RunResult, events
from ..reports.documents import verdict_name

_ANYTHING: Final = "..."


def outline(events: Iterable[Event | EventsMissed]) -> str:
    """The events that are on the chain, a line each; what belongs to a sub-goal is indented.

    ::

        started: sell the cello
        plan 0: look around
        act 0: fast won, careful lost, lazy failed with TimeoutError
        reflect 0: retry once more = {'seen': 1}
        act 0.1: careful won
        effect charge begun
        effect charge done
        reflect 0.1: done sold
        done: sold

    Numbers are those of cycle and attempt; what follows ``=`` is data. Give it what an observer
    kept, a stream's events, or those of `replay`, which has no exceptions.
    """
    lines = ((_depth(event), _line(event)) for event in events)
    return "\n".join("  " * depth + line.replace("\n", "\\n") for depth, line in lines if line)


def assert_outline(events: Iterable[Event | EventsMissed], expected: str) -> None:
    """`AssertionError`, with what differs, if the outline is not the expected one.

    Indentation common to all lines of `expected` does not count. Three dots stand for any text
    within a line, and alone on a line for any number of lines::

        assert_outline(events, '''
            started: sell the cello
            ...
            reflect 0.1: done ...
            done: sold
        ''')
    """
    found, wanted = outline(events), textwrap.dedent(expected).strip("\n").rstrip()
    if re.fullmatch(_pattern(wanted), found + "\n") is None:
        raise _different("the run", wanted, found)


def assert_same(run: str, wanted: str, found: str) -> None:
    """`AssertionError` if the outlines differ."""
    if wanted != found:
        raise _different(run, wanted, found)


def _different(run: str, wanted: str, found: str) -> AssertionError:
    matched = [_line_like(line, wanted) for line in found.splitlines()]
    lines = list(difflib.ndiff(wanted.splitlines(), matched))
    # Line by line: "-" was wanted, "+" was found; what "?" points at shows without it.
    shown = (line for line in lines if not line.startswith("?"))
    return AssertionError("\n".join([f"{run} went otherwise:", *shown]))


def _line_like(line: str, wanted: str) -> str:
    """The wanted line that this one fits, so that the two do not show as different."""
    fits = (one for one in wanted.splitlines() if re.fullmatch(_within(one), line))
    return next((one for one in fits if one.strip() != _ANYTHING), line)


def _pattern(wanted: str) -> str:
    """A regular expression for whole outlines, each line with its end."""
    return "".join(
        r"(?:.*\n)*" if line.strip() == _ANYTHING else _within(line) + r"\n"
        for line in wanted.splitlines()
    )


def _within(line: str) -> str:
    return ".*".join(map(re.escape, line.split(_ANYTHING)))


def _depth(event: Event | EventsMissed) -> int:
    if isinstance(event, EventsMissed):
        return 0
    # A sub-goal's first and last line stand with those of the goal above it.
    return event.depth - isinstance(event, events.GoalStarted | events.GoalEnded)


def _line(event: Event | EventsMissed) -> str:
    match event:
        case EventsMissed():
            return f"({event.count} events missed)"
        case events.RunStarted() | events.RunResumed():
            return _begun(event)
        case events.RunEnded(result=result):
            return _ended(result)
        case events.GoalStarted(goal=goal):
            return f"goal: {goal}"
        case events.GoalEnded(result=result):
            return f"goal {_ended(result)}"
        case events.EffectBegun(name=name):
            return f"effect {name} begun"
        case events.EffectDone(name=name, known=known):
            return f"effect {name} {'known' if known else 'done'}"
        case events.Planned() | events.PlanFailed() | events.Acted() | events.Reflected():
            return _phase(event)
    return ""


def _begun(event: events.RunStarted | events.RunResumed) -> str:
    if isinstance(event, events.RunStarted):
        return f"started: {event.goal}"
    return "resumed" if event.answer is None else f"resumed with {event.answer!r}"


def _phase(event: events.Planned | events.PlanFailed | events.Acted | events.Reflected) -> str:
    place = f"{event.cycle}.{event.attempt}" if event.attempt else f"{event.cycle}"
    match event:
        case events.Planned(plan=plan):
            return f"plan {place}:{_said(plan.text, plan.data)}"
        case events.Reflected(verdict=verdict):
            return f"reflect {place}: {verdict_name(verdict)}{_said(verdict.text, verdict.data)}"
        case events.Acted(outcome=RaceOutcome() as outcome):
            return f"act {place}: {_raced(outcome)}"
        case events.PlanFailed(outcome=outcome) | events.Acted(outcome=Failed() as outcome):
            return f"{outcome.stage} {place} failed: {'; '.join(_unsuccessful(outcome))}"
    raise AssertionError(f"no phase: {event}")


def _raced(outcome: RaceOutcome) -> str:
    won = outcome.winner.anchor
    told = [f"{each.name} {'won' if each.anchor == won else 'lost'}" for each in outcome.scores]
    failed = [f"{failure.name} failed with {failure.error}" for failure in outcome.failures]
    # The winner first; the others in the order of the acts, as they raced.
    told.sort(key=lambda each: not each.endswith(" won"))
    return ", ".join([*told, *failed, *_late(outcome)])


def _late(outcome: RaceOutcome | Failed) -> list[str]:
    return [f"{name} was late" for name in outcome.unfinished]


def _unsuccessful(failed: Failed) -> list[str]:
    told = [f"{each.name} {each.error}: {each.message}" for each in failed.failures]
    return [*told, *_late(failed)]


def _ended(result: RunResult | GoalResult) -> str:
    if isinstance(result, RunResult) and result.error is not None:
        return f"failed: {type(result.error).__name__}: {result.error}"
    said = result.reason if result.status == "exhausted" else result.text
    # A run that was cut off says what its last verdict was, which is no news.
    if result.status in ("failed", "cancelled"):
        return str(result.status)
    return f"{result.status}:{_said(said, result.data)}".removesuffix(":")


def _said(text: str, data: Any) -> str:
    return (f" {text}" if text else "") + (f" = {data!r}" if data is not None else "")
