"""Queries: the same again and again, never the same, filtered, and many at once."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import cast

from benchmarks import clock, data
from benchmarks.data import Vector
from benchmarks.subjects import Subject, SupportsQuery
from benchmarks.workloads import Figures, Params, Place

REPEATED = 20
# Rounds that a slow subject may take before the first one.
WARMING = 3


class Queries:
    """What the workloads here share: a subject opened on the filled folder, and its query."""

    async def start(self, subject: Subject, params: Params, place: Place) -> None:
        assert place.base is not None
        self._subject, self._params, self._base = subject, params, place.base
        await self.prepare()

    async def prepare(self) -> None:
        """Opens the store and asks each repeated query once."""
        await self._subject.open(self._base)
        self._found = 0
        await clock.one_by_one(self.repeated(REPEATED), self.ask, WARMING * self._params.budget)
        # A filter may leave too few lines for every query to have one near it.
        if not self._found and self._params.where is None:
            raise RuntimeError("no query near the stored lines found one")

    async def ask(self, vector: Vector) -> None:
        """One query."""
        self._found += await cast(SupportsQuery, self._subject).query(
            vector, self._params.k, self._params.where
        )

    async def typical(self, vectors: Sequence[Vector]) -> float:
        """The median seconds of a query."""
        return median(await clock.one_by_one(vectors, self.ask, self._params.budget))

    @staticmethod
    def repeated(count: int) -> list[Vector]:
        """A few queries over and over, so that the lines they return have been read before."""
        few = data.queries(REPEATED)
        return [few[number % REPEATED] for number in range(count)]

    async def stop(self) -> None:
        await self._subject.close()


class WarmQueries(Queries):
    """The median seconds of a query whose lines were returned before."""

    async def round(self, number: int) -> Figures:
        return {"seconds": await self.typical(self.repeated(self._params.operations))}


class ColdQueries(Queries):
    """The median seconds of a query whose lines were not read since the store was opened.

    Every round reopens and asks one query a cluster; the files stay in the page cache.
    """

    async def prepare(self) -> None:
        """Every round opens for itself."""
        self._found = 0

    async def round(self, number: int) -> Figures:
        fresh = data.queries(data.CLUSTERS, series=number + 1)[: self._params.operations]
        await self._subject.open(self._base)
        try:
            # Opening may be lazy: the first query pays for that and is not the median.
            return {"seconds": await self.typical(fresh)}
        finally:
            await self._subject.close()

    async def stop(self) -> None:
        """Each round has closed what it opened."""


class ConcurrentQueries(Queries):
    """Queries a second by many tasks."""

    async def round(self, number: int) -> Figures:
        together = self.repeated(max(self._params.tasks, self._params.operations))
        pace = await clock.by_tasks(self._params.tasks, together, self.ask, self._params.budget)
        return {"rate": pace.rate}
