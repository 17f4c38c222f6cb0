"""The span of a phase, and those of its candidates and effects."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from opentelemetry.trace import Span, get_current_span

from pmll_async import RaceOutcome

from .. import EffectBegun, EffectDone, Outcome, PhaseStarted, Proposed, Usage
from .spans import Attributes, OpenSpan, SpanWriter


@dataclass(slots=True, eq=False)
class _Runner:
    """A candidate that is there, until it is known what becomes of it."""

    name: str
    span: Span
    ended: int


@dataclass(slots=True, eq=False)
class PhaseSpan:
    """A phase under way; while it is, its span is the current one where its steps are called."""

    writer: SpanWriter
    opened: OpenSpan
    runners: list[_Runner] = field(default_factory=list)
    effects: list[tuple[str, OpenSpan]] = field(default_factory=list)

    @classmethod
    def begun(cls, writer: SpanWriter, parent: OpenSpan, event: PhaseStarted) -> PhaseSpan:
        """From now on, in this task and those that it starts."""
        attributes: Attributes = {"pmll.cycle": event.cycle, "pmll.attempt": event.attempt}
        if len(event.names) == 1:
            attributes["pmll.step"] = event.names[0]
        opened = writer.open(f"pmll.{event.stage}", parent.context, event.usage, attributes)
        opened.enter()
        return cls(writer, opened)

    def proposed(self, event: Proposed) -> None:
        """An act has returned or failed."""
        attributes: Attributes = {
            "pmll.candidate.name": event.name,
            "pmll.candidate.number": event.number,
        }
        if event.confidence is not None:
            attributes["pmll.candidate.confidence"] = event.confidence
        span = self._candidate(attributes)
        if event.failure is not None:
            span.set_attribute("pmll.candidate.status", "failed")
            self.writer.fail(span, None, (event.failure,))
        self.runners.append(_Runner(event.name, span, time.time_ns()))

    def raced(self, outcome: Outcome) -> None:
        """The race is decided."""
        if isinstance(outcome, RaceOutcome):
            _place(outcome, self.runners)
        for name in outcome.unfinished:
            late: Attributes = {"pmll.candidate.name": name, "pmll.candidate.status": "unfinished"}
            self._candidate(late).end()

    def effect_begun(self, event: EffectBegun) -> None:
        """What the effect does is inside its span."""
        attributes: Attributes = {"pmll.effect": event.name}
        context = self.opened.context
        effect = self.writer.open("pmll.effect", context, event.usage, attributes, event.anchor)
        self.effects.append((event.name, effect))
        effect.enter()

    def effect_done(self, event: EffectDone) -> None:
        """The effect took place, now or before."""
        if event.known:
            known: Attributes = {"pmll.effect": event.name, "pmll.effect.known": True}
            self.writer.open("pmll.effect", self.opened.context, event.usage, known).span.end()
            return
        same = [effect for name, effect in self.effects if name == event.name]
        if not same:
            return
        # Of the effects of one name in several acts, it is the one that is current in this task.
        current = get_current_span()
        effect = next((own for own in same if own.span is current), same[0])
        self.effects.remove((event.name, effect))
        self.writer.commit(event.anchor, effect)
        effect.leave()
        effect.end(event.usage)

    def end(self, usage: Usage) -> None:
        """The phase is over, and with it what is inside it."""
        effects = [effect for _, effect in self.effects]
        self.opened.leave(effects)
        for effect in effects:
            effect.span.end()
        for runner in self.runners:
            # It ended when it was proposed, however long the race then took.
            runner.span.end(runner.ended)
        self.opened.end(usage)

    def _candidate(self, attributes: Attributes) -> Span:
        # All acts begin with their phase: nobody tells when a single one does.
        return self.writer.start(
            "pmll.candidate", self.opened.context, self.opened.began, attributes
        )


def _place(outcome: RaceOutcome, runners: list[_Runner]) -> None:
    """Tell each candidate's span how it came out."""
    left = list(runners)
    for score in outcome.scores:
        runner = next((one for one in left if one.name == score.name), None)
        if runner is None:
            continue
        left.remove(runner)
        has_won = score.anchor == outcome.winner.anchor
        runner.span.set_attribute("pmll.candidate.status", "won" if has_won else "lost")
        runner.span.set_attribute("pmll.candidate.score", score.score)
        runner.span.set_attribute("pmll.anchor", score.anchor)
