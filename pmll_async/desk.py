"""The desk: queries that wait together become one matrix product in a worker thread.

No task runs here: a callback hands the next batch to the loop's executor when one comes back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pmll_async.lines import MemoryLine
from pmll_async.reader import Question, Reader
from pmll_async.snapshot import Snapshot

SMALL_PRODUCT: Final = 1 << 17
"""Multiplications that take less than a hop to another thread, about 0.1 ms."""
_BATCH: Final = 128


@dataclass(slots=True, eq=False)
class _Waiting:
    """A question, the state it is put to (None: the newest), and who waits."""

    question: Question
    snapshot: Snapshot | None
    future: asyncio.Future[list[MemoryLine]]
    answer: list[MemoryLine] | Exception | None = None


class QueryDesk:
    """Takes questions on one loop and answers each with its lines."""

    def __init__(self, reader: Reader, newest: Callable[[], Snapshot], dim: int) -> None:
        self._reader, self._newest, self._dim = reader, newest, dim
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Waiting] = []
        self._busy = False
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()

    async def ask(self, question: Question, snapshot: Snapshot | None) -> list[MemoryLine]:
        """The lines that answer; of the newest state when `snapshot` is None."""
        at_once = self._answer_at_once(question, snapshot or self._newest())
        if at_once is not None:
            return at_once
        waiting = _Waiting(question, snapshot, self._loop.create_future())
        self._waiting.append(waiting)
        if not self._busy:
            self._busy = True
            self._idle.clear()
            # Not at once: what other tasks ask in this turn of the loop joins the batch.
            self._loop.call_soon(self._start)
        return await waiting.future

    async def drained(self) -> None:
        """Wait until every question taken has its answer."""
        await self._idle.wait()

    def _answer_at_once(self, question: Question, snapshot: Snapshot) -> list[MemoryLine] | None:
        """The answer if it takes neither I/O nor longer than a hop to another thread."""
        small = snapshot.columns.count * self._dim <= SMALL_PRODUCT
        if not small or question.where is not None:
            return None
        [hits] = self._reader.rank(snapshot, [question])
        if not self._reader.has_all(snapshot, hits):
            return None
        return self._reader.ranked_lines(snapshot, hits)

    def _start(self) -> None:
        self._waiting = [waiting for waiting in self._waiting if not waiting.future.done()]
        batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
        if not batch:
            self._busy = False
            self._idle.set()
            return
        job = self._loop.run_in_executor(None, self._answer, batch)
        job.add_done_callback(lambda done: self._deliver(batch, done))

    def _answer(self, batch: list[_Waiting]) -> None:
        newest = self._newest()
        by_state: dict[int, tuple[Snapshot, list[_Waiting]]] = {}
        for waiting in batch:
            snapshot = waiting.snapshot or newest
            by_state.setdefault(id(snapshot), (snapshot, []))[1].append(waiting)
        for snapshot, group in by_state.values():
            answers = self._reader.answer(snapshot, [waiting.question for waiting in group])
            for waiting, answer in zip(group, answers, strict=True):
                waiting.answer = answer

    def _deliver(self, batch: list[_Waiting], job: asyncio.Future[None]) -> None:
        error = job.exception()
        for waiting in batch:
            if waiting.future.done():
                continue
            answer = waiting.answer if error is None else error
            if isinstance(answer, list):
                waiting.future.set_result(answer)
            else:
                waiting.future.set_exception(answer or RuntimeError("no answer was made"))
        self._start()
