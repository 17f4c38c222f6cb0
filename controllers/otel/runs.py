"""The spans of one run: the stack of goals, each in a cycle, and the phase under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opentelemetry.context import get_current
from opentelemetry.trace import Tracer

from pmll_async.telemetry import Commits

from .. import (
    Acted,
    EffectBegun,
    EffectDone,
    Event,
    Failed,
    GoalEnded,
    GoalStarted,
    PhaseStarted,
    PlanFailed,
    Planned,
    Proposed,
    Reflected,
    Retry,
    RunEnded,
    RunResumed,
    RunStarted,
    Usage,
)
from ..reports.documents import verdict_name
from .phases import PhaseSpan
from .spans import Attributes, OpenSpan, SpanWriter, difference


@dataclass(slots=True, eq=False)
class _Level:
    """A goal, and its cycle under way."""

    goal: str
    opened: OpenSpan
    cycle: OpenSpan | None = None
    number: int = -1

    def end_cycle(self, usage: Usage) -> None:
        if self.cycle is not None:
            self.cycle.end(usage)
            self.cycle = None

    def end(self, usage: Usage) -> None:
        self.end_cycle(usage)
        self.opened.end(usage)


class RunSpans:
    """Follows one run from its start, or a resume, to its end or pause."""

    def __init__(
        self, tracer: Tracer, commits: Commits, event: RunStarted | RunResumed, *, content: bool
    ) -> None:
        self.run_id = event.run_id
        self._writer = SpanWriter(tracer, commits, event.run_id, content)
        self._began = time.perf_counter()
        self._phase: PhaseSpan | None = None
        self._unwatch: Callable[[], object] | None = None
        attributes: Attributes = {"gen_ai.operation.name": "invoke_agent"}
        if isinstance(event, RunResumed):
            attributes["pmll.run.resumed"] = event.times
        # Inside whatever is current where the run was started, such as a request to a server.
        self._root = self._writer.open(
            "pmll.run", get_current(), event.usage, attributes, event.anchor
        )
        self._writer.say(self._root, "pmll.goal.text", event.goal)
        self._levels = [_Level(event.goal, self._root)]
        self._is_traced = self._root.span.get_span_context().is_valid

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.perf_counter() - self._began

    # --- its task ------------------------------------------------------------------------------

    def watch(self, task: asyncio.Task[Any] | None, ended: Callable[[RunSpans], None]) -> None:
        """Call `ended` when the run's task is over before the run says that it is."""
        if task is None:
            return

        def on_end(_: object) -> None:
            ended(self)

        task.add_done_callback(on_end)
        self._unwatch = lambda: task.remove_done_callback(on_end)

    def unwatch(self) -> None:
        """Do not, after all."""
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None

    def interrupt(self) -> None:
        """End everything: how the run ended, nobody will tell."""
        self._root.span.set_attribute("pmll.run.status", "interrupted")
        self._end_all(self._root.usage)

    # --- events --------------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        """The run's next event."""
        if not self._is_traced:
            return
        match event:
            case PhaseStarted():
                self._end_phase(event.usage)
                self._phase = PhaseSpan.begun(self._writer, self._cycle(event), event)
            case Planned() | PlanFailed() | Acted() | Reflected():
                self._phase_ended(event)
            case GoalStarted() | GoalEnded():
                self._goal(event)
            case RunEnded():
                self._run_ended(event)
            case Proposed() if self._phase is not None:
                self._phase.proposed(event)
            case EffectBegun() if self._phase is not None:
                self._phase.effect_begun(event)
            case EffectDone() if self._phase is not None:
                self._phase.effect_done(event)
            case _:
                # What else is told changes no span.
                pass

    def _phase_ended(self, event: Planned | PlanFailed | Acted | Reflected) -> None:
        phase = self._phase
        if phase is not None:
            self._writer.commit(event.anchor, phase.opened)
            phase.opened.span.set_attribute("pmll.anchor", event.anchor)
            self._came_out(phase, event)
            self._end_phase(event.usage)
        if isinstance(event, Reflected) and not isinstance(event.verdict, Retry):
            self._level(event).end_cycle(event.usage)

    def _came_out(self, phase: PhaseSpan, event: Planned | PlanFailed | Acted | Reflected) -> None:
        match event:
            case Planned(plan=plan):
                self._writer.say(phase.opened, "pmll.text", plan.text)
            case Reflected(verdict=verdict):
                phase.opened.span.set_attribute("pmll.verdict", verdict_name(verdict))
                self._writer.say(phase.opened, "pmll.text", verdict.text)
            case Acted(outcome=outcome):
                phase.raced(outcome)
        if isinstance(event, PlanFailed | Acted) and isinstance(event.outcome, Failed):
            self._writer.fail(phase.opened.span, event.outcome.error, event.outcome.failures)

    def _goal(self, event: GoalStarted | GoalEnded) -> None:
        if isinstance(event, GoalStarted):
            self._level(event, event.anchor)
            return
        level = self._level(event)
        level.end_cycle(event.usage)
        self._writer.commit(event.anchor, level.opened)
        level.opened.span.set_attribute("pmll.goal.status", event.result.status)
        self._writer.say(level.opened, "pmll.text", event.result.text)
        self._end_levels(len(event.goals) - 1, event.usage)

    def _run_ended(self, event: RunEnded) -> None:
        result, root = event.result, self._root
        self._writer.commit(event.anchor, root)
        root.span.set_attribute("pmll.anchor", event.anchor)
        root.span.set_attribute("pmll.run.status", result.status)
        root.span.set_attribute("pmll.run.cycles", result.cycles)
        if result.reason:
            self._writer.say(root, "pmll.run.reason", result.reason)
        self._writer.say(root, "pmll.text", result.text)
        if result.status == "failed":
            self._writer.fail(root.span, result.error)
            if self._phase is not None:
                self._writer.fail(self._phase.opened.span, result.error)
        spent = difference(event.usage, root.usage)
        if spent:
            root.span.set_attribute("gen_ai.usage.input_tokens", spent.input_tokens)
            root.span.set_attribute("gen_ai.usage.output_tokens", spent.output_tokens)
        self._end_all(event.usage)

    # --- where it stands -----------------------------------------------------------------------

    def _level(self, event: Event, anchor: str = "") -> _Level:
        """The goal at hand; opened here where a resume begins in the middle of it."""
        goals = event.goals
        self._end_levels(len(goals), event.usage)
        for depth in range(len(self._levels), len(goals)):
            above = self._levels[-1].cycle or self._levels[-1].opened
            attributes: Attributes = {"pmll.goal.depth": depth}
            opened = self._writer.open("pmll.goal", above.context, event.usage, attributes, anchor)
            self._writer.say(opened, "pmll.goal.text", goals[depth])
            self._levels.append(_Level(goals[depth], opened))
        return self._levels[-1]

    def _end_levels(self, depth: int, usage: Usage) -> None:
        # The first level is the run, which ends last.
        while len(self._levels) > max(depth, 1):
            self._levels.pop().end(usage)

    def _cycle(self, event: PhaseStarted) -> OpenSpan:
        level = self._level(event)
        if level.cycle is None or level.number != event.cycle:
            level.end_cycle(event.usage)
            attributes: Attributes = {"pmll.cycle": event.cycle}
            context = level.opened.context
            level.cycle = self._writer.open("pmll.cycle", context, event.usage, attributes)
            level.number = event.cycle
        return level.cycle

    def _end_phase(self, usage: Usage) -> None:
        phase, self._phase = self._phase, None
        if phase is not None:
            phase.end(usage)

    def _end_all(self, usage: Usage) -> None:
        self._end_phase(usage)
        self._end_levels(1, usage)
        self._levels[0].end(usage)
