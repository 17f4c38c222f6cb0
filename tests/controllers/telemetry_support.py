"""A real SDK that keeps what it is given, and ways to look at it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from controller_support import steps
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider

from controllers import Plan, RTMController, StepContext
from controllers.otel import Telemetry
from pmll_async import Candidate, Lattice


class Recorder(SpanProcessor):
    """Keeps every span from its start on."""

    def __init__(self) -> None:
        self.started: list[ReadableSpan] = []
        self.ended: list[ReadableSpan] = []
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self)
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.started.append(span)

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)

    @property
    def under_way(self) -> list[str]:
        ended = [key(span) for span in self.ended]
        return [span.name for span in self.started if key(span) not in ended]

    def named(self, name: str) -> list[ReadableSpan]:
        """Spans of that name that are over, in the order in which they began."""
        spans = [span for span in self.ended if span.name == name]
        return sorted(spans, key=lambda span: self.started.index(self._start_of(span)))

    def parent_of(self, span: ReadableSpan) -> ReadableSpan | None:
        if span.parent is None:
            return None
        return next(one for one in self.started if key(one) == span.parent.span_id)

    def path_of(self, span: ReadableSpan) -> list[str]:
        """The names of the spans around it, the outermost first, and its own."""
        path: list[str] = []
        around: ReadableSpan | None = span
        while around is not None:
            path.insert(0, around.name.removeprefix("pmll."))
            around = self.parent_of(around)
        return path

    def outline(self, *leave_out: str) -> list[str]:
        """All spans that are over as indented names, each below the one around it."""

        def lines(parent: int | None, depth: int) -> Iterator[str]:
            for span in self.started:
                if (span.parent.span_id if span.parent else None) == parent:
                    if span.name not in leave_out:
                        yield "  " * depth + span.name.removeprefix("pmll.")
                    yield from lines(key(span), depth + 1)

        return list(lines(None, 0))

    def points(self, name: str) -> list[Any]:
        """The data points of a metric as of now."""
        data = self.reader.get_metrics_data()
        metrics = [
            metric
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        return [point for one in metrics if one.name == name for point in one.data.data_points]

    def _start_of(self, span: ReadableSpan) -> ReadableSpan:
        return next(one for one in self.started if key(one) == key(span))


def key(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def trace_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id


def told(span: ReadableSpan, name: str) -> Any:
    return dict(span.attributes or {}).get(f"pmll.{name}")


def controller(lattice: Lattice, telemetry: Telemetry, **changes: Any) -> RTMController:
    """A controller that the telemetry observes."""
    kept = {name: changes.pop(name) for name in ("max_cycles", "timeout") if name in changes}
    return RTMController(lattice, **steps(**changes), **kept, observers=[telemetry])


async def failing(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
    raise ValueError("no idea")
