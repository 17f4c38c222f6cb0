"""Without an asyncio loop a sentence says what is missing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest
from lattice_support import DIM, axis

from pmll_async import Candidate, Lattice, WrongEventLoopError
from pmll_async.moving.reembed import reembed
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import HashingEmbedder, TextMemory

ROOT = Path(__file__).resolve().parents[2]

Doors = dict[str, Callable[[Path], Awaitable[Any]]]

DOORS: Doors = {
    "lattice": lambda folder: awaited(Lattice.open(folder, dim=DIM)),
    "lattice block": lambda folder: Lattice.open(folder, dim=DIM).__aenter__(),
    "memory store": lambda folder: awaited(Lattice(MemoryStore(), dim=DIM)),
    "text": lambda folder: awaited(TextMemory.open(folder)),
    "text block": lambda folder: TextMemory.open(folder).__aenter__(),
    "text close": lambda folder: TextMemory.open(folder).aclose(),
    "reembed": lambda folder: reembed(
        JsonlStore(folder), JsonlStore(folder / "x"), HashingEmbedder()
    ),
}


async def awaited(one: Awaitable[Any]) -> Any:
    return await one


@pytest.mark.parametrize("door", DOORS)
def test_under_trio_every_door_says_that_it_needs_asyncio(door: str, tmp_path: Path) -> None:
    with pytest.raises(WrongEventLoopError, match="runs on asyncio"):
        anyio.run(DOORS[door], tmp_path, backend="trio")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("door", DOORS)
def test_without_any_loop_every_door_says_so(door: str, tmp_path: Path) -> None:
    entering: Any = DOORS[door](tmp_path)
    with pytest.raises(WrongEventLoopError, match="no asyncio loop"):
        entering.send(None)
    assert not any(tmp_path.iterdir())


CALLS: dict[str, Callable[[Lattice, TextMemory], Coroutine[Any, Any, Any]]] = {
    "put": lambda lattice, _: lattice.put(axis(0)),
    "put_many": lambda lattice, _: lattice.put_many([Candidate(key=axis(0))]),
    "query": lambda lattice, _: lattice.query(axis(0), k=40),
    "filtered": lambda lattice, _: lattice.query(axis(0), where={"a": 1}),
    "get": lambda lattice, _: lattice.get(lattice.head),
    "rewind": lambda lattice, _: anext(lattice.rewind()),
    "pin": lambda lattice, _: lattice.pin("a", "b"),
    "remember": lambda _, memory: memory.remember("x"),
    "recall": lambda _, memory: memory.recall("x"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_an_open_lattice_is_refused_where_no_loop_of_asyncio_runs(
    name: str, tmp_path: Path
) -> None:
    def elsewhere() -> None:
        async def main() -> None:
            await CALLS[name](lattice, memory)

        with pytest.raises(WrongEventLoopError, match="runs on asyncio"):
            anyio.run(main, backend="trio")

    async with (
        Lattice(MemoryStore(), dim=DIM) as lattice,
        TextMemory.open(tmp_path) as memory,
    ):
        await lattice.put(axis(0))
        await memory.remember("x")
        await asyncio.to_thread(elsewhere)


def test_another_loop_of_asyncio_is_as_good(tmp_path: Path) -> None:
    import uvloop

    async def main() -> TextMemory:
        memory = await TextMemory.open(tmp_path)
        await asyncio.gather(*(memory.remember(f"kitten {number}") for number in range(20)))
        assert len(await memory.recall("kitten", where={"a": {"$exists": False}})) == 10
        assert len(await memory.lattice.query(memory.embedder.embed(["kitten"])[0], k=40)) == 20
        return memory

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as home:
        memory = home.run(main())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as abroad:
        with pytest.raises(WrongEventLoopError, match="aclose"):
            abroad.run(memory.recall("kitten"))
        abroad.run(memory.aclose())


WITHOUT_FCNTL = """
    import sys
    sys.modules["fcntl"] = None
    import pmll_async, controllers
    from pmll_async.text import TextMemory
    import asyncio

    async def main():
        async with pmll_async.Lattice(MemoryStore(), dim=1) as lattice:
            await lattice.put([1.0])
            assert len(lattice) == 1

    from pmll_async.stores.memory import MemoryStore
    asyncio.run(main())
"""


def test_without_fcntl_all_but_the_folder_works() -> None:
    command = [sys.executable, "-c", textwrap.dedent(WITHOUT_FCNTL)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
