"""Telemetry: one observer of a controller's events and of what its lattice does."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import TracerProvider, get_tracer

from pmll_async import Batch, CommitBatch, Lattice

from .. import Event, RunEnded, RunResumed, RunStarted
from .commits import Commits
from .meters import Meters
from .runs import RunSpans

SCOPE: Final = "pmll-async"
"""What the tracer and the meter are called."""

_MOST_RUNS: Final = 1024


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
        self._meters = Meters(get_meter(SCOPE, meter_provider=meter_provider), name)
        self._content = content
        self._commits = Commits()
        self._runs: OrderedDict[str, RunSpans] = OrderedDict()
        self._stop: Callable[[], None] | None = None
        if lattice is not None:
            self._stop = lattice.observe(partial(self._happened, lattice))
            self._meters.begin(lattice.stats)

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
            self._meters.run_ended(event.result.status, spans.seconds)

    def close(self) -> None:
        """End the spans of all runs that are still under way, and leave the lattice alone."""
        for spans in [*self._runs.values()]:
            self._abandon(spans)
        if self._stop is not None:
            self._stop()

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

    def _happened(self, lattice: Lattice, batch: Batch) -> None:
        if isinstance(batch, CommitBatch):
            self._commits.add(batch)
            self._meters.committed(batch, lattice.stats)
        else:
            self._meters.queried(batch)


def _task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
