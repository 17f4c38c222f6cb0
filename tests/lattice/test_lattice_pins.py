"""Facts that are fixed for ever: there or not there, the same wherever they are asked for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lattice_cancelling import CUT, WAYS, Way
from lattice_support import DIM, Gate, SpyStore, axis, chain_of, steps

from pmll_async import (
    InvalidInputError,
    Lattice,
    LatticeClosedError,
    PinnedError,
    PmllError,
    ReadOnlyStoreError,
    StoreFullError,
)
from pmll_async.protocols import Store


async def test_a_pin_is_there_after_reopening(new_store: Callable[[], Store]) -> None:
    store = new_store()
    async with Lattice(store, dim=DIM) as lattice:
        assert lattice.pins == {}
        await lattice.put(axis(0))
        digest = lattice.digest
        assert await lattice.pin("embedder", "e1") is None
        await lattice.pin("lang", "")
        assert lattice.pins == {"embedder": "e1", "lang": ""}
        assert (lattice.digest, lattice.revision) == (digest, 1)
    again = store if store.path == "memory" else new_store()
    async with Lattice(again) as lattice:
        assert lattice.pins == {"embedder": "e1", "lang": ""}
        assert lattice.digest == digest


async def test_another_value_is_refused_and_the_same_is_nothing(
    lattice: Lattice, store: SpyStore
) -> None:
    async with lattice:
        await lattice.pin("embedder", "e1")
        store.calls.clear()
        await lattice.pin("embedder", "e1")
        with pytest.raises(PinnedError) as caught:
            await lattice.pin("embedder", "e2")
        assert store.calls == []
        assert lattice.pins == {"embedder": "e1"}
    error = caught.value
    assert isinstance(error, PmllError)
    assert isinstance(error, ValueError)
    assert (error.name, error.pinned, error.given) == ("embedder", "e1", "e2")
    told = "'embedder' is pinned to 'e1' here and cannot become 'e2'; use 'e1', or a new store"
    assert str(error) == told


async def test_what_is_shown_cannot_be_changed(lattice: Lattice) -> None:
    async with lattice:
        await lattice.pin("embedder", "e1")
        pins: Any = lattice.pins
        with pytest.raises(TypeError):
            pins["embedder"] = "e2"
        await lattice.pin("other", "o")
        assert pins == {"embedder": "e1"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "e1"),
        (None, "e1"),
        (1, "e1"),
        (b"embedder", "e1"),
        ("x" * 129, "e1"),
        ("\ud800", "e1"),
        ("embedder", None),
        ("embedder", 1.5),
        ("embedder", "x" * 4097),
        ("embedder", "\udfff"),
    ],
)
async def test_what_is_no_pin(lattice: Lattice, store: SpyStore, name: Any, value: Any) -> None:
    async with lattice:
        with pytest.raises(InvalidInputError, match="of a pin"):
            await lattice.pin(name, value)
        await lattice.pin("x" * 128, "x" * 4096)
        assert len(lattice.pins) == 1


async def test_pins_are_made_between_commits(lattice: Lattice, store: SpyStore) -> None:
    """In the threads of commits, never at the same time as one, whatever order they come in."""
    threads: set[str] = set()
    under_way = threading.Lock()

    def begin() -> None:
        assert under_way.acquire(blocking=False)
        threads.add(threading.current_thread().name)

    for name in ("pin", "append"):
        store.before[name], store.after[name] = begin, under_way.release
    async with lattice:
        await asyncio.gather(
            *(lattice.put(axis(i % DIM)) for i in range(40)),
            *(lattice.pin(f"fact {i}", str(i)) for i in range(20)),
            *(lattice.put(axis(i % DIM)) for i in range(40)),
        )
        assert lattice.pins == {f"fact {i}": str(i) for i in range(20)}
        assert len(await chain_of(lattice)) == 80
    assert threads == {"pmll-commit"}


async def test_of_two_values_at_once_the_first_is_pinned(lattice: Lattice) -> None:
    async with lattice:
        first, second, third = await asyncio.gather(
            *(lattice.pin("embedder", value) for value in ("e1", "e2", "e1")),
            return_exceptions=True,
        )
        assert (first, third) == (None, None)
        assert isinstance(second, PinnedError)
        assert lattice.pins == {"embedder": "e1"}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_a_pin_cut_at_any_step_is_there_or_not(lattice: Lattice, way: Way) -> None:
    async with lattice:
        for step in range(6):
            now = asyncio.Event()
            name = f"fact {step}"
            cut = asyncio.create_task(way(lambda name=name: lattice.pin(name, "x"), now))
            await steps(step)
            now.set()
            told = await cut
            await lattice.note({})
            assert name in lattice.pins or told == CUT
            await lattice.pin(name, "x" if name in lattice.pins else "y")


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_pin_cut_once_it_is_taken_is_there(
    lattice: Lattice, store: SpyStore, moment: str, way: Way
) -> None:
    gate, now = Gate(), asyncio.Event()
    async with lattice:
        getattr(store, moment)["pin"] = gate
        cut = asyncio.create_task(way(lambda: lattice.pin("embedder", "e1"), now))
        await gate.arrival()
        now.set()
        assert await cut == CUT
        assert lattice.pins == {}, "shown before it was durable"
        gate.open()
        await lattice.note({})
        assert lattice.pins == {"embedder": "e1"}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_a_pin_cut_before_it_is_taken_leaves_nothing(
    lattice: Lattice, store: SpyStore, way: Way
) -> None:
    gate, now = Gate(), asyncio.Event()
    async with lattice:
        store.before["append"] = gate
        first = asyncio.create_task(lattice.put(axis(0)))
        await gate.arrival()
        cut = asyncio.create_task(way(lambda: lattice.pin("embedder", "e1"), now))
        await steps(3)
        now.set()
        assert await cut == CUT
        gate.open()
        await first
        await lattice.note({})
        assert lattice.pins == {}
        assert "pin" not in store.calls


async def test_closing_finishes_a_pin_that_was_accepted(lattice: Lattice, store: SpyStore) -> None:
    gate = Gate()
    store.before["pin"] = gate
    await lattice
    pinning = asyncio.create_task(lattice.pin("embedder", "e1"))
    await gate.arrival()
    closing = asyncio.create_task(lattice.aclose())
    await steps(5)
    gate.open()
    await pinning
    await closing
    assert store.calls[-2:] == ["pin", "close"]
    with pytest.raises(LatticeClosedError):
        await lattice.pin("embedder", "e1")


async def test_a_full_store_pins_nothing_and_goes_on(lattice: Lattice, store: SpyStore) -> None:
    def full() -> None:
        raise StoreFullError(store.path)

    async with lattice:
        store.before["pin"] = full
        with pytest.raises(StoreFullError):
            await lattice.pin("embedder", "e1")
        assert lattice.pins == {}
        await lattice.put(axis(0))
        del store.before["pin"]
        await lattice.pin("embedder", "e2")
        assert lattice.pins == {"embedder": "e2"}


async def test_a_read_only_lattice_checks_and_never_pins(tmp_path: Path) -> None:
    async with Lattice.open(tmp_path, dim=DIM) as writer:
        await writer.pin("embedder", "e1")
        async with Lattice.open(tmp_path, read_only=True) as follower:
            await writer.pin("later", "x")
            await writer.put(axis(0))
            assert len(await follower.query(axis(0))) == 1
            assert follower.pins == {"embedder": "e1"}
            await follower.pin("embedder", "e1")
            with pytest.raises(PinnedError):
                await follower.pin("embedder", "e2")
            with pytest.raises(ReadOnlyStoreError):
                await follower.pin("later", "x")
    async with Lattice.open(tmp_path, read_only=True) as follower:
        assert follower.pins == {"embedder": "e1", "later": "x"}
