"""Fixtures of the tests with models."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import pytest
from thread_support import threads_gone


def pytest_unconfigure() -> None:
    """At exit triton lists what it has not freed, below the result that a reader looks for."""
    if "triton" in sys.modules:
        sys.stderr.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


@pytest.fixture(autouse=True)
async def nothing_leaks() -> AsyncIterator[None]:
    """No task outlives a test, and no thread that computes goes on."""
    before = asyncio.all_tasks()
    yield
    assert not asyncio.all_tasks() - before - {asyncio.current_task()}
    await threads_gone()
