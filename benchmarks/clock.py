"""Taking the time: medians, many tasks at once, lateness of the event loop, calls of fdatasync."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

Item = TypeVar("Item")
TICK = 0.001
FEWEST = 3


Call = Callable[[Item], Awaitable[object]]


async def one_by_one(items: Iterable[Item], call: Call[Item], budget: float) -> list[float]:
    """Seconds that each call took, one after the other in one task.

    A subject too slow to do them all within the budget, in seconds, is left with those it did.
    """
    # Garbage of earlier rounds must not be collected on this round's time.
    gc.collect()
    taken = []
    end = time.perf_counter() + budget
    for item in items:
        start = time.perf_counter()
        await call(item)
        now = time.perf_counter()
        taken.append(now - start)
        if now > end and len(taken) >= FEWEST:
            break
    return taken


class Pace(NamedTuple):
    """How many calls were made, in how many seconds, and of those how many of processors."""

    calls: int
    seconds: float
    processor: float

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds


async def by_tasks(tasks: int, items: Iterable[Item], call: Call[Item], budget: float) -> Pace:
    """The pace of `tasks` tasks that take item after item, within the budget."""
    gc.collect()
    waiting = iter(items)
    done = 0
    used = time.process_time()
    start = time.perf_counter()

    async def worker() -> None:
        nonlocal done
        for item in waiting:
            await call(item)
            done += 1
            if time.perf_counter() - start > budget:
                break

    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(worker())
    return Pace(done, time.perf_counter() - start, time.process_time() - used)


async def ticker(seconds: float) -> list[float]:
    """Seconds by which each tick of a 1 ms ticker came late."""
    late = []
    end = time.perf_counter() + seconds
    before = time.perf_counter()
    while before < end:
        await asyncio.sleep(TICK)
        now = time.perf_counter()
        late.append(max(0.0, now - before - TICK))
        before = now
    return late


@contextmanager
def counted_syncs() -> Iterator[Callable[[], int]]:
    """Counts what this process calls of os.fdatasync and os.fsync while the block runs."""
    count = 0

    def counting(original: Callable[..., None]) -> Any:
        def sync(descriptor: int) -> None:
            nonlocal count
            count += 1
            original(descriptor)

        return sync

    originals = os.fdatasync, os.fsync
    os.fdatasync, os.fsync = counting(os.fdatasync), counting(os.fsync)
    try:
        yield lambda: count
    finally:
        os.fdatasync, os.fsync = originals
