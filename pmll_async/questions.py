"""Questions to one state: with a filter, and with a guard that wants others to agree."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pmll_async import engine
from pmll_async.values.exact import exact_norm

if TYPE_CHECKING:
    from pmll_async.engine.ledger.snapshot import Snapshot
    from pmll_async.engine.queries.reader import Query
    from pmll_async.engine.queries.services import Rows, Services
    from pmll_async.integrity.guard import Guard
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


async def agreed_on(
    services: Services, snapshot: Snapshot, guard: Guard, anchors: Sequence[str]
) -> list[bool]:
    """Of which lines a guard is content with their sources."""
    with services.jobs.going_on():
        lines = await services.jobs.run(_lines, services, snapshot, anchors)
        return await Corroboration(services, snapshot, guard).agreeing(lines)


class Corroboration:
    """Asks who agrees with lines, all in one state, so that nothing changes in between."""

    def __init__(self, services: Services, snapshot: Snapshot, guard: Guard) -> None:
        self._services, self._snapshot, self._guard = services, snapshot, guard

    async def best(self, question: Query, matching: Filter | None) -> list[MemoryLine]:
        """The best lines that the guard lets pass."""

        async def ask(k: int, matching: Filter | None) -> list[MemoryLine]:
            return await self._asked(replace(question, k=k), matching)

        guarded = engine.Guarded(self._guard, ask, _source, _weight, self.agreeing)
        with self._services.jobs.going_on():
            return await guarded.best(question.k, matching)

    async def agreeing(self, lines: Sequence[MemoryLine]) -> list[bool]:
        """Which lines are trusted by themselves, or said by enough principals at first hand."""
        return await asyncio.gather(*map(self._agrees, lines))

    async def _agrees(self, line: MemoryLine) -> bool:
        guard = self._guard
        if guard.stands_alone(engine.source_of(line.context)):
            return True
        near = engine.Query(
            line.key,
            exact_norm(line.key),
            1,
            self._snapshot.committed_at,
            floor=guard.agreement,
            branches=False,
        )
        seen, with_owner = set[str](), True
        for _ in range(guard.min_sources):
            others = engine.first_hand(seen, with_owner=with_owner)
            found = await self._asked(near, others)
            if not found:
                return False
            source = engine.source_of(found[0].context)
            if source is None:
                with_owner = False
            else:
                seen.add(source.principal)
        return True

    async def _asked(self, question: Query, matching: Filter | None) -> list[MemoryLine]:
        return await answered(self._services, self._snapshot, self._snapshot, question, matching)


def _lines(services: Services, snapshot: Snapshot, anchors: Sequence[str]) -> list[MemoryLine]:
    return [services.reader.line(snapshot, snapshot.find(anchor)) for anchor in anchors]


def _source(line: MemoryLine) -> Source | None:
    return engine.source_of(line.context)


def _weight(line: MemoryLine) -> float:
    return line.weight
