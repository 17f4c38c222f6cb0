"""What every test may ask for: a clock that it moves itself, and an unopened store of each kind."""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

import pytest
from drawing import examples
from hypothesis import HealthCheck, settings

from pmll_async.protocols import Store
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.memory import MemoryStore

if "PMLL_TEST_ENCRYPTED" in os.environ:
    from encrypted_runs import over_encrypted_stores  # noqa: F401  # a fixture of every test

# Whoever starts the tests in the background of a shell has Ctrl-C ignored, by them and by every
# process that they start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Temporary folders are in memory where there is room, because no test cuts the power: thousands of
# stores would only wait for a disk to sync. Who names another place has them there.
_IN_MEMORY: Final = Path("/dev/shm")
_ROOM: Final = 2 << 30
if os.access(_IN_MEMORY, os.W_OK) and shutil.disk_usage(_IN_MEMORY).free > _ROOM:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_IN_MEMORY))

# Hypothesis would fail an example for what a busy machine takes.
settings.register_profile(
    "suite",
    deadline=None,
    max_examples=examples(50),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector, and keep it from what was collected.

    Some seven thousand tests are no garbage before the end, and a test that asks for a collection
    would wait for a walk over all of them.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


class ManualClock:
    """Seconds that pass only when a test says so."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "jsonl"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Makes stores, all on the same bytes for JSONL and each of its own in memory."""
    if request.param == "memory":
        return MemoryStore
    return lambda: JsonlStore(tmp_path / "memory")
