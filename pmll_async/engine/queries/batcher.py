"""The desk: queries that wait together become one matrix product in a worker thread.

No task runs here: a callback hands the next batch to the workers when one comes back. A
query that comes alone and is done in about the time of a hop to a thread is answered at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from pmll_async.engine.events.stats import QueryBatch, QuerySums
from pmll_async.engine.ledger.snapshot import Snapshot
from pmll_async.engine.queries.reader import Query, Reader
from pmll_async.errors import copy_error
from pmll_async.loop.breathing import WAKE_AT_ONCE
from pmll_async.loop.jobs import Jobs, running_loop
from pmll_async.protocols import SMALL_PRODUCT
from pmll_async.values.lines import MemoryLine

TURN_BUDGET: Final = 1 << 22
"""What may be computed on the loop's thread in one of its turns, in multiplications: 0.3 ms."""
_QUERY_COST: Final = 1 << 20
"""What a query costs beside its product, likewise."""
_FEW_ROWS: Final = 4096
_FEW_HITS: Final = 32
_BATCH: Final = 128


@dataclass(slots=True, eq=False)
class _WaitingQuery:
    """A question, the state it is put to (None: the newest), and who waits."""

    question: Query
    snapshot: Snapshot | None
    future: asyncio.Future[list[MemoryLine]]
    answer: list[MemoryLine] | Exception | None = None


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
        self._spent = 0
        self._loop = jobs.loop
        self._waiting: deque[_WaitingQuery] = deque()
        self._busy = False
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()

    @property
    def sums(self) -> QuerySums:
        """What it did so far, as of the last batch; in any thread."""
        return self._sums

    async def ask(self, question: Query, snapshot: Snapshot | None) -> list[MemoryLine]:
        """The lines that answer; of the newest state when `snapshot` is None."""
        running_loop(self._loop)
        if self._is_quick(question, snapshot or self._newest()):
            return await self._answer_here(question, snapshot or self._newest())
        waiting = _WaitingQuery(question, snapshot, self._loop.create_future())
        self._waiting.append(waiting)
        if not self._busy:
            # What comes while this is under way makes the next batch.
            self._start()
        return await waiting.future

    async def drained(self) -> None:
        """Wait until every question taken has its answer."""
        await self._idle.wait()

    def _is_quick(self, question: Query, snapshot: Snapshot) -> bool:
        """Whether the answer takes less than a hop, and this turn of the loop has room for it."""
        count = snapshot.columns.count
        size = count * self._dim
        cost = size + _QUERY_COST
        quick = (
            size <= SMALL_PRODUCT
            and count <= _FEW_ROWS
            and question.k <= _FEW_HITS
            and question.where is None
            and question.rows is None
            and not self._busy
            and self._spent + cost <= TURN_BUDGET
        )
        if quick:
            if not self._spent:
                self._loop.call_soon(self._next_turn)
            self._spent += cost
        return quick

    def _next_turn(self) -> None:
        self._spent = 0

    async def _answer_here(self, question: Query, snapshot: Snapshot) -> list[MemoryLine]:
        began = perf_counter()
        [hits] = self._reader.rank(snapshot, [question])
        lines = self._reader.kept_lines(snapshot, hits)
        self._tally(1, perf_counter() - began)
        if lines is None:
            return await self._jobs.run(self._reader.ranked_lines, snapshot, hits)
        # However quick the answers are, a caller that asks in a loop lets others have their turn.
        await asyncio.sleep(0)
        return lines

    def _start(self) -> None:
        batch = self._take()
        self._busy = bool(batch)
        if not batch:
            self._idle.set()
            return
        self._idle.clear()
        try:
            job = self._jobs.start(self._answer, batch)
        # No thread can be started, say: those who wait must learn it, and later ones have theirs.
        except Exception as exc:  # noqa: BLE001
            for waiting in batch:
                waiting.answer = exc
            self._hand_out(batch)
            self._loop.call_soon(self._start)
            return
        job.add_done_callback(lambda _: self._start())

    def _take(self) -> list[_WaitingQuery]:
        batch: list[_WaitingQuery] = []
        while self._waiting and len(batch) < _BATCH:
            waiting = self._waiting.popleft()
            if not waiting.future.done():
                batch.append(waiting)
        return batch

    def _answer(self, batch: list[_WaitingQuery]) -> None:
        began = perf_counter()
        try:
            self._answer_all(batch)
        # Whatever went wrong, those who wait must learn it.
        except Exception as exc:  # noqa: BLE001
            for waiting in batch:
                if waiting.answer is None:
                    waiting.answer = exc
        # Straight to the loop: the job's own future would take two more of its turns.
        self._loop.call_soon_threadsafe(self._settle, batch, perf_counter() - began)

    def _answer_all(self, batch: list[_WaitingQuery]) -> None:
        newest = self._newest()
        by_state: dict[int, tuple[Snapshot, list[_WaitingQuery]]] = {}
        for waiting in batch:
            snapshot = waiting.snapshot or newest
            by_state.setdefault(id(snapshot), (snapshot, []))[1].append(waiting)
        for snapshot, group in by_state.values():
            answers = self._reader.answer(snapshot, [waiting.question for waiting in group])
            for waiting, answer in zip(group, answers, strict=True):
                waiting.answer = answer

    def _settle(self, batch: list[_WaitingQuery], seconds: float) -> None:
        self._tally(len(batch), seconds)
        self._hand_out(batch)

    def _tally(self, queries: int, seconds: float) -> None:
        batch = QueryBatch(queries, seconds)
        self._sums = self._sums.with_batch(batch)
        self._answered(batch)

    def _hand_out(self, batch: list[_WaitingQuery]) -> None:
        for waiting in batch[:WAKE_AT_ONCE]:
            if waiting.future.done():
                continue
            if isinstance(waiting.answer, list):
                waiting.future.set_result(waiting.answer)
            else:
                error = waiting.answer or RuntimeError("no answer was made")
                waiting.future.set_exception(copy_error(error))
        if len(batch) > WAKE_AT_ONCE:
            self._loop.call_soon(self._hand_out, batch[WAKE_AT_ONCE:])
