"""Putting many: a stream of candidates, committed batch by batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Final

from pmll_async.encoding import Encoder
from pmll_async.errors import InvalidInputError, PmllError
from pmll_async.lines import Candidate
from pmll_async.proposals import GroupProposal, PutProposal
from pmll_async.trace import Trace

_YIELD_EVERY: Final = 16
"""Candidates encoded between two turns of the event loop: about half a millisecond."""


async def put_many(
    candidates: Iterable[Candidate] | AsyncIterable[Candidate],
    encoder: Encoder,
    trace: Trace,
    size: int,
    progress: Callable[[int], None] | None,
) -> int:
    """See `Lattice.put_many`."""
    stored = 0
    try:
        async for puts in _batches(_encoded(candidates, encoder), size):
            stored += await trace.commit(GroupProposal(puts))
            if progress is not None:
                progress(stored)
    # Any error must carry how far it came, whoever raised it, and goes on unchanged.
    except Exception as exc:
        exc.add_note(f"put_many: {stored} lines are stored")
        if isinstance(exc, PmllError):
            exc.stored = stored
        raise
    return stored


async def _batches(
    puts: AsyncIterator[PutProposal], size: int
) -> AsyncIterator[tuple[PutProposal, ...]]:
    batch: list[PutProposal] = []
    async for put in puts:
        batch.append(put)
        if len(batch) == size:
            yield tuple(batch)
            batch = []
    if batch:
        yield tuple(batch)


async def _encoded(
    candidates: Iterable[Candidate] | AsyncIterable[Candidate], encoder: Encoder
) -> AsyncIterator[PutProposal]:
    async for number, candidate in _numbered(candidates):
        if not isinstance(candidate, Candidate):
            raise InvalidInputError(
                f"candidate {number} is a {type(candidate).__name__}, not a Candidate"
            )
        yield encoder.put(candidate)
        if number % _YIELD_EVERY == 0:
            await asyncio.sleep(0)


async def _numbered(
    candidates: Iterable[Candidate] | AsyncIterable[Candidate],
) -> AsyncIterator[tuple[int, Candidate]]:
    number = 0
    if isinstance(candidates, AsyncIterable):
        async for candidate in candidates:
            yield (number := number + 1), candidate
    else:
        for candidate in candidates:
            yield (number := number + 1), candidate
