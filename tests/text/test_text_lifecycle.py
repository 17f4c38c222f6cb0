"""Opening, closing, pins, cancellation: nothing stays locked, nothing is half done."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from embedding_support import FreeEmbedder
from text_support import DIM, NotingEmbedder, hold_catch_ups, opened, texts

from pmll_async import (
    CorruptionError,
    DimensionMismatchError,
    Lattice,
    LatticeClosedError,
    PinnedError,
    ReadOnlyStoreError,
    StoreLockedError,
)
from pmll_async.errors import WrongEventLoopError
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import HashingEmbedder, TextMemory
from pmll_async.text.index.keeper import TextIndexer

pytestmark = pytest.mark.usefixtures("nothing_blocks")

HASHING = HashingEmbedder(DIM)


def memory_in(folder: Path, **options: Any) -> TextMemory:
    return TextMemory.open(folder, options.pop("embedder", HASHING), sync="os", **options)


# --- opening and closing -------------------------------------------------------------------------


async def test_opened_in_one_task_and_closed_in_another(tmp_path: Path) -> None:
    async def open_it() -> TextMemory:
        return await memory_in(tmp_path)

    memory = await asyncio.create_task(open_it(), context=contextvars.Context())
    await memory.remember("heron")
    assert await memory is memory
    await asyncio.create_task(memory.aclose())
    async with memory_in(tmp_path) as memory:
        assert await texts(memory, "heron") == ["heron"]


async def use(memory: TextMemory, anchor: str) -> list[Callable[[], Awaitable[Any]]]:
    async def at() -> Any:
        return memory.at(0)

    return [
        lambda: memory.remember("x"),
        lambda: memory.remember_many(["x"]),
        lambda: memory.remember_many([]),
        lambda: memory.candidate("x"),
        lambda: memory.supersede(anchor, "x"),
        lambda: memory.forget(anchor),
        lambda: memory.recall("x"),
        memory.recent,
        lambda: memory.get(anchor),
        at,
        memory._opened,
    ]


@pytest.mark.parametrize("own", [True, False])
async def test_closed_twice_and_used_afterwards(tmp_path: Path, own: bool) -> None:
    lattice = Lattice(MemoryStore(), dim=DIM)
    memory = memory_in(tmp_path) if own else TextMemory(lattice, HASHING)
    if not own:
        await lattice
    async with memory:
        anchor = (await memory.remember("heron")).anchor
        view = memory.at(anchor)
    await memory.aclose()
    for call in await use(memory, anchor):
        with pytest.raises(LatticeClosedError):
            await call()
    for call in (lambda: view.recall("x"), view.recent, lambda: view.get(anchor)):
        with pytest.raises(LatticeClosedError):
            await call()
    if not own:
        assert anchor in lattice, "a lattice that was handed in is closed by who opened it"
        await lattice.aclose()


async def test_used_before_it_is_open(tmp_path: Path) -> None:
    memory = memory_in(tmp_path)
    for call in (await use(memory, "0" * 16))[:-1]:
        with pytest.raises(LatticeClosedError, match="not open yet"):
            await call()
    assert list(tmp_path.iterdir()) == []
    await memory.aclose()


async def test_over_a_lattice_that_is_open_it_opens_by_itself() -> None:
    async with Lattice(MemoryStore(), dim=DIM) as lattice:
        memory = TextMemory(lattice, HASHING)
        await memory.remember("heron")
        assert await texts(memory, "heron") == ["heron"]


async def test_many_tasks_may_open_it_at_once(tmp_path: Path) -> None:
    memory = memory_in(tmp_path)
    opened_by_all = await asyncio.gather(*(memory._opened() for _ in range(8)))
    assert {*map(id, opened_by_all)} == {id(memory)}
    await memory.aclose()


async def test_another_loop_is_refused() -> None:
    async with opened() as memory:
        stored = await memory.remember("heron")

        def elsewhere(call: Callable[[], Awaitable[Any]]) -> None:
            async def main() -> None:
                with pytest.raises(WrongEventLoopError):
                    await call()

            asyncio.run(main())

        for call in (
            lambda: memory.recall("heron"),
            lambda: memory.remember("goose"),
            lambda: memory.forget(stored.anchor),
        ):
            await asyncio.to_thread(elsewhere, call)
        assert await texts(memory, "heron") == ["heron"]


async def test_closing_waits_for_recalls_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = await memory_in(tmp_path)
    await memory.remember("heron")
    held = hold_catch_ups(monkeypatch)
    recalls = [asyncio.create_task(memory.recall("heron")) for _ in range(5)]
    await held.begun.wait()
    closing = asyncio.create_task(memory.aclose())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not closing.done()
    held.go_on.set()
    await closing
    told = await asyncio.gather(*recalls, return_exceptions=True)
    assert all(isinstance(each, LatticeClosedError) or each[0].text == "heron" for each in told)
    assert any(isinstance(each, list) for each in told)


async def test_a_read_only_memory_remembers_nothing(tmp_path: Path) -> None:
    async with Lattice.open(tmp_path / "bare", dim=DIM) as lattice:
        await lattice.put([1.0] * DIM, None, {"text": "a heron"})
    async with memory_in(tmp_path / "bare", read_only=True) as memory:
        assert await texts(memory, "heron") == ["a heron"]
        assert "embedder" not in memory.lattice.pins
        for call in (memory.remember("x"), memory.remember_many(["x"]), memory.forget("0" * 16)):
            with pytest.raises(ReadOnlyStoreError):
                await call


# --- one embedder for ever -----------------------------------------------------------------------


class Other:
    """An embedder of another name."""

    id = "other"

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.embed = HashingEmbedder(dim).embed


@pytest.mark.parametrize("dim", [DIM, 2 * DIM])
@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("options", [{}, {"dim": DIM}, {"value_dim": 0}])
async def test_another_embedder_is_refused_by_name(
    tmp_path: Path, dim: int, read_only: bool, options: dict[str, int]
) -> None:
    async with memory_in(
        tmp_path, **({"value_dim": 0} if "value_dim" in options else {})
    ) as memory:
        await memory.remember("heron")

    with pytest.raises(PinnedError) as caught:
        await memory_in(tmp_path, embedder=Other(dim), read_only=read_only, **options)
    assert (caught.value.pinned, caught.value.given) == (HASHING.id, "other")
    async with memory_in(tmp_path, **options) as memory:
        assert await texts(memory, "heron") == ["heron"]


async def test_another_embedder_over_a_lattice_handed_in_leaves_it_open() -> None:
    async with Lattice(MemoryStore(), dim=DIM) as lattice:
        async with TextMemory(lattice, HASHING) as memory:
            await memory.remember("heron")
        with pytest.raises(PinnedError, match=HASHING.id):
            await TextMemory(lattice, HashingEmbedder(2 * DIM))
        await lattice.put([1.0] * DIM)
    async with Lattice(MemoryStore(), dim=DIM) as lattice:
        with pytest.raises(DimensionMismatchError, match=str(2 * DIM)):
            await TextMemory(lattice, HashingEmbedder(2 * DIM))
        assert lattice.pins == {}
        async with TextMemory(lattice, HASHING):
            assert lattice.pins == {"embedder": HASHING.id}


# --- openings that fail --------------------------------------------------------------------------


async def test_an_opening_that_fails_leaves_nothing_locked_and_may_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with memory_in(tmp_path) as memory:
        await memory.remember("heron")
    memory = memory_in(tmp_path)
    for error in (CorruptionError("file", 0, "is damaged"), ValueError("a defect")):
        with monkeypatch.context() as patch:
            patch.setattr(TextIndexer, "follow", failing(error))
            with pytest.raises(type(error)):
                await memory
        async with Lattice.open(tmp_path) as lattice:
            assert len(lattice) == 1
    async with memory:
        assert await texts(memory, "heron") == ["heron"]


def failing(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


async def test_a_locked_store_is_an_error_and_a_later_opening_works(tmp_path: Path) -> None:
    memory = memory_in(tmp_path)
    async with memory_in(tmp_path) as first:
        await first.remember("heron")
        with pytest.raises(StoreLockedError):
            await memory
    async with memory:
        assert await texts(memory, "heron") == ["heron"]


DYING = """
import asyncio, os, sys
from pmll_async.text import TextMemory
from pmll_async.text.index.keeper import TextIndexer

TextIndexer.follow = lambda *_: os._exit(3)
asyncio.run(TextMemory.open(sys.argv[1])._opened())
"""


async def test_a_process_that_dies_while_opening_leaves_nothing_locked(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DYING, str(tmp_path / "m")]
    died = await asyncio.to_thread(subprocess.run, command, check=False, timeout=60)
    assert died.returncode == 3
    async with TextMemory.open(tmp_path / "m") as memory:
        await memory.remember("heron")
        assert await texts(memory, "heron") == ["heron"]


async def test_the_embedder_works_in_other_threads() -> None:
    import threading

    embedder = FreeEmbedder()
    async with (
        Lattice(MemoryStore(), dim=embedder.dim) as lattice,
        TextMemory(lattice, embedder) as memory,
    ):
        await memory.remember("heron")
        await memory.remember_many(["goose", "swan"])
        await memory.recall("swan")
        assert threading.get_ident() not in embedder.threads
        asked = len(embedder.calls)
        await memory.recall("swan")
        assert len(embedder.calls) == asked, "a question asked again is not embedded again"


async def test_hashing_asks_nothing_of_the_embedder_to_recall() -> None:
    embedder = NotingEmbedder()
    async with (
        Lattice(MemoryStore(), dim=DIM) as lattice,
        TextMemory(lattice, embedder) as memory,
    ):
        await memory.remember("heron")
        await memory.recall("where is the heron")
        assert embedder.asked == ["heron"]
