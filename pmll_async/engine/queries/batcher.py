"""Queries that wait together become one matrix product in a worker thread.

A query that comes alone and is done in about the time of a hop to a thread is answered at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Final, TypeAlias

from pmll_async.engine.events.stats import QueryBatch, QuerySums
from pmll_async.engine.ledger.snapshot import Snapshot
from pmll_async.engine.queries.reader import Query, Reader
from pmll_async.loop.batcher import Batcher, tried_together
from pmll_async.loop.breathing import turn_budget
from pmll_async.loop.jobs import Jobs, running_loop
from pmll_async.protocols import SMALL_PRODUCT
from pmll_async.values.lines import MemoryLine

_QUICK_COST: Final = 2 * SMALL_PRODUCT
"""What a query costs that is answered on the loop: its product, and as much for its lines."""
_FEW_ROWS: Final = 16384
"""An index looks at each row several times, however few numbers it has."""
_FEW_HITS: Final = 32
_BATCH: Final = 128
"""Queries of one product: more of them would make the first wait for long."""

_Question: TypeAlias = tuple[Query, Snapshot | None]
"""A query, and the state that it is put to; None is the newest when it is answered."""


class QueryBatcher:
    """Takes questions on one loop and answers each with its lines."""

    def __init__(
        self,
        reader: Reader,
        jobs: Jobs,
        newest: Callable[[], Snapshot],
        dim: int,
        answered: Callable[[QueryBatch], None],
    ) -> None:
        self._reader, self._jobs, self._newest, self._dim = reader, jobs, newest, dim
        self._answered = answered
        self._sums = QuerySums()
        self._budget = turn_budget(jobs.loop)
        self._batches = Batcher[_Question, list[MemoryLine]](
            jobs, self._answer, _BATCH, self._tally
        )

    @property
    def sums(self) -> QuerySums:
        """What it did so far, as of the last batch; in any thread."""
        return self._sums

    async def ask(self, question: Query, snapshot: Snapshot | None) -> list[MemoryLine]:
        """The lines that answer; of the newest state when `snapshot` is None."""
        running_loop(self._jobs.loop)
        if self._is_quick(question, snapshot or self._newest()):
            return await self._answer_here(question, snapshot or self._newest())
        return await self._batches.submit((question, snapshot))

    async def drained(self) -> None:
        """Wait until every question taken has its answer."""
        await self._batches.drained()

    def _is_quick(self, question: Query, snapshot: Snapshot) -> bool:
        """Whether the answer takes less than a hop, and this turn of the loop has room for it."""
        count = snapshot.columns.count
        return (
            count <= _FEW_ROWS
            and (count * self._dim <= SMALL_PRODUCT or self._reader.is_quick_over(count))
            and question.k <= _FEW_HITS
            and question.where is None
            and question.rows is None
            and not self._reader.may_block
            and self._batches.is_idle
            and self._budget.take(_QUICK_COST)
        )

    async def _answer_here(self, question: Query, snapshot: Snapshot) -> list[MemoryLine]:
        began = perf_counter()
        [hits] = self._reader.rank(snapshot, [question])
        lines = self._reader.kept_lines(snapshot, hits)
        self._tally(1, perf_counter() - began)
        # One of them must be read from the store, which blocks.
        if lines is None:
            return await self._jobs.run(self._reader.ranked_lines, snapshot, hits)
        # However quick the answers are, a caller that asks in a loop lets others have their turn.
        if not self._budget.has(_QUICK_COST):
            await asyncio.sleep(0)
        return lines

    def _answer(self, batch: Sequence[_Question]) -> list[list[MemoryLine] | Exception]:
        newest = self._newest()
        # A product is over the keys of one state.
        by_state: dict[int, tuple[Snapshot, list[int]]] = {}
        for place, (_, pinned) in enumerate(batch):
            snapshot = pinned or newest
            by_state.setdefault(id(snapshot), (snapshot, []))[1].append(place)
        answers: dict[int, list[MemoryLine] | Exception] = {}
        for snapshot, places in by_state.values():
            answer = partial(self._reader.answer, snapshot)
            found = tried_together(answer, [batch[place][0] for place in places])
            answers.update(zip(places, found, strict=True))
        return [answers[place] for place in range(len(batch))]

    def _tally(self, queries: int, seconds: float) -> None:
        batch = QueryBatch(queries, seconds)
        self._sums = self._sums.with_batch(batch)
        self._answered(batch)
