"""Questions to one state: with a filter, back along the chain, and where others must agree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from pmll_async import engine
from pmll_async.errors import LineNotFoundError
from pmll_async.values.exact import exact_norm

if TYPE_CHECKING:
    from pmll_async.engine.ledger.snapshot import Ints, Snapshot
    from pmll_async.engine.queries.reader import Query, Reader
    from pmll_async.engine.queries.services import Rows, Services
    from pmll_async.integrity.guard import Guard, Voice
    from pmll_async.integrity.source import Source
    from pmll_async.values.filters import Filter
    from pmll_async.values.lines import MemoryLine

AGREEMENT: Final = 0.8
"""The cosine from which on two lines are taken to say the same, unless told otherwise."""


_REWIND_BATCH: Final = 32


async def matching_rows(services: Services, snapshot: Snapshot, where: Filter) -> Rows:
    """The index rows that a filter matches."""
    return await services.filters.run(snapshot, where, services.reader.rows, snapshot, where)


async def answered(
    services: Services,
    snapshot: Snapshot,
    pinned: Snapshot | None,
    question: Query,
    matching: Filter | None,
) -> list[MemoryLine]:
    """The lines that answer; without a slow filter of the `pinned` state, None being the newest."""
    if matching is None or services.reader.is_quick(snapshot, matching):
        return await services.queries.ask(replace(question, where=matching), pinned)
    with services.jobs.going_on():
        rows = await matching_rows(services, snapshot, matching)
        return await services.queries.ask(replace(question, rows=rows), snapshot)


@dataclass(frozen=True, slots=True)
class Rewound:
    """What of the chain is wanted, as the caller put it; `start` is an anchor."""

    where: Filter | None
    limit: int | None
    start: str | None
    forgotten: bool


class Rewind(AsyncIterator["MemoryLine"]):
    """Holds line numbers and one small batch of lines, nothing that must be closed."""

    def __init__(
        self,
        services: Callable[[], Services],
        ready: Callable[[], Awaitable[Snapshot]],
        asked: Rewound,
    ) -> None:
        self._services, self._ready, self._asked = services, ready, asked
        self._snapshot: Snapshot | None = None
        self._numbers: Sequence[int] | Ints = ()
        self._fetched = 0
        self._batch: list[MemoryLine] = []

    async def __anext__(self) -> MemoryLine:
        services = self._services()
        if self._snapshot is None:
            self._snapshot = await self._begin(services)
        if self._snapshot.is_outdated:
            self._batch = [
                line for line in self._batch if not self._snapshot.lacks_all(line.anchor)
            ]
        # Of what was erased meanwhile there is nothing to give.
        while not self._batch:
            if self._fetched >= len(self._numbers):
                raise StopAsyncIteration
            await self._fetch(services)
        return self._batch.pop()

    async def _begin(self, services: Services) -> Snapshot:
        snapshot = await self._ready()
        asked, start = self._asked, None
        if asked.start is not None:
            start = snapshot.position(snapshot.find(asked.start))
            if start is None:
                raise LineNotFoundError(asked.start)
        chain = partial(services.reader.chain, forgotten=asked.forgotten)
        reading = chain, snapshot, asked.where, start
        if asked.where is None:
            numbers = await services.jobs.run(*reading)
        else:
            with services.jobs.going_on():
                numbers = await services.filters.run(snapshot, asked.where, *reading)
        self._numbers = numbers[: asked.limit]
        return snapshot

    async def _fetch(self, services: Services) -> None:
        # Nothing moves on before the lines are here: a cancelled call may be made again.
        wanted = self._numbers[self._fetched : self._fetched + _REWIND_BATCH]
        batch = await services.jobs.run(read_lines, services.reader, self._snapshot, wanted)
        self._fetched += len(wanted)
        self._batch = batch[::-1]


def read_lines(
    reader: Reader, snapshot: Snapshot, numbers: Sequence[int] | Ints
) -> list[MemoryLine]:
    """The lines of these numbers as they are stored; blocks."""
    return reader.lines(snapshot, map(int, numbers))


class Corroboration:
    """Asks who agrees with lines, all in one state, so that nothing changes in between."""

    def __init__(self, services: Services, snapshot: Snapshot, guard: Guard) -> None:
        self._services, self._snapshot, self._guard = services, snapshot, guard
        self._rows = engine.KnownRows(partial(matching_rows, services, snapshot))

    async def best(self, question: Query, matching: Filter | None) -> list[MemoryLine]:
        """The best lines that the guard lets pass."""

        async def ask(k: int, matching: Filter | None) -> list[MemoryLine]:
            asked, state = replace(question, k=k), self._snapshot
            return await answered(self._services, state, state, asked, matching)

        guarded = engine.Guarded(self._guard, ask, _source, _weight, self._agreeing)
        with self._services.jobs.going_on():
            return await guarded.best(question.k, matching)

    async def _agreeing(self, lines: Sequence[MemoryLine]) -> list[bool]:
        return await asyncio.gather(*map(self._agrees, lines))

    async def _agrees(self, line: MemoryLine) -> bool:
        async def another(others: Filter) -> Voice | None:
            rows = await self._rows(others)
            found = await self._services.queries.ask(replace(near, rows=rows), self._snapshot)
            return engine.Voice(_source(found[0])) if found else None

        # Not the loser of a race: what was not believed then is no voice now.
        near = engine.Query(
            line.key,
            exact_norm(line.key),
            1,
            self._snapshot.committed_at,
            floor=self._guard.agreement,
            branches=False,
        )
        return await engine.corroborated(self._guard, _source(line), another)


def _source(line: MemoryLine) -> Source | None:
    return engine.source_of(line.context)


def _weight(line: MemoryLine) -> float:
    return line.weight
