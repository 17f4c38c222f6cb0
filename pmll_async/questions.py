"""Questions to one state: with a filter, and with a guard that wants others to agree."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from pmll_async import engine
from pmll_async.values.exact import exact_norm

if TYPE_CHECKING:
    from pmll_async.engine.ledger.snapshot import Snapshot
    from pmll_async.engine.queries.reader import Query
    from pmll_async.engine.queries.services import Rows, Services
    from pmll_async.integrity.guard import Guard, Voice
    from pmll_async.integrity.source import Source
    from pmll_async.values.filters import Filter
    from pmll_async.values.lines import MemoryLine

AGREEMENT: Final = 0.8
"""The cosine from which on two lines are taken to say the same, unless told otherwise."""


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
