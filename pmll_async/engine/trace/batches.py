"""Putting many: a stream of candidates, committed batch by batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Final

from pmll_async.engine.trace.trace import Trace
from pmll_async.errors import InvalidInputError, PmllError
from pmll_async.records.proposals import Encoder, GroupProposal, PutProposal
from pmll_async.values.lines import Candidate

_YIELD_EVERY: Final = 16
"""Candidates encoded between two turns of the event loop: about half a millisecond."""


class _Batches:
    """Commits one batch while the next is encoded; `stored` counts what is durable and new."""

    def __init__(self, trace: Trace, progress: Callable[[int], None] | None) -> None:
        self._trace, self._progress = trace, progress
        self._committing: asyncio.Future[int] | None = None
        self._error: BaseException | None = None
        self.stored = 0

    async def commit(self, batch: Sequence[PutProposal]) -> None:
        """Hand over a batch once the one before is durable."""
        await self.settled()
        self._committing = self._trace.commit(GroupProposal(tuple(batch)))
        # At once, for who gives the candidates may wait for this.
        self._committing.add_done_callback(self._count)

    async def settled(self) -> None:
        """Wait for the batch handed over last, if it still is under way."""
        committing, self._committing = self._committing, None
        if committing is not None:
            await committing
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _count(self, committed: asyncio.Future[int]) -> None:
        if committed.cancelled() or committed.exception() is not None:
            return
        self.stored += committed.result()
        try:
            if self._progress is not None:
                self._progress(self.stored)
        except BaseException as exc:  # noqa: BLE001  # the user's code: what it raises ends the call
            self._error = exc

    def withdraw(self) -> None:
        """Nobody waits any more: a batch that the trace has not taken is not stored."""
        if self._committing is not None:
            self._committing.cancel()


async def put_many(
    candidates: Iterable[Candidate] | AsyncIterable[Candidate],
    encoder: Encoder,
    trace: Trace,
    size: int,
    progress: Callable[[int], None] | None,
) -> int:
    """See `Lattice.put_many`."""
    batches = _Batches(trace, progress)
    try:
        await _commit_all(candidates, encoder, batches, size)
    # Any error must carry how far it came, whoever raised it, and goes on unchanged.
    except Exception as exc:
        await _settled_after(batches, exc)
        exc.add_note(f"put_many: {batches.stored} lines are stored")
        if isinstance(exc, PmllError):
            exc.stored = batches.stored
        raise
    finally:
        batches.withdraw()
    return batches.stored


async def _commit_all(
    candidates: Iterable[Candidate] | AsyncIterable[Candidate],
    encoder: Encoder,
    batches: _Batches,
    size: int,
) -> None:
    batch: list[PutProposal] = []
    async with aclosing(_each(candidates)) as each:
        async for number, candidate in each:
            batch.append(await _encoded(candidate, number, encoder))
            if len(batch) == size:
                await batches.commit(batch)
                batch.clear()
            elif number % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
    if batch:
        await batches.commit(batch)
    await batches.settled()


async def _settled_after(batches: _Batches, error: Exception) -> None:
    """Count the batch that was under way when the error came."""
    try:
        await batches.settled()
    except Exception as exc:  # noqa: BLE001  # told with the first error, which is raised
        error.add_note(f"put_many: the batch under way failed, too: {exc!r}")


async def _encoded(candidate: object, number: int, encoder: Encoder) -> PutProposal:
    if not isinstance(candidate, Candidate):
        kind = type(candidate).__name__
        raise InvalidInputError(f"candidate {number} is a {kind}, not a Candidate")
    return await encoder.put(candidate)


async def _each(
    candidates: Iterable[Candidate] | AsyncIterable[Candidate],
) -> AsyncGenerator[tuple[int, Candidate], None]:
    number = 0
    if isinstance(candidates, AsyncIterable):
        async for candidate in candidates:
            yield (number := number + 1), candidate
    else:
        for candidate in candidates:
            yield (number := number + 1), candidate
