"""Putting many: a stream of candidates, committed batch by batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing
from typing import Final

from pmll_async.engine.trace.trace import Trace
from pmll_async.errors import InvalidInputError, PmllError
from pmll_async.records.proposals import Encoder, GroupProposal, PutProposal
from pmll_async.values.lines import Candidate

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
    batch: list[PutProposal] = []

    async def commit() -> None:
        nonlocal stored
        stored += await trace.commit(GroupProposal(tuple(batch)))
        batch.clear()
        if progress is not None:
            progress(stored)

    try:
        async with aclosing(_each(candidates)) as each:
            async for number, candidate in each:
                batch.append(await _encoded(candidate, number, encoder))
                if len(batch) == size:
                    await commit()
                elif number % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
        if batch:
            await commit()
    # Any error must carry how far it came, whoever raised it, and goes on unchanged.
    except Exception as exc:
        exc.add_note(f"put_many: {stored} lines are stored")
        if isinstance(exc, PmllError):
            exc.stored = stored
        raise
    return stored


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
