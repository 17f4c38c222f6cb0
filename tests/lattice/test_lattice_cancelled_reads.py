"""Cancelled reads, openings and closings: nothing is lost, locked or left running."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from lattice_cancelling import CUT, WAYS, Way
from lattice_support import DIM, PATIENCE, Gate, SpyStore, axis, near, steps, topics

from pmll_async import Lattice, LatticeClosedError
from pmll_async.protocols import Clock, Store

STEPS = range(6)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every product counts as a large one, which belongs in a worker thread."""
    monkeypatch.setattr("pmll_async.engine.queries.batcher.SMALL_PRODUCT", -1)
    monkeypatch.setattr("pmll_async.indexes.exact.SMALL_PRODUCT", -1)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_a_query_cut_at_any_step_disturbs_no_other(lattice: Lattice, way: Way) -> None:
    async with lattice:
        await lattice.put(axis(0), None, {"topic": "a"})
        await lattice.put(near(0, 0.5), None, {"topic": "b"})
        for step in STEPS:
            now = asyncio.Event()
            cut = asyncio.create_task(way(lambda: lattice.query(axis(0), k=1), now))
            others = [asyncio.create_task(lattice.query(axis(0), k=k)) for k in (1, 2)]
            await steps(step)
            now.set()
            told = await cut
            assert told == CUT or told[0].context["topic"] == "a"
            assert [len(await other) for other in others] == [1, 2]


@pytest.mark.usefixtures("large")
async def test_a_query_cut_while_it_reads_leaves_the_others_at_work(
    lattice: Lattice, store: SpyStore
) -> None:
    gate = Gate()
    async with lattice:
        await lattice.put(axis(0))
        store.before["read"] = gate
        cut = asyncio.create_task(lattice.query(axis(0)))
        await gate.arrival()
        waiting = asyncio.create_task(lattice.query(axis(0)))
        await steps(3)
        cut.cancel()
        await steps(3)
        gate.open()
        assert len(await waiting) == 1
        assert cut.cancelled()


async def test_a_rewind_cut_while_it_reads_loses_no_line(lattice: Lattice, store: SpyStore) -> None:
    async with lattice:
        for number in range(5):
            await lattice.note({"topic": number})
        gate = Gate()
        store.before["read"] = gate
        lines = lattice.rewind()
        cut = asyncio.ensure_future(anext(lines))
        await gate.arrival()
        cut.cancel()
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await cut
        assert [line.context["topic"] async for line in lines] == [4, 3, 2, 1, 0]


async def test_a_rewind_with_a_limit_cut_while_it_reads_keeps_its_limit(
    lattice: Lattice, store: SpyStore
) -> None:
    async with lattice:
        for number in range(5):
            await lattice.note({"topic": number})
        gate = Gate()
        store.before["read"] = gate
        lines = lattice.rewind(limit=3)
        cut = asyncio.ensure_future(anext(lines))
        await gate.arrival()
        cut.cancel()
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await cut
        assert [line.context["topic"] async for line in lines] == [4, 3, 2]


def again(store: SpyStore, new_store: Callable[[], Store], clock: Clock) -> Lattice:
    """A second lattice on the same bytes."""
    inner = store.inner if store.inner.path == "memory" else new_store()
    return Lattice(inner, dim=DIM, clock=clock)


async def released(store: SpyStore, act: Callable[[], None]) -> None:
    """Act, then wait until the store has been closed."""
    closed = threading.Event()
    store.after["close"] = closed.set
    act()
    assert await asyncio.to_thread(closed.wait, PATIENCE), "the store was kept"


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_opening_cut_lets_go_of_the_store(
    lattice: Lattice,
    store: SpyStore,
    new_store: Callable[[], Store],
    clock: Clock,
    moment: str,
    way: Way,
) -> None:
    gate, now = Gate(), asyncio.Event()
    getattr(store, moment)["open"] = gate
    cut = asyncio.create_task(way(lattice.__aenter__, now))
    await gate.arrival()
    now.set()
    assert await cut == CUT
    await released(store, gate.open)
    async with again(store, new_store, clock) as other:
        await other.put(axis(0))


async def test_an_opening_cut_at_any_step_lets_go_of_the_store(
    store: SpyStore, clock: Clock
) -> None:
    for step in STEPS:
        store.calls.clear()
        lattice = Lattice(store, dim=DIM, clock=clock)
        opening = asyncio.ensure_future(lattice.__aenter__())
        await steps(step)
        opening.cancel()
        await asyncio.wait([opening])
        # What a cut opening left is undone by another thread: closing waits for that.
        async with asyncio.timeout(PATIENCE):
            await lattice.aclose()
        assert store.calls.count("close") == store.calls.count("open")
        async with Lattice(store, clock=clock, dim=DIM) as other:
            await other.note({"topic": step})
            assert await topics(other) == list(range(step + 1))


async def test_after_a_cut_opening_the_same_lattice_can_be_opened(
    lattice: Lattice, store: SpyStore
) -> None:
    gate = Gate()
    store.after["open"] = gate
    cut = asyncio.ensure_future(lattice.__aenter__())
    await gate.arrival()
    cut.cancel()
    await steps(3)
    second = asyncio.ensure_future(lattice.__aenter__())
    await steps(50)
    gate.open()
    async with await second:
        await lattice.put(axis(0), None, {"topic": "a"})
        assert await topics(lattice) == ["a"]
    with pytest.raises(asyncio.CancelledError):
        await cut


async def test_closing_after_a_cut_opening_waits_for_the_store(
    lattice: Lattice, store: SpyStore, new_store: Callable[[], Store], clock: Clock
) -> None:
    gate = Gate()
    store.after["open"] = gate
    cut = asyncio.ensure_future(lattice.__aenter__())
    await gate.arrival()
    cut.cancel()
    await steps(3)
    closing = asyncio.ensure_future(lattice.aclose())
    await steps(3)
    gate.open()
    await closing
    assert "close" in store.calls, "closed before the store was"
    with pytest.raises(asyncio.CancelledError):
        await cut
    async with again(store, new_store, clock) as other:
        await other.put(axis(0))


async def test_a_second_opener_is_not_cut_with_the_first(lattice: Lattice, store: SpyStore) -> None:
    gate = Gate()
    store.before["load"] = gate
    first = asyncio.ensure_future(lattice.__aenter__())
    await gate.arrival()
    second = asyncio.ensure_future(lattice.__aenter__())
    await steps(2)
    first.cancel()
    await steps(50)
    gate.open()
    async with await second:
        await lattice.put(axis(0))
    with pytest.raises(asyncio.CancelledError):
        await first


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_a_closing_cut_goes_on_and_can_be_repeated(
    lattice: Lattice, store: SpyStore, way: Way
) -> None:
    gate, now = Gate(), asyncio.Event()
    await lattice
    await lattice.put(axis(0))
    store.before["close"] = gate
    cut = asyncio.create_task(way(lattice.aclose, now))
    await gate.arrival()
    now.set()
    assert await cut == CUT
    with pytest.raises(LatticeClosedError):
        await lattice.put(axis(0))
    gate.open()
    await lattice.aclose()
    assert store.calls.count("close") == 1


async def test_a_closing_cut_at_any_step_can_be_repeated(store: SpyStore, clock: Clock) -> None:
    for step in STEPS:
        lattice = await Lattice(store, dim=DIM, clock=clock)
        await lattice.note({"topic": step})
        closing = asyncio.create_task(lattice.aclose())
        await steps(step)
        closing.cancel()
        await asyncio.wait([closing])
        await lattice.aclose()
        with pytest.raises(LatticeClosedError):
            await lattice.note({})
    async with Lattice(store, clock=clock) as lattice:
        assert await topics(lattice) == list(STEPS)
