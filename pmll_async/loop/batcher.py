"""Batches: what callers wait for together is done by one job at a time in a worker thread.

No task runs here: a callback hands the next batch to the workers when one comes back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Generic, TypeAlias, TypeVar

from pmll_async.errors import copy_error
from pmll_async.loop.breathing import WAKE_AT_ONCE
from pmll_async.loop.jobs import Jobs

Item = TypeVar("Item")
Result = TypeVar("Result")
Work: TypeAlias = "Callable[[Sequence[Item]], Sequence[Result | Exception]]"
"""Called in a worker thread; gives for each item its result, or the error of that item alone."""


def tried(function: Callable[..., Result], *args: object) -> Result | Exception:
    """What the function returns, or what it raises, as a value for the one who waits for it."""
    try:
        return function(*args)
    # Whatever went wrong, its caller must learn it, and the others of the batch go on.
    except Exception as exc:  # noqa: BLE001
        # A future takes any other error.
        return RuntimeError(f"raised {exc!r}") if isinstance(exc, StopIteration) else exc


def tried_together(work: Work[Item, Result], items: Sequence[Item]) -> Sequence[Result | Exception]:
    """What the work gives for each item; if it fails, the same error for each of them."""
    found = tried(work, items)
    return [found] * len(items) if isinstance(found, Exception) else found


class Batcher(Generic[Item, Result]):
    """Has items worked on for any number of callers on one loop, up to `most` at once.

    What comes while a job is under way makes the next batch. `done` is told on the loop, before
    the callers go on, how many items a batch had and how many seconds the work took.
    """

    def __init__(
        self,
        jobs: Jobs,
        work: Work[Item, Result],
        most: int,
        done: Callable[[int, float], None] = lambda _count, _seconds: None,
    ) -> None:
        self._jobs, self._work, self._most, self._done = jobs, work, most, done
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def is_idle(self) -> bool:
        """Whether no job is under way."""
        return self._idle.is_set()

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """What the item will give; an item whose future is cancelled before its job is dropped."""
        future: asyncio.Future[Result] = self._jobs.loop.create_future()
        self._waiting.append((item, future))
        # What comes while a job is under way waits for its end, and so shares the next one.
        if self.is_idle:
            self._start()
        return future

    async def drained(self) -> None:
        """Wait until every item taken has its result."""
        await self._idle.wait()

    def _start(self, _: object = None) -> None:
        batch = self._take()
        if not batch:
            self._idle.set()
            return
        self._idle.clear()
        items, futures = zip(*batch, strict=True)
        try:
            job = self._jobs.start(self._run, items, futures)
        # No thread can be started, say: those who wait must learn it, and later ones have theirs.
        except Exception as exc:  # noqa: BLE001
            self._hand_out(futures, [exc] * len(futures))
            self._jobs.loop.call_soon(self._start)
        else:
            job.add_done_callback(self._start)

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self._most:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch

    def _run(self, items: Sequence[Item], futures: Sequence[asyncio.Future[Result]]) -> None:
        began = perf_counter()
        found: Sequence[Result | Exception] = [RuntimeError("no answer was made")] * len(items)
        try:
            found = tried_together(self._work, items)
        finally:
            # Straight to the loop: the job's own future would take two more of its turns.
            seconds = perf_counter() - began
            self._jobs.loop.call_soon_threadsafe(self._settle, futures, found, seconds)

    def _settle(
        self,
        futures: Sequence[asyncio.Future[Result]],
        found: Sequence[Result | Exception],
        seconds: float,
    ) -> None:
        self._done(len(futures), seconds)
        self._hand_out(futures, found)

    def _hand_out(
        self, futures: Sequence[asyncio.Future[Result]], found: Sequence[Result | Exception]
    ) -> None:
        for future, result in zip(futures[:WAKE_AT_ONCE], found, strict=False):
            if future.done():
                continue
            if isinstance(result, Exception):
                # Each caller adds its own traceback and notes.
                future.set_exception(copy_error(result))
            else:
                future.set_result(result)
        if len(futures) > WAKE_AT_ONCE:
            self._jobs.loop.call_soon(self._hand_out, futures[WAKE_AT_ONCE:], found[WAKE_AT_ONCE:])
