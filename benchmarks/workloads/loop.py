"""The event loop: what a race adds to a task group, and how late a ticker comes under load."""

from __future__ import annotations

import asyncio
import gc
import shutil
from collections.abc import Iterator, Sequence
from statistics import median
from typing import cast

from benchmarks import clock, data
from benchmarks.data import Line, Vector
from benchmarks.subjects import Subject, SupportsPut, SupportsQuery, SupportsRace
from benchmarks.workloads import Figures, Params, Place
from benchmarks.workloads.puts import ready


class Races:
    """The median seconds of one race of `Params.tasks` trivial candidates, without a commit."""

    async def start(self, subject: Subject, params: Params, place: Place) -> None:
        self._subject, self._params = subject, params
        await subject.open(place.scratch)
        await self.round(0)

    async def round(self, number: int) -> Figures:
        races = range(self._params.operations)
        subject = cast(SupportsRace, self._subject)
        taken = await clock.one_by_one(
            races, lambda _: subject.race(self._params.tasks), self._params.budget
        )
        return {"seconds": median(taken)}

    async def stop(self) -> None:
        await self._subject.close()


class Ticker:
    """The largest lateness, in seconds, of a 1 ms ticker while tasks put and query for a while.

    A subject that neither puts nor queries is left idle: the machine's own lateness.
    """

    async def start(self, subject: Subject, params: Params, place: Place) -> None:
        self._subject, self._params = subject, params
        if place.base is not None:
            await asyncio.to_thread(shutil.copytree, place.base, place.scratch, dirs_exist_ok=True)
        await subject.open(place.scratch)
        self._next = params.lines

    async def round(self, number: int) -> Figures:
        # Made before the ticker runs: making them would hold the loop.
        lines = iter(ready(self._subject, self._next, self._params.operations))
        vectors = data.queries(data.CLUSTERS)
        self._next += self._params.operations
        done = asyncio.Event()
        gc.collect()
        async with asyncio.TaskGroup() as group:
            if isinstance(self._subject, SupportsPut) and isinstance(self._subject, SupportsQuery):
                for task in range(self._params.tasks):
                    group.create_task(self._work(task, lines, vectors, done))
            late = await clock.ticker(self._params.seconds)
            done.set()
        return {"seconds": max(late), "ticks": float(len(late))}

    async def _work(
        self, task: int, lines: Iterator[Line], vectors: Sequence[Vector], done: asyncio.Event
    ) -> None:
        number = task
        while not done.is_set():
            if (line := next(lines, None)) is not None:
                await cast(SupportsPut, self._subject).put(line)
            await cast(SupportsQuery, self._subject).query(
                vectors[number % len(vectors)], self._params.k
            )
            number += 1

    async def stop(self) -> None:
        await self._subject.close()
