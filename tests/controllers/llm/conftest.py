"""What these tests leave behind: nothing, once the loop has closed the client's generators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from thread_support import threads_gone

_TURNS = 20


@pytest.fixture(autouse=True)
async def nothing_leaks() -> AsyncIterator[None]:
    """No task and no thread of ours outlives a test."""
    before = asyncio.all_tasks()
    yield
    # The client leaves the generators of a stream to the loop, which closes each in a task of its
    # own within a few turns.
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    assert not asyncio.all_tasks() - before - {asyncio.current_task()}
    await threads_gone()
