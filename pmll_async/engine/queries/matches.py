"""Filtering: which lines a filter matches, found beside the queries and never in their way.

What a filter is the first to ask for is read from the store by one job; filters on what is known
already go past it. Those are evaluated by one other job at a time, so that however slow they are,
worker threads are left for everything else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pmll_async.engine.ledger.snapshot import Snapshot
from pmll_async.engine.queries.reader import Reader
from pmll_async.errors import copy_error
from pmll_async.loop.jobs import Jobs
from pmll_async.values.filters import Filter

Result = TypeVar("Result")

_AT_ONCE: Final = 32
"""Filters that are evaluated before the first of them is answered."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """What is asked of a filter, and who waits."""

    function: Callable[..., Any]
    args: tuple[object, ...]
    future: asyncio.Future[Any]
    answer: Any = None
    error: Exception | None = None


class FilterBatcher:
    """Has filters evaluated for any number of callers on one loop."""

    def __init__(self, reader: Reader, jobs: Jobs) -> None:
        self._reader, self._jobs = reader, jobs
        self._reading: asyncio.Future[Any] | None = None
        self._waiting: deque[_Waiting] = deque()
        self._busy = False

    async def run(
        self, snapshot: Snapshot, where: Filter, function: Callable[..., Result], *args: object
    ) -> Result:
        """What a method of the reader gives that evaluates the filter in that state."""
        await self._cover(snapshot, where)
        waiting = _Waiting(function, args, self._jobs.loop.create_future())
        self._waiting.append(waiting)
        if not self._busy:
            self._start()
        result: Result = await waiting.future
        return result

    async def _cover(self, snapshot: Snapshot, where: Filter) -> None:
        while not self._reader.covers(snapshot, where):
            if self._reading is None or self._reading.done():
                self._reading = self._jobs.start(self._reader.cover, snapshot, where)
                await asyncio.shield(self._reading)
                return
            # Another's: what goes wrong with it is told to them.
            await asyncio.wait([self._reading])

    def _start(self) -> None:
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < _AT_ONCE:
            waiting = self._waiting.popleft()
            if not waiting.future.done():
                batch.append(waiting)
        self._busy = bool(batch)
        if not batch:
            return
        try:
            job = self._jobs.start(_evaluate, batch)
        # No thread can be started, say: those who wait must learn it, and later ones have theirs.
        except Exception as exc:  # noqa: BLE001
            self._settle(batch, exc)
            return
        job.add_done_callback(lambda done: self._settle(batch, done.exception()))

    def _settle(self, batch: list[_Waiting], failure: BaseException | None) -> None:
        for waiting in batch:
            if waiting.future.done():
                continue
            if failure is not None:
                waiting.future.set_exception(failure)
            elif waiting.error is not None:
                waiting.future.set_exception(copy_error(waiting.error))
            else:
                waiting.future.set_result(waiting.answer)
        self._start()


def _evaluate(batch: list[_Waiting]) -> None:
    for waiting in batch:
        try:
            waiting.answer = waiting.function(*waiting.args)
        # It belongs to this one alone.
        except Exception as exc:  # noqa: BLE001
            waiting.error = exc
