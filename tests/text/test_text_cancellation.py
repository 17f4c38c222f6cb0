"""Whoever is cancelled leaves nothing half done and nothing locked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from embedding_support import HeldEmbedder, RemoteEmbedder
from text_support import HASHING, hold_catch_ups, opened, texts

from pmll_async import Lattice
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import TextMemory

pytestmark = pytest.mark.usefixtures("nothing_blocks")


def memory_in(folder: Path) -> TextMemory:
    return TextMemory.open(folder, HASHING, sync="os")


async def cut_after(turns: int, call: Callable[[], Awaitable[Any]]) -> bool:
    """Let the call run for so many turns of the loop, then cancel it; whether it was cut."""
    task = asyncio.ensure_future(call())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


@pytest.mark.parametrize("turns", range(12))
async def test_a_cut_opening_leaves_nothing_behind(tmp_path: Path, turns: int) -> None:
    async with memory_in(tmp_path) as memory:
        await memory.remember("heron")
    memory = memory_in(tmp_path)
    await cut_after(turns, memory._opened)
    async with memory:
        assert await texts(memory, "heron") == ["heron"]
    async with memory_in(tmp_path) as memory:
        assert await texts(memory, "heron") == ["heron"]


async def test_an_opening_cut_at_its_last_steps_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with memory_in(tmp_path) as memory:
        await memory.remember("heron")
    held = hold_catch_ups(monkeypatch)
    memory = memory_in(tmp_path)
    opening = asyncio.ensure_future(memory._opened())
    await held.begun.wait()
    opening.cancel()
    held.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with Lattice.open(tmp_path) as lattice:
        assert len(lattice) == 1
    async with memory:
        assert await texts(memory, "heron") == ["heron"]


@pytest.mark.parametrize("turns", range(10))
async def test_a_cut_closing_leaves_nothing_locked(tmp_path: Path, turns: int) -> None:
    memory = await memory_in(tmp_path)
    await memory.remember("heron")
    await memory.recall("heron")
    await cut_after(turns, memory.aclose)
    await memory.aclose()
    async with memory_in(tmp_path) as memory:
        assert await texts(memory, "heron") == ["heron"]


WRITES: dict[str, tuple[Callable[[TextMemory], Awaitable[Any]], int]] = {
    "remember": (lambda memory: memory.remember("goose at dawn"), 1),
    "long": (lambda memory: memory.remember("goose at dawn " * 200), 1),
    "many": (lambda memory: memory.remember_many(["goose one", "goose two"]), 2),
    "supersede": (lambda memory: memory.supersede(memory.lattice.head, "goose at noon"), 1),
}


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("name", WRITES)
async def test_a_cut_write_is_wholly_there_or_absent(name: str, turns: int) -> None:
    write, lines = WRITES[name]
    async with opened() as memory:
        await memory.remember("heron")
        was_cut = await cut_after(turns, lambda: write(memory))
        await memory.remember("swan")
        there = len(memory.lattice) - 2
        assert there in (0, lines)
        assert was_cut or there
        found = await texts(memory, "goose heron swan")
        assert len(found) == 2 + there - (name == "supersede" and there)


@pytest.mark.parametrize("turns", range(8))
async def test_a_cut_recall_is_no_matter(turns: int) -> None:
    async with opened() as memory:
        await memory.remember_many(f"heron {number}" for number in range(300))
        await cut_after(turns, lambda: memory.recall("heron", k=3))
        await cut_after(turns, lambda: memory.recall("heron " * 400, k=3))
        await cut_after(turns, memory.at(200).recent)
        assert await texts(memory, "heron 7", 1) == ["heron 7"]


async def test_who_is_cut_while_the_embedder_works_harms_nobody() -> None:
    embedder = HeldEmbedder()
    async with (
        Lattice(MemoryStore(), dim=embedder.dim) as lattice,
        TextMemory(lattice, embedder) as memory,
    ):
        first = asyncio.create_task(memory.remember("heron"))
        await embedder.begun.get()
        second = asyncio.create_task(memory.remember("goose"))
        await asyncio.sleep(0)
        first.cancel()
        embedder.let(9)
        with pytest.raises(asyncio.CancelledError):
            await first
        await second
        assert [found.text for found in await memory.recent()] == ["goose"]
        assert await texts(memory, "goose") == ["goose"]


async def test_a_request_that_is_cut_is_given_up() -> None:
    embedder = RemoteEmbedder()
    async with (
        Lattice(MemoryStore(), dim=embedder.dim) as lattice,
        TextMemory(lattice, embedder) as memory,
    ):
        asked = asyncio.create_task(memory.remember("heron"))
        await embedder.begun.get()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert embedder.cancelled == 1
        assert len(lattice) == 0
        embedder.let(9)
        await memory.remember("goose")
        assert await texts(memory, "goose") == ["goose"]
