"""Batches: callers who wait together share a job, and each gets a result or an error of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from thread_support import PATIENCE, threads_gone

from pmll_async.loop.batcher import Batcher, tried
from pmll_async.loop.jobs import Jobs


class Held:
    """Work that waits until a test lets it go on, and keeps its batches."""

    def __init__(self, answer: Callable[[int], Any] = lambda item: item * 10) -> None:
        self.batches: list[list[int]] = []
        self.may_end = threading.Semaphore(0)
        self._answer = answer

    def __call__(self, items: Sequence[int]) -> list[Any]:
        self.batches.append([*items])
        assert self.may_end.acquire(timeout=PATIENCE)
        return [tried(self._answer, item) for item in items]

    def let(self, times: int = 1) -> None:
        self.may_end.release(times)


@pytest.fixture(autouse=True)
async def no_thread_is_left() -> Any:
    yield
    await threads_gone()


@pytest.fixture
def work() -> Iterator[Held]:
    held = Held()
    yield held
    held.let(100)


async def test_what_comes_during_a_job_makes_the_next_batches(work: Held) -> None:
    batcher = Batcher[int, int](Jobs(), work, 4)
    futures = [batcher.submit(item) for item in range(8)]
    assert not batcher.is_idle
    work.let(3)
    assert await asyncio.gather(*futures) == [item * 10 for item in range(8)]
    await batcher.drained()
    assert work.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]


async def test_whoever_went_away_before_the_job_is_dropped(work: Held) -> None:
    batcher = Batcher[int, int](Jobs(), work, 4)
    first, second, third = (batcher.submit(item) for item in range(3))
    first.cancel()
    second.cancel()
    work.let(2)
    assert await third == 20
    await batcher.drained()
    # The first was under way.
    assert work.batches == [[0], [2]]


async def test_an_error_is_of_one_item_or_a_copy_for_each() -> None:
    def each(items: Sequence[int]) -> list[Any]:
        if 9 in items:
            raise KeyError("all")
        return [tried(lambda n: 1 // n, item) for item in items]

    batcher = Batcher[int, int](Jobs(), each, 8)
    await batcher.submit(1)
    found = await asyncio.gather(*map(batcher.submit, [1, 0, 1]), return_exceptions=True)
    assert [type(each) for each in found] == [int, ZeroDivisionError, int]
    await batcher.drained()
    blocked = [batcher.submit(item) for item in (1, 9, 2)]
    one, *errors = await asyncio.gather(*blocked, return_exceptions=True)
    assert (one, [repr(error) for error in errors]) == (1, ["KeyError('all')"] * 2)
    assert errors[0] is not errors[1]
    await batcher.drained()
    assert await batcher.submit(1) == 1


async def test_work_that_is_stopped_or_runs_out_leaves_nobody_waiting() -> None:
    def stopped(items: Sequence[int]) -> list[int]:
        if items[0]:
            raise SystemExit
        return [next(iter(()))]

    async with asyncio.timeout(PATIENCE):
        batcher = Batcher[int, int](Jobs(), stopped, 8)
        for item, message in ((0, "StopIteration"), (1, "no answer")):
            with pytest.raises(RuntimeError, match=message):
                await batcher.submit(item)
        await batcher.drained()


async def test_a_job_that_cannot_begin_fails_those_who_wait_and_no_later_ones(
    work: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Jobs()

    def full(*_: object) -> Any:
        raise RuntimeError("can't start new thread")

    batcher = Batcher[int, int](jobs, work, 8)
    monkeypatch.setattr(jobs, "start", full)
    failing = batcher.submit(1)
    with pytest.raises(RuntimeError, match="new thread"):
        await failing
    monkeypatch.undo()
    work.let()
    assert await batcher.submit(2) == 20
    await batcher.drained()


async def test_a_batch_is_told_of_before_its_callers_and_wakes_eight_in_a_turn(work: Held) -> None:
    told: list[tuple[int, bool]] = []
    batcher = Batcher[int, int](
        Jobs(), work, 99, lambda count, _: told.append((count, futures[-1].done()))
    )
    futures = [batcher.submit(item) for item in range(21)]
    work.let(2)
    seen: list[int] = []
    async with asyncio.timeout(PATIENCE):
        while not futures[-1].done():
            await asyncio.sleep(0)
            seen.append(sum(future.done() for future in futures))
    assert told == [(1, False), (20, False)]
    assert [count for count in dict.fromkeys(seen) if count > 1] == [9, 17, 21]
    await batcher.drained()
