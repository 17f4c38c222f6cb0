"""Durable puts: by one caller, by many tasks on a filled store, by many tasks on an empty one."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from statistics import median
from typing import cast

from benchmarks import clock, data
from benchmarks.data import Line
from benchmarks.subjects import Subject, SupportsBatches, SupportsPut
from benchmarks.workloads import Figures, Params, Place

WARM_UP = 5


def ready(subject: Subject, start: int, count: int) -> list[Line]:
    """Lines, with their lists of floats already made for a subject that takes lists."""
    lines = data.lines(start, start + count)
    for line in lines if subject.lists else ():
        assert line.floats
    return lines


class SerialPuts:
    """One caller puts line after line into a store that began empty; median seconds of a put."""

    async def start(self, subject: Subject, params: Params, place: Place) -> None:
        self._subject, self._params = subject, params
        await subject.open(place.scratch)
        self._put = cast(SupportsPut, subject).put
        self._next = WARM_UP
        for line in ready(subject, 0, WARM_UP):
            await self._put(line)

    async def round(self, number: int) -> Figures:
        lines = ready(self._subject, self._next, self._params.operations)
        self._next += len(lines)
        return {"seconds": median(await clock.one_by_one(lines, self._put, self._params.budget))}

    async def stop(self) -> None:
        await self._subject.close()


class TaskPuts:
    """Many tasks put into a filled store; puts a second, and syncs a batch where told."""

    async def start(self, subject: Subject, params: Params, place: Place) -> None:
        self._subject, self._params = subject, params
        if place.base is not None:
            await asyncio.to_thread(shutil.copytree, place.base, place.scratch, dirs_exist_ok=True)
        await subject.open(place.scratch)
        self._put = cast(SupportsPut, subject).put
        self._next = params.lines + WARM_UP
        for line in ready(subject, params.lines, WARM_UP):
            await self._put(line)

    async def round(self, number: int) -> Figures:
        lines = ready(self._subject, self._next, max(self._params.tasks, self._params.operations))
        self._next += len(lines)
        batches = self._subject if isinstance(self._subject, SupportsBatches) else None
        before = batches.records if batches else 0
        with clock.counted_syncs() as syncs:
            rate = await clock.by_tasks(self._params.tasks, lines, self._put, self._params.budget)
        figures = {"rate": rate}
        if batches:
            count = batches.batches(before)
            figures |= {
                "syncs per batch": syncs() / count,
                "lines per batch": (batches.records - before) / count,
            }
        return figures

    async def stop(self) -> None:
        await self._subject.close()


class GrowingPuts:
    """Many tasks fill an empty store with all lines, a fresh store every round; puts a second."""

    async def start(self, subject: Subject, params: Params, place: Place) -> None:
        self._subject, self._params, self._scratch = subject, params, place.scratch

    async def round(self, number: int) -> Figures:
        folder = self._scratch / str(number)
        lines = ready(self._subject, 0, max(self._params.tasks, self._params.operations))
        await self._subject.open(folder)
        try:
            put = cast(SupportsPut, self._subject).put
            rate = await clock.by_tasks(self._params.tasks, lines, put, self._params.budget)
        finally:
            await self._subject.close()
            await asyncio.to_thread(remove, folder)
        return {"rate": rate}

    async def stop(self) -> None:
        """Each round has closed what it opened."""


def remove(folder: Path) -> None:
    """Removes a folder, whatever a peer may still be doing in it."""
    shutil.rmtree(folder, ignore_errors=True)
