"""Telemetry: one observer of a controller's events and of what its lattice does."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any, Final

from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import TracerProvider, get_tracer

from pmll_async import Lattice
from pmll_async.telemetry import SCOPE, Commits, LatticeTelemetry

from .. import Event, RunEnded, RunResumed, RunStarted
from .runs import RunSpans

_MOST_RUNS: Final = 1024
"""Runs that are followed at once: of one that is lost without a word nobody tells the end."""

# The default bounds are for milliseconds; a run may take an hour.
_SECONDS: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1800.0, 3600.0)


class Telemetry:
    """An observer for `RTMController(observers=[…])` that traces its runs and measures its lattice.

    With the `lattice` there are also commit spans and the lattice's metrics; give each lattice one
    `Telemetry`, and several of them a `name` each. The providers are the global ones unless given.
    `content=True` adds goals and what the steps said: texts that may not be for everyone's eyes.

    The span of a phase is the current one while its steps run, so that what their own libraries
    trace is inside it. At most 1024 runs are followed at once; of more the oldest's spans end.
    """

    def __init__(
        self,
        lattice: Lattice | None = None,
        *,
        name: str = "",
        content: bool = False,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self._tracer = get_tracer(SCOPE, tracer_provider=tracer_provider)
        self._labels = {"pmll.lattice.name": name} if name else {}
        self._duration = get_meter(SCOPE, meter_provider=meter_provider).create_histogram(
            "pmll.run.duration",
            "s",
            "Runs from their start, or a resume, to their end or pause.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._content = content
        self._runs: OrderedDict[str, RunSpans] = OrderedDict()
        self._lattice: LatticeTelemetry | None = None
        if lattice is not None:
            self._lattice = LatticeTelemetry(lattice, name=name, meter_provider=meter_provider)
        self._commits = Commits() if self._lattice is None else self._lattice.commits

    def __call__(self, event: Event) -> None:
        """Take an event in; on the loop of the run that tells it."""
        if isinstance(event, RunStarted | RunResumed):
            self._begin(event)
        spans = self._runs.get(event.run_id)
        if spans is None:
            return
        spans.take(event)
        if isinstance(event, RunEnded):
            self._forget(spans)
            labels = {**self._labels, "pmll.run.status": event.result.status}
            self._duration.record(spans.seconds, labels)

    def close(self) -> None:
        """End the spans of all runs that are still under way, and leave the lattice alone."""
        for spans in [*self._runs.values()]:
            self._abandon(spans)
        if self._lattice is not None:
            self._lattice.close()

    def _begin(self, event: RunStarted | RunResumed) -> None:
        known = self._runs.get(event.run_id)
        if known is not None:
            self._abandon(known)
        spans = RunSpans(self._tracer, self._commits, event, content=self._content)
        self._runs[event.run_id] = spans
        spans.watch(_task(), self._abandon)
        while len(self._runs) > _MOST_RUNS:
            self._abandon(next(iter(self._runs.values())))

    def _abandon(self, spans: RunSpans) -> None:
        spans.interrupt()
        self._forget(spans)

    def _forget(self, spans: RunSpans) -> None:
        spans.unwatch()
        if self._runs.get(spans.run_id) is spans:
            del self._runs[spans.run_id]


def _task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
