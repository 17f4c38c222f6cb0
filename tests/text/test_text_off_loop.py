"""Whatever reads, searches or shelves does so in a worker thread."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from text_support import DIM, race

from pmll_async.text import HashingEmbedder, TextMemory
from pmll_async.text import recall as recalling
from pmll_async.text.index import file as shelf
from pmll_async.text.index import keeper as keeping
from pmll_async.text.index.postings import Postings
from pmll_async.text.index.rows import TextRows

pytestmark = pytest.mark.usefixtures("nothing_blocks", "guards", "small_blocks")

GUARDED: list[tuple[Any, str]] = [
    *((shelf.IndexFile, name) for name in ("load", "keep")),
    *((TextRows, name) for name in ("read", "add", "adopt")),
    *((Postings, name) for name in ("extend", "find", "frequencies", "tokens_of", "lengths")),
    *((keeping.TextIndexer, name) for name in ("follow", "play", "close")),
    *((recalling, name) for name in ("question_terms", "recollected", "Search")),
    (sqlite3, "connect"),
]


@pytest.fixture
def guards(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What may not be called on the loop's thread fails there; the names of what was called."""
    called: set[str] = set()

    def guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            called.add(name)
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                return function(*args, **options)
            raise AssertionError(f"{name} was called on the event loop's thread")

        return call

    for owner, name in GUARDED:
        monkeypatch.setattr(owner, name, guarded(name, getattr(owner, name)))
    return called


async def use_everything(memory: TextMemory) -> None:
    first = await memory.remember("a heron in the pond", speaker="Ann", session="s")
    await memory.remember("word " * 30_000)
    await memory.remember_many(f"heron number {number}" for number in range(40))
    await race(memory, *[await memory.candidate(f"goose {number}") for number in range(3)])
    newer = await memory.supersede(first.anchor, "a heron on the roof")
    for where in (None, {"pmll.speaker": "Ann"}):
        for state in (memory, memory.at(5), memory.at(memory.lattice.revision)):
            await state.recall("where is the heron?", 50, where=where, neighbours=2, explain=True)
            await state.recall("pond " * 10_000, branches=True)
            await state.recent(where=where)
    await memory.get(first.anchor)
    await memory.forget(newer.anchor)
    await asyncio.gather(*(memory.recall(f"heron {number}") for number in range(20)))


async def test_no_call_blocks_the_loop(tmp_path: Path, guards: set[str]) -> None:
    for _ in range(2):
        async with TextMemory.open(tmp_path, HashingEmbedder(DIM), sync="os") as memory:
            await use_everything(memory)
    async with TextMemory.open(tmp_path, HashingEmbedder(DIM), read_only=True) as memory:
        await memory.recall("heron")
    assert guards == {name for _, name in GUARDED}


async def test_the_guards_themselves_find_what_blocks() -> None:
    with pytest.raises(AssertionError, match="loop's thread"):
        Postings().find([], 0)


async def test_the_loop_turns_while_the_index_catches_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from threading import Event

    go_on = Event()
    read = TextRows.read

    def slow(self: TextRows, *args: Any) -> Any:
        assert go_on.wait(10)
        return read(self, *args)

    async with TextMemory.open(tmp_path, HashingEmbedder(DIM), sync="os") as memory:
        monkeypatch.setattr(TextRows, "read", slow)
        await memory.remember("a heron")
        recall = asyncio.create_task(memory.recall("heron"))
        for number in range(20):
            await memory.remember(f"goose {number}")
        assert not recall.done()
        go_on.set()
        assert [found.text for found in await recall][:1] == ["a heron"]
