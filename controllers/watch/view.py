"""What is known of a run while it goes on: a frozen value, moved on by events."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

from pmll_async import EventsMissed, RaceOutcome

from .. import events
from ..events import Event, RunResult
from ..policies import Usage
from ..steps import GoalResult, Phase, Verdict
from .entrants import Entrant, Entrants, decided, judged, proposed

KEPT: Final = 64
"""Ended cycles that are kept: more than a terminal has rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A side effect; `is_known` if it had taken place before."""

    name: str
    is_done: bool = False
    is_known: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """A cycle of a goal with its newest race.

    `plan` is None before PLAN has spoken; `trouble` is why a phase came to nothing. `winner` and
    `revised`, a number of lines, are what the race committed.
    """

    depth: int = 0
    number: int = 0
    attempt: int = 0
    plan: str | None = None
    goals: tuple[str, ...] = ()
    entrants: Entrants = ()
    winner: str = ""
    revised: int = 0
    trouble: str = ""
    verdict: Verdict | None = None
    effects: tuple[Effect, ...] = ()

    @property
    def is_blank(self) -> bool:
        """Whether nothing has come of it yet."""
        return self.plan is None and not (self.entrants or self.trouble or self.verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A run as its events tell it; times are in seconds of the clock that `after` is given.

    `stage`, `steps` and `since` are the phase under way, `above` the cycles whose sub-goals come
    first. `past` holds the newest `KEPT` cycles and sub-goals that ended, `dropped` counts those
    before them. `max_cycles` is the controller's, where it is known.
    """

    run_id: str = ""
    goals: tuple[str, ...] = ()
    max_cycles: int | None = None
    began: float | None = None
    ended: float | None = None
    stage: Phase | None = None
    steps: tuple[str, ...] = ()
    since: float = 0.0
    cycle: Cycle = Cycle()
    above: tuple[Cycle, ...] = ()
    past: tuple[Cycle | GoalResult, ...] = ()
    dropped: int = 0
    usage: Usage = field(default_factory=Usage)
    result: RunResult | None = None
    times: int = 0
    missed: int = 0

    def after(self, event: Event | EventsMissed, at: float) -> View:
        """The view once `event` has been told, at that time."""
        if isinstance(event, EventsMissed):
            return replace(self, missed=self.missed + event.count)
        began = at if self.began is None else self.began
        known = replace(self, run_id=event.run_id, goals=event.goals, usage=event.usage)
        return _moved(replace(known, began=began), event, at)

    def stopped(self, at: float) -> View:
        """The view when there will be no more events."""
        return self if self.ended is not None else replace(self, ended=at, stage=None)

    def elapsed(self, now: float) -> float:
        """Seconds since the run began, or was resumed."""
        if self.began is None:
            return 0.0
        return (now if self.ended is None else self.ended) - self.began


def _moved(view: View, event: Event, at: float) -> View:
    match event:
        case events.RunResumed():
            return replace(view, began=at, ended=None, result=None, times=event.times)
        case events.RunEnded():
            return replace(view, ended=at, stage=None, steps=(), result=event.result)
        case events.PhaseStarted():
            return _phase(view, event, at)
        case events.GoalStarted():
            below = Cycle(depth=event.depth)
            return replace(view, above=(*view.above, view.cycle), cycle=below, stage=None)
        case events.GoalEnded():
            return _goal_ended(view, event)
        case _:
            return _within(view, event)


def _phase(view: View, event: events.PhaseStarted, at: float) -> View:
    running = replace(view, stage=event.stage, steps=event.names, since=at)
    here = _at(running, event.cycle, event.attempt, event.depth)
    if event.stage != "act":
        return here
    entrants = tuple(Entrant(name=name) for name in event.names)
    return _with(here, entrants=entrants, winner="", revised=0, trouble="", verdict=None)


def _within(view: View, event: Event) -> View:
    if isinstance(event, events.PhaseEvent):
        view = _at(view, event.cycle, event.attempt, event.depth)
    entrants = view.cycle.entrants
    match event:
        case events.EffectBegun(name=name):
            return _effect(view, Effect(name=name))
        case events.EffectDone(name=name, known=known):
            return _effect(view, Effect(name=name, is_done=True, is_known=known))
        case events.Planned(plan=plan):
            return _rested(view, plan=plan.text, goals=tuple(plan.goals))
        case events.PlanFailed(outcome=failed):
            return _rested(view, trouble=str(failed))
        case events.Proposed():
            return _with(view, entrants=proposed(entrants, event))
        case events.Judged():
            return _with(view, entrants=judged(entrants, event))
        case events.Acted(outcome=RaceOutcome() as outcome):
            ranked, winner = decided(entrants, outcome), outcome.winner.anchor
            revised = len(outcome.revised)
            return _rested(view, entrants=ranked, winner=winner, revised=revised)
        case events.Acted(outcome=failed):
            return _rested(view, entrants=decided(entrants, failed), trouble=str(failed))
        case events.Reflected(verdict=verdict):
            return _rested(view, verdict=verdict)
    return view


def _at(view: View, number: int, attempt: int, depth: int) -> View:
    """The cycle and attempt at hand; another one that was becomes past."""
    here = view.cycle
    if (here.depth, here.number, here.attempt) == (depth, number, attempt):
        return view
    new = Cycle(depth=depth, number=number, attempt=attempt)
    if (here.depth, here.number) == (depth, number):
        # A retry is of the same plan.
        new = replace(new, plan=here.plan, goals=here.goals)
    return replace(_closed(view, here), cycle=new)


def _goal_ended(view: View, event: events.GoalEnded) -> View:
    closed = _closed(view, view.cycle, event.result)
    # Who joined within a sub-goal has not seen the cycle above it.
    *above, back = view.above or (Cycle(),)
    goals = event.goals[:-1]
    return replace(closed, above=tuple(above), cycle=back, goals=goals, stage=None)


def _closed(view: View, *ended: Cycle | GoalResult) -> View:
    told = [past for past in ended if isinstance(past, GoalResult) or not past.is_blank]
    past = (*view.past, *told)
    return replace(view, past=past[-KEPT:], dropped=view.dropped + max(0, len(past) - KEPT))


def _effect(view: View, effect: Effect) -> View:
    effects = view.cycle.effects
    begun = Effect(name=effect.name)
    if effect.is_done and begun in effects:
        place = effects.index(begun)
        return _with(view, effects=(*effects[:place], effect, *effects[place + 1 :]))
    return _with(view, effects=(*effects, effect)[-KEPT:])


def _rested(view: View, **changes: Any) -> View:
    return replace(_with(view, **changes), stage=None, steps=())


def _with(view: View, **changes: Any) -> View:
    return replace(view, cycle=replace(view.cycle, **changes))
