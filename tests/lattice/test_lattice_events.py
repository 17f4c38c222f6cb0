"""Commit events and named locks."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from lattice_support import DIM, PATIENCE, Gate, SpyStore, axis, proposing, steps

from pmll_async import (
    Candidate,
    CommitEvent,
    EventsMissed,
    InvalidInputError,
    Lattice,
    LineDecayed,
    LineForgotten,
    LinePut,
    RaceDecided,
    RolledBack,
)
from pmll_async.records.record import PutRecord


async def take(events: Any, count: int) -> list[CommitEvent]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(events) for _ in range(count)]


async def test_every_commit_is_told_in_order(lattice: Lattice) -> None:
    async with lattice:
        await lattice.put(axis(7))
        async with lattice.events() as events:
            a = await lattice.put(axis(0))
            b = await lattice.put(axis(1), revises=(a,))
            n = await lattice.note({})
            outcome = await lattice.race([proposing(Candidate(key=axis(i))) for i in (2, 3)])
            await lattice.decay(a, 0.5)
            await lattice.forget(a)
            await lattice.rollback(2)
            assert await take(events, 7) == [
                LinePut(2, a, "line"),
                LinePut(3, b, "line", (a,)),
                LinePut(4, n, "note"),
                RaceDecided(5, outcome.winner.anchor, (outcome.losers[0].anchor,)),
                LineDecayed(6, a, 0.5),
                LineForgotten(7, a),
                RolledBack(8, 2),
            ]


async def test_one_batch_is_told_line_by_line(lattice: Lattice) -> None:
    async with lattice, lattice.events() as events:
        await lattice.put_many(Candidate(key=axis(i)) for i in range(DIM))
        told = await take(events, DIM)
        assert [event.revision for event in told] == list(range(1, DIM + 1))


async def test_what_fails_or_repeats_is_not_told(lattice: Lattice) -> None:
    async with lattice, lattice.events() as events:
        await lattice.put(axis(0), idempotency_key="k")
        await lattice.put(axis(0), idempotency_key="k")
        with pytest.raises(Exception, match="head"):
            await lattice.put(axis(1), None, None, "1" * 16)
        await lattice.note({})
        assert [event.revision for event in await take(events, 2)] == [1, 2]


async def test_a_listener_hears_of_a_commit_before_its_caller_goes_on(lattice: Lattice) -> None:
    async with lattice, lattice.events() as events:
        for revision in range(1, 4):
            await lattice.note({})
            assert (await take(events, 1))[0].revision == revision


async def test_a_slow_reader_is_told_how_many_it_missed(lattice: Lattice) -> None:
    async with lattice, lattice.events(buffer=3) as events:
        for number in range(10):
            await lattice.note({"n": number})
        missed, *kept = await take(events, 4)
        assert missed == EventsMissed(7)
        assert [event.revision for event in kept] == [8, 9, 10]
        await lattice.note({})
        assert (await take(events, 1))[0].revision == 11


async def test_of_a_large_batch_only_what_fits_is_made(
    lattice: Lattice, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    event = PutRecord.event

    def counting(record: PutRecord, revision: int) -> Any:
        made.append(revision)
        return event(record, revision)

    monkeypatch.setattr(PutRecord, "event", counting)
    async with lattice, lattice.events(buffer=5) as some, lattice.events(buffer=3) as fewer:
        await lattice.note({})
        await lattice.put_many([Candidate(key=axis(0), context={"n": n}) for n in range(40)])
        assert made == [1, *range(37, 42)]
        for events, missed in ((some, 36), (fewer, 38)):
            first, *others = await take(events, 42 - missed)
            assert first == EventsMissed(missed)
            assert [event.revision for event in others] == list(range(missed + 1, 42))


async def test_listeners_are_independent_and_hold_nobody_up(lattice: Lattice) -> None:
    async with lattice, lattice.events() as all_events, lattice.events(buffer=1) as last:
        for number in range(5):
            await lattice.note({"n": number})
        assert len(await take(all_events, 5)) == 5
        assert (await take(last, 2))[0] == EventsMissed(4)


async def test_events_end_when_the_lattice_closes(lattice: Lattice) -> None:
    await lattice
    async with lattice.events() as events:
        listening = asyncio.create_task(_all(events))
        await steps(2)
        await lattice.note({})
        await lattice.aclose()
        async with asyncio.timeout(PATIENCE):
            assert len(await listening) == 1
        assert [event async for event in events] == []


async def _all(events: Any) -> list[CommitEvent]:
    return [event async for event in events]


async def test_what_was_accepted_is_told_before_the_end(lattice: Lattice, store: SpyStore) -> None:
    gate = Gate()
    await lattice
    async with lattice.events() as events:
        store.before["append"] = gate
        put = asyncio.create_task(lattice.note({}))
        await gate.arrival()
        closing = asyncio.create_task(lattice.aclose())
        await steps(3)
        gate.open()
        await closing
        assert len(await _all(events)) == 1
        await put


async def test_leaving_the_block_ends_the_stream(lattice: Lattice) -> None:
    async with lattice:
        async with lattice.events() as events:
            await lattice.note({})
        await lattice.note({})
        assert len(await _all(events)) == 1


async def test_a_cancelled_listener_loses_nothing(lattice: Lattice) -> None:
    async with lattice, lattice.events() as events:
        for step in range(4):
            waiting = asyncio.ensure_future(anext(events))
            await steps(step)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await lattice.note({})
        assert len(await take(events, 1)) == 1


@pytest.mark.parametrize("size", [0, -1, 1.5, None])
async def test_a_buffer_holds_at_least_one(lattice: Lattice, size: Any) -> None:
    async with lattice:
        with pytest.raises(InvalidInputError):
            lattice.events(buffer=size)


async def test_a_lock_is_one_by_name_and_fair(lattice: Lattice) -> None:
    order: list[int] = []

    async def work(number: int) -> None:
        async with lattice.lock("x"):
            order.append(number)
            await steps(2)
            assert order[-1] == number, "two were inside"

    async with lattice:
        await asyncio.gather(*(work(i) for i in range(10)))
        assert order == list(range(10))
        async with lattice.lock("x"), lattice.lock("y"), lattice.lock():
            assert lattice.lock("x").locked()
            assert not lattice.lock("z").locked()
        gc.collect()
        assert not lattice.lock("x").locked()


async def test_a_cancelled_waiter_gives_its_turn_away(lattice: Lattice) -> None:
    order: list[int] = []

    async def work(number: int) -> None:
        async with lattice.lock():
            order.append(number)

    async with lattice, asyncio.timeout(PATIENCE):
        async with lattice.lock():
            tasks = [asyncio.create_task(work(i)) for i in range(4)]
            await steps(2)
            tasks[0].cancel()
            tasks[2].cancel()
            await steps(2)
        # The turn may already have been handed to a task when it is cancelled.
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [1, 3]
        late = asyncio.create_task(work(9))
        holder = lattice.lock()
        await holder.acquire()
        await steps(2)
        holder.release()
        late.cancel()
        await asyncio.wait([late])
        await work(5)
        assert order[-1] == 5


async def test_read_modify_write_under_a_lock_loses_no_update(lattice: Lattice) -> None:
    async def add() -> None:
        async with lattice.lock("count"):
            newest = [line async for line in lattice.rewind(limit=1)]
            count = int(str(newest[0].context["count"])) if newest else 0
            await lattice.note({"count": count + 1}, lattice.head)

    async with lattice:
        await asyncio.gather(*(add() for _ in range(20)))
        assert (await lattice.get(lattice.head)).context["count"] == 20
