"""The trace when things go wrong in one of its turns, and what it commits together."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from lattice_support import DIM, PATIENCE, GuardedIndex, SpyStore, axis, steps, topics

from pmll_async import (
    DurabilityUnknownError,
    Lattice,
    LineNotFoundError,
    NotStoredError,
    StoreError,
    StoreFullError,
)
from pmll_async.engine.ledger.ledger import Ledger
from pmll_async.engine.trace import trace as trace_module
from pmll_async.engine.trace.trace import Trace
from pmll_async.protocols import Clock, Store
from pmll_async.records.record import PutRecord
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import GatedStore


class Broken(BaseException):
    """Not an Exception, as some extensions raise them."""


# --- what an append may raise ------------------------------------------------------------------


@pytest.mark.parametrize("error", [NotStoredError("disk", "not today"), StoreFullError("disk")])
async def test_after_what_was_not_stored_writing_goes_on(error: Exception) -> None:
    store = GatedStore(MemoryStore())
    async with Lattice(store, dim=DIM) as lattice:
        store.fail_next(error)
        with pytest.raises(NotStoredError):
            await lattice.put(axis(0), None, {"topic": "a"})
        await lattice.put(axis(0), None, {"topic": "b"})
        assert await topics(lattice) == ["b"]


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(5, "input/output error"), StoreError("no"), Broken()]
)
async def test_after_anything_else_nothing_is_written_until_it_is_reopened(
    error: BaseException, stored: bool
) -> None:
    store = GatedStore(MemoryStore())
    async with Lattice(store, dim=DIM) as lattice:
        await lattice.put(axis(0), None, {"topic": "a"})
        store.fail_next(error, stored=stored)
        with pytest.raises(StoreError) as caught:
            await lattice.put(axis(1), None, {"topic": "b"})
        assert isinstance(caught.value, type(error) if isinstance(error, StoreError) else OSError)
        for _ in range(2):
            with pytest.raises(StoreError, match="reopen"):
                await lattice.put(axis(2), None, {"topic": "c"})
        with pytest.raises(StoreError, match="reopen"):
            await lattice.pin("a", "b")
        # What was there before can still be read.
        assert await topics(lattice) == ["a"]
        assert len(await lattice.query(axis(0))) == 1
    async with Lattice(store, dim=DIM) as again:
        assert await topics(again) == ["a", "b"][: 1 + stored]
        await again.put(axis(3), None, {"topic": "d"})


async def test_all_callers_of_a_batch_that_may_be_there_learn_it() -> None:
    store = GatedStore(MemoryStore())
    async with Lattice(store, dim=DIM) as lattice:
        store.hold()
        first = asyncio.create_task(lattice.put(axis(0)))
        await asyncio.to_thread(store.wait_for_append)
        puts = [asyncio.create_task(lattice.put(axis(n))) for n in range(5)]
        await steps(3)
        store.fail_next(MemoryError())
        store.release()
        given = await asyncio.gather(first, *puts, return_exceptions=True)
        # The one that was held failed; the others were not even tried.
        assert isinstance(given[0], DurabilityUnknownError)
        assert isinstance(given[0].__cause__, MemoryError)
        assert all(isinstance(error, StoreError) for error in given[1:])


async def test_a_ledger_that_fails_behind_the_write_stops_the_writing(
    lattice: Lattice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError

    async with lattice:
        await lattice.put(axis(0))
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "extend", fail)
            with pytest.raises(DurabilityUnknownError):
                await lattice.put(axis(1))
        with pytest.raises(StoreError, match="reopen"):
            await lattice.put(axis(2))


# --- what else may go wrong in a turn ----------------------------------------------------------


@pytest.mark.parametrize("name", ["_take", "_decide", "_tally", "_sync_later", "_commit"])
@pytest.mark.parametrize("error", [MemoryError(), Broken()])
async def test_whatever_a_turn_meets_its_callers_learn_it_and_others_follow(
    lattice: Lattice, monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException
) -> None:
    function = getattr(Trace, name)

    def fail(trace: Trace, *args: Any) -> Any:
        if name in ("_take", "_sync_later"):
            function(trace, *args)
        raise error

    async with asyncio.timeout(PATIENCE), lattice:
        with monkeypatch.context() as patch:
            patch.setattr(Trace, name, fail)
            try:
                await lattice.put(axis(0), None, {"topic": "a"})
            except (MemoryError, StoreError):
                assert name != "_tally", "it is written, whether or not it can be counted"
        await lattice.put(axis(1), None, {"topic": "b"})
        assert (await topics(lattice))[-1] == "b"
        assert len(lattice) == 1 + (name in ("_tally", "_sync_later"))


async def test_a_listener_that_fails_keeps_no_answer_back(
    lattice: Lattice, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    def fail(*_: Any) -> None:
        raise MemoryError

    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    monkeypatch.setattr(PutRecord, "event", fail)
    async with asyncio.timeout(PATIENCE), lattice, lattice.events():
        assert await lattice.put(axis(0)) == lattice.head
    assert len(told) == 1


# --- batches -----------------------------------------------------------------------------------


async def held(store: GatedStore, lattice: Lattice, calls: list[Any]) -> list[Any]:
    """Answers of calls that all wait together, behind a put."""
    store.hold()
    first = asyncio.create_task(lattice.note({}))
    await asyncio.to_thread(store.wait_for_append)
    waiting = [asyncio.create_task(call) for call in calls]
    await steps(3)
    store.release()
    await first
    return await asyncio.gather(*waiting, return_exceptions=True)


async def test_forgets_that_wait_together_are_few_batches() -> None:
    store = GatedStore(MemoryStore())
    async with Lattice(store, dim=DIM) as lattice:
        anchors = [await lattice.put(axis(n % DIM), None, {"n": n}) for n in range(40)]
        anchors += await asyncio.gather(
            *(lattice.put(axis(n % DIM), None, {"n": n}) for n in range(40, 1_000))
        )
        before = lattice.stats.batches
        await asyncio.gather(*(lattice.forget(anchor) for anchor in anchors))
        assert lattice.stats.batches - before <= 8
        assert lattice.stats.forgets == 1_000
        assert await lattice.query(axis(0)) == []


async def test_a_batch_is_of_forgets_or_has_none() -> None:
    store = GatedStore(MemoryStore())
    async with Lattice(store, dim=DIM) as lattice:
        anchors = [await lattice.put(axis(n)) for n in range(6)]
        store.batches.clear()
        calls = [
            *(lattice.forget(anchor) for anchor in (*anchors[:3], "f" * 16, anchors[0])),
            lattice.put(axis(0)),
            lattice.decay(anchors[4], 0.5),
            lattice.forget(anchors[3]),
            lattice.rollback(lattice.revision),
            lattice.forget(anchors[4]),
            lattice.forget(anchors[5]),
        ]
        answers = await held(store, lattice, calls)
        assert store.batches == [1, 4, 2, 1, 1, 2]
        [refused] = [answer for answer in answers if isinstance(answer, Exception)]
        assert isinstance(refused, LineNotFoundError)
        assert answers.index(refused) == 3


async def test_novelty_does_not_see_what_was_forgotten_just_before() -> None:
    """However the calls were batched."""
    store = GatedStore(MemoryStore())
    async with Lattice(store, dim=DIM) as lattice:
        anchor = await lattice.put(axis(0), None, {"topic": "a"})
        _, again = await held(
            store, lattice, [lattice.forget(anchor), lattice.put(axis(0), None, {"topic": "b"})]
        )
        assert (await lattice.get(again)).novelty == 1.0


# --- syncing later -----------------------------------------------------------------------------


class LateStore(SpyStore):
    """Acknowledges before it syncs."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.synced = threading.Event()

    def sync(self) -> None:
        self._enter("sync")
        self.synced.set()


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> LateStore:
    monkeypatch.setattr(trace_module, "SYNC_SECONDS", 0.05)
    return LateStore(MemoryStore())


async def test_it_is_synced_after_a_while_although_nothing_more_is_written(
    late: LateStore, clock: Clock
) -> None:
    async with Lattice(late, dim=DIM, clock=clock, index=GuardedIndex()) as lattice:
        for _ in range(2):
            late.synced.clear()
            await lattice.put(axis(0))
            assert await asyncio.to_thread(late.synced.wait, PATIENCE)
        assert late.calls.count("sync") <= 4


async def test_a_sync_that_fails_is_no_end(late: LateStore, clock: Clock) -> None:
    def fail() -> None:
        failed.set()
        raise OSError(5, "input/output error")

    failed = threading.Event()
    async with Lattice(late, dim=DIM, clock=clock) as lattice:
        late.before["sync"] = fail
        await lattice.put(axis(0))
        assert await asyncio.to_thread(failed.wait, PATIENCE)
        del late.before["sync"]
        await lattice.put(axis(1))
        assert await asyncio.to_thread(late.synced.wait, PATIENCE)


async def test_closing_waits_for_no_sync_and_none_comes_after_it(
    late: LateStore, clock: Clock
) -> None:
    async with Lattice(late, dim=DIM, clock=clock) as lattice:
        await lattice.put(axis(0))
        lattice._open.trace._synced_at -= 10.0
    assert late.calls[-1] == "close"


async def test_a_ticket_that_finds_no_thread_is_not_done_later(
    lattice: Lattice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with lattice:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="start new thread"):
                await lattice.put(axis(0), None, {"topic": "a"})
        await lattice.put(axis(1), None, {"topic": "b"})
        assert await topics(lattice) == ["b"]
