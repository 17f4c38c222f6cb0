"""The text memory, watched: nothing is left behind, and where asked for nothing blocks its loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx
from thread_support import threads_gone


@pytest.fixture(scope="module")
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
def place(tmp_path: Path) -> Path:
    return tmp_path / "shelf"


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pmll_async.text.index.keeper._SHELVED_FROM", 3)
    monkeypatch.setattr("pmll_async.text.index.keeper._LINES_AT_ONCE", 2)
