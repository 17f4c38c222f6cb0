"""A lattice for the controllers' tests, and a watch over what they leave behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from opentelemetry.trace import get_tracer
from telemetry_support import Recorder
from thread_support import threads_gone

from controllers.otel import Telemetry
from pmll_async import Lattice
from pmll_async.stores.memory import MemoryStore


@pytest.fixture
async def lattice() -> AsyncIterator[Lattice]:
    ticks = count(1_000)
    async with Lattice(MemoryStore(), dim=2, clock=lambda: float(next(ticks))) as opened:
        yield opened


@pytest.fixture(autouse=True)
def nothing_blocks() -> Iterator[None]:
    """A blocking call of the packages on a running loop raises `BlockingError`."""
    with blockbuster_ctx(["pmll_async", "controllers"]):
        yield


@pytest.fixture(autouse=True)
async def nothing_leaks() -> AsyncIterator[None]:
    """No task and no thread of ours outlives a test."""
    before = asyncio.all_tasks()
    yield
    assert not asyncio.all_tasks() - before - {asyncio.current_task()}
    await threads_gone()


@pytest.fixture
def spans() -> Recorder:
    return Recorder()


@pytest.fixture
def telemetry(lattice: Lattice, spans: Recorder) -> Telemetry:
    return Telemetry(lattice, tracer_provider=spans.provider, meter_provider=spans.meters)


@pytest.fixture
def user(spans: Recorder) -> Any:
    """The tracer of a library that the steps use."""
    return get_tracer("user", tracer_provider=spans.provider)
