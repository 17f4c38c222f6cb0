"""The metrics of a lattice and its runs, and telemetry where nobody has set anything up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from controller_support import done, steps

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")

from opentelemetry import metrics, trace
from opentelemetry.trace import INVALID_SPAN, get_current_span
from telemetry_support import Recorder

from controllers import Outcome, RTMController, StepContext, Verdict
from controllers.otel import Telemetry
from pmll_async import Candidate, Lattice, StaleAnchorError
from pmll_async.stores.memory import MemoryStore

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def sums(recorder: Recorder, name: str, by: str) -> dict[object, float]:
    """What a counter or a histogram adds up to, by one of its attributes."""
    found: dict[object, float] = {}
    for point in recorder.points(name):
        label = point.attributes.get(by)
        found[label] = found.get(label, 0) + getattr(point, "value", getattr(point, "sum", 0))
    return found


async def test_the_metrics_add_up_to_the_lattice_s_own_sums(
    lattice: Lattice, recorder: Recorder
) -> None:
    await lattice.note({"before": True})
    before = lattice.stats
    Telemetry(lattice, meter_provider=recorder.meters)
    a = await lattice.put([1, 0])
    await asyncio.gather(*(lattice.note({"n": n}) for n in range(9)))
    await lattice.put_many(Candidate(key=[1, n]) for n in range(5))
    await lattice.decay(a, 0.5)
    await lattice.forget(a)
    await lattice.rollback(1)
    with pytest.raises(StaleAnchorError):
        await lattice.note({}, "1" * 16)
    for k in (1, 2):
        await lattice.query([1, 0], k)
    stats = lattice.stats
    assert sums(recorder, "pmll.records", "pmll.record.kind") == {
        "put": 6,
        "note": 9,
        "decay": 1,
        "forget": 1,
        "rollback": 1,
    }
    assert sums(recorder, "pmll.refusals", "") == {None: 1}
    (sizes,) = recorder.points("pmll.commit.batch.size")
    assert (sizes.count, sizes.sum, sizes.max) == (
        stats.batches - before.batches,
        stats.records - before.records,
        stats.largest_batch,
    )
    took = stats.deciding - before.deciding + stats.writing - before.writing
    assert sums(recorder, "pmll.commit.duration", "")[None] == pytest.approx(took)
    assert 0 < sums(recorder, "pmll.commit.wait", "")[None] <= stats.waiting - before.waiting
    assert sums(recorder, "pmll.query.batch.size", "") == {None: 2}
    assert sums(recorder, "pmll.query.duration", "")[None] == pytest.approx(stats.answering)


async def test_lattices_are_told_apart_by_name(recorder: Recorder) -> None:
    for name, count in (("a", 1), ("b", 2)):
        async with Lattice(MemoryStore(), dim=2) as lattice:
            Telemetry(lattice, name=name, meter_provider=recorder.meters)
            for number in range(count):
                await lattice.note({"n": number})
    # Both are closed and gone by now: what they did is told nevertheless.
    assert sums(recorder, "pmll.records", "pmll.lattice.name") == {"a": 1, "b": 2}


async def test_runs_are_measured_by_how_they_ended(lattice: Lattice, recorder: Recorder) -> None:
    def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict:
        if ctx.goal == "fail":
            raise ValueError(ctx.goal)
        return done(ctx, outcome)

    # Without traces, too.
    telemetry = Telemetry(meter_provider=recorder.meters)
    controller = RTMController(lattice, **steps(reflect=reflect), observers=[telemetry])
    await controller.run("one")
    await controller.run("two")
    with pytest.raises(ValueError, match="fail"):
        await controller.run("fail")
    points = recorder.points("pmll.run.duration")
    counts = {point.attributes["pmll.run.status"]: point.count for point in points}
    assert counts == {"done": 2, "failed": 1}


async def test_without_an_sdk_nothing_happens_and_nothing_is_set(lattice: Lattice) -> None:
    providers = trace.get_tracer_provider(), metrics.get_meter_provider()
    seen: list[object] = []

    def plan(ctx: StepContext[Any]) -> Any:
        seen.append(get_current_span())
        return steps()["plan"](ctx)

    telemetry = Telemetry(lattice)
    result = await RTMController(lattice, **steps(plan=plan), observers=[telemetry]).run("goal")
    assert (result.status, seen) == ("done", [INVALID_SPAN])
    assert telemetry._runs == {}
    assert (trace.get_tracer_provider(), metrics.get_meter_provider()) == providers


WITHOUT = """
import sys
sys.path.insert(0, sys.argv[1])
sys.modules["opentelemetry"] = None
import controllers
try:
    import controllers.otel
except ModuleNotFoundError as exc:
    print(exc)
"""


def test_it_says_what_to_install() -> None:
    command = [sys.executable, "-I", "-c", WITHOUT, str(ROOT)]
    said = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert "pip install 'pmll-async[otel]'" in said
    assert said.startswith("telemetry needs opentelemetry")
