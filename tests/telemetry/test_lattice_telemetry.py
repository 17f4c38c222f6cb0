"""A lattice measured without controllers, and the spans of its commits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pmll_async import CommitBatch, Lattice
from pmll_async.stores.memory import MemoryStore

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")

from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pmll_async.telemetry import Commits, LatticeTelemetry

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def lattice() -> AsyncIterator[Lattice]:
    async with Lattice(MemoryStore(), dim=2) as opened:
        yield opened


def metrics(reader: InMemoryMetricReader) -> dict[str, Any]:
    """The value or the count of each metric, and the labels of its first point."""
    data = reader.get_metrics_data()
    assert data is not None
    points = {
        metric.name: metric.data.data_points
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    return {
        name: (sum(getattr(p, "value", getattr(p, "count", 0)) for p in found), found[0].attributes)
        for name, found in points.items()
    }


async def test_what_a_lattice_does_is_measured_until_the_end(lattice: Lattice) -> None:
    await lattice.note({"before": True})
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    telemetry = LatticeTelemetry(lattice, name="here", meter_provider=provider)
    await lattice.put([1, 0])
    await lattice.query([1, 0])
    telemetry.close()
    await lattice.put([0, 1])
    here = {"pmll.lattice.name": "here"}
    assert metrics(reader) == {
        "pmll.records": (1, {**here, "pmll.record.kind": "put"}),
        "pmll.commit.batch.size": (1, here),
        "pmll.commit.wait": (1, here),
        "pmll.commit.duration": (1, here),
        "pmll.query.batch.size": (1, here),
        "pmll.query.duration": (1, here),
    }


async def test_a_commit_is_found_by_its_anchor_and_becomes_a_span(lattice: Lattice) -> None:
    telemetry, kept, tracers = LatticeTelemetry(lattice), InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(kept))
    await lattice.note({})
    anchor = await lattice.put([1, 0])
    commit = telemetry.commits.find(anchor)
    assert commit is not None
    commit.write_span(tracers.get_tracer("test"), Context(), {"my.label": "x"})
    (span,) = kept.get_finished_spans()
    assert (span.name, span.start_time, span.end_time) == (
        "pmll.commit",
        commit.began,
        commit.ended,
    )
    told = dict(span.attributes or {})
    assert (told["pmll.anchor"], told["pmll.revision"], told["my.label"]) == (anchor, 2, "x")
    assert told["pmll.commit.batch.size"] == 1


def test_what_has_no_anchor_or_is_long_gone_is_not_found() -> None:
    commits = Commits()
    for number in range(100):
        commits.add(CommitBatch(number + 2, (f"{number}", ""), 2, 0, 0.0, 0.0, 0.0, 0.0))
    commits.add(CommitBatch(101, (), 1, 1, 0.0, 0.0, 0.0, 0.0))
    assert commits.find("") is None
    assert commits.find("0") is None
    newest = commits.find("99")
    assert newest is not None
    assert newest.revision == 100


WITHOUT = """
import sys
sys.path.insert(0, sys.argv[1])
sys.modules["opentelemetry"] = None
import pmll_async
try:
    import pmll_async.telemetry
except ModuleNotFoundError as exc:
    print(exc)
"""


def test_it_says_what_to_install() -> None:
    command = [sys.executable, "-I", "-c", WITHOUT, str(ROOT)]
    said = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert said.startswith("telemetry needs opentelemetry")
    assert said.endswith("pip install 'pmll-async[otel]'\n")
