"""The lattice under test, watched: nothing may block its loop, nothing may be left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from blockbuster import blockbuster_ctx
from lattice_support import DIM, GuardedIndex, SpyStore
from thread_support import threads_gone

from pmll_async import Lattice
from pmll_async.protocols import Clock, Store


@pytest.fixture(autouse=True, scope="module")
def nothing_blocks() -> Iterator[None]:
    """A blocking call of the package on a running loop raises `BlockingError`."""
    with blockbuster_ctx("pmll_async"):
        yield


@pytest.fixture(autouse=True)
async def nothing_leaks() -> AsyncIterator[None]:
    """No task and no thread of ours outlives a test."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left
    await threads_gone()


@pytest.fixture
def store(new_store: Callable[[], Store]) -> SpyStore:
    return SpyStore(new_store())


@pytest.fixture
def lattice(store: SpyStore, clock: Clock) -> Lattice:
    return Lattice(store, dim=DIM, clock=clock, index=GuardedIndex())
