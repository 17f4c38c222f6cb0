"""What a lattice tells about its work: sums, and each batch for who observes it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import FrozenInstanceError, fields
from time import perf_counter

import pytest
from lattice_support import DIM, PATIENCE, Gate, SpyStore, axis, proposing, steps
from structlog.testing import capture_logs

from pmll_async import (
    Batch,
    Candidate,
    CommitBatch,
    Lattice,
    LatticeStats,
    PmllError,
    QueryBatch,
    StaleAnchorError,
)
from pmll_async.engine.events.stats import CommitSums, QuerySums


def commits(batches: list[Batch]) -> list[CommitBatch]:
    return [batch for batch in batches if isinstance(batch, CommitBatch)]


async def test_every_kind_of_record_is_counted(lattice: Lattice) -> None:
    assert lattice.stats == LatticeStats()
    async with lattice:
        a = await lattice.put(axis(0))
        await lattice.put(axis(1), revises=(a,))
        await lattice.put_many(Candidate(key=axis(i)) for i in range(2, 5))
        await lattice.note({})
        await lattice.race([proposing(Candidate(key=axis(i))) for i in (5, 6)])
        await lattice.decay(a, 0.5)
        await lattice.forget(a)
        await lattice.rollback(2)
        stats = lattice.stats
        kinds = (stats.puts, stats.notes, stats.races, stats.decays, stats.forgets, stats.rollbacks)
        assert kinds == (5, 1, 1, 1, 1, 1)
        assert stats.records == lattice.revision == 10
        assert (stats.batches, stats.largest_batch, stats.refused) == (8, 3, 0)


async def test_what_stores_nothing_is_no_record(lattice: Lattice) -> None:
    async with lattice:
        await lattice.put(axis(0), idempotency_key="k")
        await lattice.put(axis(0), idempotency_key="k")
        with pytest.raises(StaleAnchorError):
            await lattice.put(axis(1), prev_anchor="1" * 16)
        stats = lattice.stats
        assert (stats.records, stats.batches, stats.refused) == (1, 1, 1)


async def test_a_failed_write_refuses_all_of_its_batch(lattice: Lattice, store: SpyStore) -> None:
    gate = Gate()

    def fail() -> None:
        raise OSError("no such disk")

    async with lattice:
        store.before["append"] = gate
        first = asyncio.create_task(lattice.note({}))
        await gate.arrival()
        rest = [asyncio.create_task(lattice.note({"n": n})) for n in range(3)]
        await steps(2)
        store.before["append"] = fail
        gate.open()
        await first
        async with asyncio.timeout(PATIENCE):
            told = await asyncio.gather(*rest, return_exceptions=True)
        assert all(isinstance(error, OSError) for error in told)
        assert (lattice.stats.notes, lattice.stats.refused) == (1, 3)


async def test_the_seconds_are_those_that_calls_waited_and_batches_took(
    lattice: Lattice, store: SpyStore
) -> None:
    gate, batches = Gate(), list[Batch]()
    async with lattice:
        lattice.observe(batches.append)
        store.before["append"] = gate
        began = perf_counter()
        first = asyncio.create_task(lattice.note({}))
        await gate.arrival()
        held = perf_counter()
        rest = [asyncio.create_task(lattice.note({"n": n})) for n in range(3)]
        await steps(2)
        opened = perf_counter()
        gate.open()
        await asyncio.gather(first, *rest)
        ended, stats = perf_counter(), lattice.stats
        one, three = commits(batches)
        assert [one.calls, three.calls] == [1, 3]
        assert one.writing >= opened - held
        assert three.waited <= stats.waiting - one.waited <= 3 * three.waited
        assert began <= one.began < three.began < ended
        assert three.began >= one.began + one.deciding + one.writing
        assert stats.writing == one.writing + three.writing
        assert stats.deciding == one.deciding + three.deciding
        assert stats.deciding + stats.writing < ended - began


async def test_an_observer_hears_of_each_batch_before_its_callers_go_on(lattice: Lattice) -> None:
    batches = list[Batch]()
    lattice.observe(batches.append)
    async with lattice:
        for revision in range(1, 4):
            anchor = await lattice.note({"n": revision})
            assert commits(batches)[-1].revision == lattice.stats.records == revision
            assert commits(batches)[-1].anchors == (anchor,)
        assert len(batches) == 3


async def test_a_batch_knows_the_revision_of_each_of_its_lines(lattice: Lattice) -> None:
    batches = list[Batch]()
    async with lattice:
        a = await lattice.put(axis(0))
        lattice.observe(batches.append)
        await lattice.put_many(Candidate(key=axis(i)) for i in range(1, 4))
        outcome = await lattice.race([proposing(Candidate(key=axis(i))) for i in (5, 6)])
        await lattice.decay(a, 0.5)
        many, race, decay = commits(batches)
        assert [many.revision_of(anchor) for anchor in many.anchors] == [2, 3, 4]
        assert race.revision_of(outcome.winner.anchor) == 5
        assert race.revision_of(outcome.losers[0].anchor) is None
        assert many.revision_of(outcome.winner.anchor) is None
        assert (decay.anchors, decay.revision) == (("",), 6)


async def test_queries_are_counted_however_they_are_answered(lattice: Lattice) -> None:
    batches = list[Batch]()
    async with lattice:
        await lattice.put(axis(0))
        lattice.observe(batches.append)
        await lattice.query(axis(0))
        await lattice.bias_vector(axis(0))
        alone = lattice.stats
        assert (alone.queries, alone.query_batches) == (2, 2)
        # Those with a filter are for the worker thread; what comes meanwhile waits together.
        filtered = [lattice.query(axis(0), where={"a": 1}) for _ in range(5)]
        await asyncio.gather(*filtered)
        stats = lattice.stats
        assert (stats.queries, stats.query_batches) == (7, 4)
        told = [batch for batch in batches if isinstance(batch, QueryBatch)]
        assert [batch.queries for batch in told] == [1, 1, 1, 4]
        assert sum(batch.answering for batch in told) == pytest.approx(stats.answering)
        assert stats.answering > alone.answering > 0


async def test_who_stops_observing_hears_no_more(lattice: Lattice) -> None:
    batches = list[Batch]()
    async with lattice:
        stops = [lattice.observe(batches.append) for _ in range(2)]
        await lattice.note({})
        stops[0]()
        stops[0]()
        await lattice.note({})
        stops[1]()
        await lattice.note({})
    assert [batch.revision for batch in commits(batches)] == [1, 1, 2]


async def test_an_observer_that_raises_harms_nobody(lattice: Lattice) -> None:
    batches = list[Batch]()

    def fail(batch: Batch) -> None:
        raise ValueError("mine")

    async with lattice:
        lattice.observe(fail)
        lattice.observe(batches.append)
        with capture_logs() as logs:
            await lattice.put(axis(0))
            assert len(await lattice.query(axis(0))) == 1
        assert [entry["event"] for entry in logs] == ["lattice.observer_failed"] * 2
        assert len(batches) == 2


async def test_the_sums_stay_after_closing_and_in_other_threads(lattice: Lattice) -> None:
    async with lattice:
        await lattice.put(axis(0))
        assert await asyncio.to_thread(lambda: lattice.stats.puts) == 1
    assert lattice.stats.puts == 1
    with pytest.raises(PmllError):
        await lattice.put(axis(1))


async def test_another_thread_never_sees_half_a_batch(lattice: Lattice) -> None:
    stop, torn = threading.Event(), list[LatticeStats]()

    def watch() -> None:
        while not stop.is_set():
            stats = lattice.stats
            if stats.puts != DIM * stats.batches:
                torn.append(stats)

    async with lattice:
        watching = asyncio.create_task(asyncio.to_thread(watch))
        try:
            for _ in range(50):
                await lattice.put_many(Candidate(key=axis(i)) for i in range(DIM))
        finally:
            stop.set()
            await watching
        assert (torn, lattice.stats.puts) == ([], 50 * DIM)


def test_stats_are_made_of_the_sums_in_their_order() -> None:
    names = [field.name for field in fields(LatticeStats)]
    assert names == [*CommitSums._fields, *QuerySums._fields]
    with pytest.raises(FrozenInstanceError):
        LatticeStats().puts = 1  # type: ignore[misc]  # that is the point


def test_a_sync_that_comes_later_is_part_of_writing() -> None:
    sums = CommitSums(writing=1.0).with_sync(0.5)
    assert sums == CommitSums(writing=1.5)
