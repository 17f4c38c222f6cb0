"""What the tests of the shelf share: stores that are filled, and answers with it and without."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from text_support import DIM, Told, WatchedStore, opened, race, told

from pmll_async.stores.memory import MemoryStore
from pmll_async.text import HashingEmbedder, TextMemory

QUESTION = "which heron stands in the pond of Ann"


async def fill(memory: TextMemory, first: int, stop: int) -> None:
    """Lines of every kind, recalled as they come."""
    for number in range(first, stop):
        text = f"heron number {number} stands in pond {number % 3}"
        await memory.remember(text, speaker=f"Ann {number % 4}", session=f"s{number // 5}")
        if number % 3 == 0:
            await memory.lattice.note({"n": number})
        if number % 4 == 0:
            await memory.lattice.put([1.0] * DIM)
        if number % 5 == 0:
            await race(memory, *[await memory.candidate(f"goose {i} {number}") for i in range(3)])
        await memory.recall("heron")


async def without_shelf(store: MemoryStore) -> Told:
    async with opened(store) as memory:
        return await told(memory, QUESTION, branches=True)


async def with_shelf(store: MemoryStore, place: Path) -> Told:
    async with opened(store, shelf=place) as memory:
        return await told(memory, QUESTION, branches=True)


def blocks(place: Path) -> list[tuple[int, int]]:
    with closing(sqlite3.connect(place)) as file:
        return list(file.execute("select first, stop from blocks order by first"))


async def made(place: Path, lines: int = 20) -> WatchedStore:
    store = WatchedStore()
    async with opened(store, shelf=place) as memory:
        await fill(memory, 0, lines)
    store.asked.clear()
    return store


async def without_shelf_of(memory: TextMemory) -> Told:
    with TemporaryDirectory() as folder:
        # A new file is an empty one; without, the store might have one with something in it.
        other = TextMemory(memory.lattice, HashingEmbedder(DIM), shelf=Path(folder) / "empty")
        async with other:
            return await told(other, QUESTION, branches=True)


def memory_in(folder: Path) -> TextMemory:
    return TextMemory.open(folder, HashingEmbedder(DIM), sync="os", value_dim=0)
