"""A cancelled write is wholly there or wholly absent, and the lattice goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from lattice_cancelling import CUT, WAYS, Way
from lattice_support import Gate, SpyStore, axis, chain_of, proposing, steps, topics

from pmll_async import Candidate, Lattice, StaleAnchorError

STEPS = range(6)
Write = Callable[[Lattice], Awaitable[Any]]


def lines(count: int) -> list[Candidate]:
    return [Candidate(key=axis(i), context={"topic": f"x{i}"}) for i in range(count)]


async def put(lattice: Lattice) -> Any:
    return await lattice.put(axis(0), None, {"topic": "x0"}, idempotency_key="k")


async def note(lattice: Lattice) -> Any:
    return await lattice.note({"topic": "x0"}, idempotency_key="k")


async def put_many(lattice: Lattice) -> Any:
    return await lattice.put_many(lines(3))


async def race(lattice: Lattice) -> Any:
    racers = [proposing(line) for line in lines(3)]
    return await lattice.race(racers, query=axis(0), idempotency_key="k")


async def decay(lattice: Lattice) -> Any:
    return await lattice.decay(lattice.head, 0.5)


async def forget(lattice: Lattice) -> Any:
    return await lattice.forget(lattice.head)


async def rollback(lattice: Lattice) -> Any:
    return await lattice.rollback(0)


# What each adds to the chain when it is carried out, and how many records it makes.
WRITES: dict[str, tuple[Write, list[str], int]] = {
    "put": (put, ["start", "x0"], 1),
    "note": (note, ["start", "x0"], 1),
    "put_many": (put_many, ["start", "x0", "x1", "x2"], 3),
    "race": (race, ["start", "x0"], 1),
    "decay": (decay, ["start"], 1),
    "forget": (forget, ["start"], 1),
    "rollback": (rollback, [], 1),
}


async def whole_or_absent(lattice: Lattice, told: Any, after: list[str], records: int) -> bool:
    """Whether the write is there, having seen that it is there wholly or not at all."""
    await lattice.note({"topic": "next"})
    there = lattice.revision == 2 + records
    assert there or lattice.revision == 2
    assert there or told == CUT, "a caller was told of what is not there"
    assert await topics(lattice) == ([*after, "next"] if there else ["start", "next"])
    return there


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", WRITES)
async def test_a_write_cut_at_any_step_is_whole_or_absent(
    lattice: Lattice, name: str, way: Way
) -> None:
    write, after, records = WRITES[name]
    async with lattice:
        for step in STEPS:
            await lattice.rollback(0)
            base = lattice.revision
            await lattice.put(axis(7), None, {"topic": "start"})
            now = asyncio.Event()
            cut = asyncio.create_task(way(lambda: write(lattice), now))
            await steps(step)
            now.set()
            told = await cut
            await lattice.note({"topic": "next"})
            there = lattice.revision == base + 2 + records
            assert there or lattice.revision == base + 2
            assert there or told == CUT
            assert await topics(lattice) == ([*after, "next"] if there else ["start", "next"])


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("name", WRITES)
async def test_a_write_cut_once_it_is_taken_is_there(
    lattice: Lattice, store: SpyStore, name: str, moment: str, way: Way
) -> None:
    write, after, records = WRITES[name]
    gate, now = Gate(), asyncio.Event()
    async with lattice:
        await lattice.put(axis(7), None, {"topic": "start"})
        getattr(store, moment)["append"] = gate
        cut = asyncio.create_task(way(lambda: write(lattice), now))
        await gate.arrival()
        now.set()
        assert await cut == CUT
        assert lattice.revision == 1, "shown before it was durable"
        gate.open()
        assert await whole_or_absent(lattice, CUT, after, records)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", ["put", "note", "put_many", "rollback"])
async def test_a_write_cut_before_it_is_taken_leaves_nothing(
    lattice: Lattice, store: SpyStore, name: str, way: Way
) -> None:
    write, after, records = WRITES[name]
    gate, now = Gate(), asyncio.Event()
    async with lattice:
        store.before["append"] = gate
        first = asyncio.create_task(lattice.put(axis(7), None, {"topic": "start"}))
        await gate.arrival()
        # The trace is busy with `first`, so that this ticket waits until it is withdrawn.
        cut = asyncio.create_task(way(lambda: write(lattice), now))
        await steps(3)
        now.set()
        assert await cut == CUT
        gate.open()
        await first
        assert not await whole_or_absent(lattice, CUT, after, records)


async def test_a_timeout_of_wait_for_tears_nothing(lattice: Lattice, store: SpyStore) -> None:
    gate = Gate()
    async with lattice:
        store.before["append"] = gate
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(put(lattice), 0.01)
        gate.open()
        assert await put(lattice) == lattice.head, "the key tells that it was stored"
        assert await topics(lattice) == ["x0"]


async def test_of_many_cut_writers_each_line_is_whole_and_the_chain_is_one(
    lattice: Lattice,
) -> None:
    async with lattice:
        tasks = [
            asyncio.create_task(lattice.put(axis(i % 8), None, {"topic": i})) for i in range(64)
        ]
        for number, task in enumerate(tasks):
            if number % 3 == 0:
                task.cancel()
            if number % 7 == 0:
                await asyncio.sleep(0)
        told = await asyncio.gather(*tasks, return_exceptions=True)
        anchors = [anchor for anchor in told if isinstance(anchor, str)]
        there = {line.anchor for line in await chain_of(lattice)}
        assert set(anchors) <= there
        assert len(anchors) == len(set(anchors))
        assert len([t for t in told if isinstance(t, asyncio.CancelledError)]) + len(anchors) == 64


async def test_a_writer_cut_beside_others_fails_none_of_them(
    lattice: Lattice, store: SpyStore
) -> None:
    gate = Gate()
    async with lattice:
        store.before["append"] = gate
        first = asyncio.create_task(lattice.put(axis(0), None, {"topic": 0}))
        await gate.arrival()
        waiting = [
            asyncio.create_task(lattice.put(axis(i), None, {"topic": i})) for i in range(1, 6)
        ]
        await steps(2)
        waiting[2].cancel()
        await steps(2)
        gate.open()
        await asyncio.gather(first, *waiting, return_exceptions=True)
        assert waiting[2].cancelled()
        assert await topics(lattice) == [0, 1, 2, 4, 5]


async def test_a_cut_put_many_keeps_whole_batches(lattice: Lattice, store: SpyStore) -> None:
    gate = Gate()
    appended = []

    def third() -> None:
        appended.append(1)
        if len(appended) == 3:
            gate()

    async with lattice:
        store.before["append"] = third
        cut = asyncio.create_task(lattice.put_many(lines(8), batch=2))
        await gate.arrival()
        cut.cancel()
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await cut
        await lattice.note({"topic": "next"})
        assert await topics(lattice) == [*(f"x{i}" for i in range(6)), "next"]


async def test_a_cut_put_many_closes_the_generators_it_made(lattice: Lattice) -> None:
    started = asyncio.Event()

    async def endless() -> Any:
        yield lines(1)[0]
        started.set()
        await asyncio.Event().wait()

    async with lattice:
        cut = asyncio.create_task(lattice.put_many(endless()))
        await started.wait()
        cut.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cut
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert len(lattice) == 0


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_a_cut_race_writes_nothing_while_candidates_run(lattice: Lattice, way: Way) -> None:
    running, ended, now = asyncio.Event(), [], asyncio.Event()

    async def patient(view: object) -> Candidate:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)
        raise AssertionError

    async with lattice:
        racers = [patient, proposing(lines(1)[0])]
        cut = asyncio.create_task(way(lambda: lattice.race(racers), now))
        await running.wait()
        now.set()
        assert await cut == CUT
        assert ended == [True], "a candidate outlived its race"
        await lattice.note({"topic": "next"})
        assert await topics(lattice) == ["next"]


async def test_a_cut_race_is_found_again_by_its_key(lattice: Lattice, store: SpyStore) -> None:
    gate = Gate()
    async with lattice:
        store.after["append"] = gate
        cut = asyncio.create_task(race(lattice))
        await gate.arrival()
        cut.cancel()
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await cut
        outcome = await race(lattice)
        assert lattice.revision == 1
        assert outcome.winner.anchor == lattice.head


async def test_cutting_a_stale_put_is_no_matter_to_the_next(lattice: Lattice) -> None:
    async with lattice:
        head = await lattice.put(axis(0))
        for step in STEPS:
            stale = asyncio.create_task(lattice.put(axis(1), None, None, "1" * 16))
            await steps(step)
            stale.cancel()
            with pytest.raises((asyncio.CancelledError, StaleAnchorError)):
                await stale
        assert lattice.head == head
