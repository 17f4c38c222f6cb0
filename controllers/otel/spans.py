"""Spans of one run: how they begin and end, what they say, and being the current one."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import (
    Span,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)

from pmll_async import CandidateFailure
from pmll_async.telemetry import Commit, Commits

from .. import Usage
from ..calling import message_of

Attributes: TypeAlias = dict[str, str | int | float | bool]


@dataclass(slots=True, eq=False)
class OpenSpan:
    """A span under way: `context` is for what is inside it, `usage` the run's when it began.

    Times are in nanoseconds since the epoch.
    """

    span: Span
    context: Context
    began: int
    usage: Usage
    before: Context | None = None

    def enter(self) -> None:
        """Make it the current span of this task, and of those that the task starts."""
        self.before = get_current()
        attach(self.context)

    def leave(self, inner: Sequence[OpenSpan] = ()) -> None:
        """Make current again what was before, where this is current, or one of those inside it."""
        # Not by the token: another task than the one that entered could not give it back.
        current = get_current_span()
        if self.before is not None and any(current is own.span for own in (self, *inner)):
            attach(self.before)
        self.before = None

    def end(self, usage: Usage) -> None:
        """End it; `usage` is the run's now."""
        spent = difference(usage, self.usage)
        if spent:
            self.span.set_attribute("pmll.usage.calls", spent.calls)
            self.span.set_attribute("pmll.usage.input_tokens", spent.input_tokens)
            self.span.set_attribute("pmll.usage.output_tokens", spent.output_tokens)
            self.span.set_attribute("pmll.usage.cost", spent.cost)
        self.span.end()


@dataclass(frozen=True, slots=True)
class SpanWriter:
    """Writes the spans of one run; with `content` also what was said."""

    tracer: Tracer
    commits: Commits
    run_id: str
    content: bool

    def start(self, name: str, parent: Context, began: int, attributes: Attributes) -> Span:
        """A span that began at that time."""
        attributes["pmll.run.id"] = self.run_id
        return self.tracer.start_span(name, parent, attributes=attributes, start_time=began)

    def open(
        self, name: str, parent: Context, usage: Usage, attributes: Attributes, anchor: str = ""
    ) -> OpenSpan:
        """A span from now on, or from the commit of that anchor on, with which it begins."""
        commit = self.commits.find(anchor)
        began = time.time_ns() if commit is None else commit.began
        span = self.start(name, parent, began, attributes)
        opened = OpenSpan(span, set_span_in_context(span, parent), began, usage)
        self._write_commit(commit, opened)
        return opened

    def commit(self, anchor: str, within: OpenSpan) -> None:
        """The span of the anchor's commit, unless that was before the span that it belongs to."""
        self._write_commit(self.commits.find(anchor), within)

    def _write_commit(self, commit: Commit | None, within: OpenSpan) -> None:
        if commit is not None and commit.began >= within.began:
            commit.write_span(self.tracer, within.context, {"pmll.run.id": self.run_id})

    def say(self, opened: OpenSpan, name: str, text: str) -> None:
        """Write down a text, if texts are wanted."""
        if self.content and text:
            opened.span.set_attribute(name, text)

    def fail(
        self, span: Span, error: BaseException | None, failures: Sequence[CandidateFailure] = ()
    ) -> None:
        """Record what went wrong: the exception, or else what is known of it.

        What it says is a text, and so is a traceback, which ends with it: where texts are not
        wanted, it is told of which class it is and where it was raised.
        """
        if error is not None:
            kind, message = type(error).__qualname__, message_of(error)
            if self.content:
                span.record_exception(error)
            else:
                where = {"exception.type": kind, "exception.stacktrace": _places(error)}
                span.add_event("exception", where)
        else:
            for failure in failures:
                told = {"exception.type": failure.error}
                if self.content:
                    told["exception.message"] = failure.message
                span.add_event("exception", told)
            # Nothing failed, so that nothing was in time.
            kind = failures[0].error if failures else "timeout"
            message = "; ".join(str(failure) for failure in failures)
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR, (self.content and message) or kind))


def _places(error: BaseException) -> str:
    """Where the exception went through, without the lines of code, which may quote a secret."""
    places = traceback.extract_tb(error.__traceback__)
    return "\n".join(f'File "{at.filename}", line {at.lineno}, in {at.name}' for at in places)


def difference(later: Usage, earlier: Usage) -> Usage:
    """What was spent in between."""
    return Usage(
        later.calls - earlier.calls,
        later.input_tokens - earlier.input_tokens,
        later.output_tokens - earlier.output_tokens,
        later.cost - earlier.cost,
    )
