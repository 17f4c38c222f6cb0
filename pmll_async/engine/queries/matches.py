"""Filtering: which lines a filter matches, found beside the queries and never in their way.

What a filter is the first to ask for is read from the store by one job; filters on what is known
already go past it. Those are evaluated by one other job at a time, so that however slow they are,
worker threads are left for everything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from pmll_async.engine.ledger.snapshot import Snapshot
from pmll_async.engine.queries.reader import Reader
from pmll_async.loop.batcher import Batcher, tried
from pmll_async.loop.jobs import Jobs
from pmll_async.values.filters import Filter

Result = TypeVar("Result")

_AT_ONCE: Final = 32
"""Filters that are evaluated before the first of them is answered."""


class FilterBatcher:
    """Has filters evaluated for any number of callers on one loop."""

    def __init__(self, reader: Reader, jobs: Jobs) -> None:
        self._reader, self._jobs = reader, jobs
        self._reading: asyncio.Future[Any] | None = None
        self._batches = Batcher(jobs, _evaluate, _AT_ONCE)

    async def run(
        self, snapshot: Snapshot, where: Filter, function: Callable[..., Result], *args: object
    ) -> Result:
        """What a method of the reader gives that evaluates the filter in that state."""
        await self._cover(snapshot, where)
        result: Result = await self._batches.submit(partial(function, *args))
        return result

    async def _cover(self, snapshot: Snapshot, where: Filter) -> None:
        while not self._reader.covers(snapshot, where):
            if self._reading is None or self._reading.done():
                self._reading = self._jobs.start(self._reader.cover, snapshot, where)
                await asyncio.shield(self._reading)
                return
            # Another's: what goes wrong with it is told to them.
            await asyncio.wait([self._reading])


def _evaluate(batch: Sequence[Callable[[], Any]]) -> list[Any]:
    return [tried(function) for function in batch]
