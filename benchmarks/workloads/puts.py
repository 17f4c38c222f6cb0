"""Durable puts: by one caller, by many tasks, in bulk, on stores that are filled or empty."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from pathlib import Path
from statistics import median
from typing import cast

from benchmarks import clock, data
from benchmarks.data import Line
from benchmarks.subjects import Subject, SupportsBatches, SupportsPut, SupportsQuery
from benchmarks.workloads import Figures, Params, Place

WARM_UP = 5
# Lines in the first bulk call, after which a slow subject need not make a second one.
FIRST_BULK = 128
# Ends with the process that has started it, however that ends.
SPIN = "import os\nwhile os.getppid() == {parent}: sum(range(100_000))"


def ready(subject: Subject, start: int, count: int) -> list[Line]:
    """Lines as callers put them, with no second vector; as lists where a subject takes those."""
    lines = data.lines(start, start + count, valued=False)
    for line in lines if subject.lists else ():
        assert line.floats
    return lines


def in_blocks(lines: list[Line]) -> list[list[Line]]:
    """The lines in blocks as large as those that stores are filled with."""
    return [lines[start : start + data.BLOCK] for start in range(0, len(lines), data.BLOCK)]


async def copied(place: Place) -> None:
    """Puts what the subject was filled with where it may be written to."""
    if place.base is not None:
        await asyncio.to_thread(shutil.copytree, place.base, place.scratch, dirs_exist_ok=True)


class SerialPuts:
    """One caller puts line after line; median seconds of a put."""

    async def start(self, subject: Subject, params: Params, place: Place) -> None:
        self._subject, self._params = subject, params
        await copied(place)
        await subject.open(place.scratch)
        self._put = cast(SupportsPut, subject).put
        self._next = params.lines + WARM_UP
        for line in ready(subject, params.lines, WARM_UP):
            await self._put(line)

    def lines(self, count: int) -> list[Line]:
        """The next lines."""
        lines = ready(self._subject, self._next, count)
        self._next += count
        return lines

    async def round(self, number: int) -> Figures:
        lines = self.lines(self._params.operations)
        return {"seconds": median(await clock.one_by_one(lines, self._put, self._params.budget))}

    async def stop(self) -> None:
        await self._subject.close()


class TaskPuts(SerialPuts):
    """Many tasks put; puts a second, seconds of processors a put, and syncs a batch where told."""

    async def round(self, number: int) -> Figures:
        lines = self.lines(max(self._params.tasks, self._params.operations))
        batches = self._subject if isinstance(self._subject, SupportsBatches) else None
        before = batches.records if batches else 0
        with clock.counted_syncs() as syncs:
            pace = await clock.by_tasks(self._params.tasks, lines, self._put, self._params.budget)
        figures = {"rate": pace.rate, "processor": pace.processor / pace.calls}
        if batches:
            count = batches.batches(before)
            figures |= {
                "syncs per batch": syncs() / count,
                "lines per batch": (batches.records - before) / count,
            }
        return figures


class BusyTaskPuts(TaskPuts):
    """The same beside a process that computes all the time."""

    async def round(self, number: int) -> Figures:
        spin = SPIN.format(parent=os.getpid())
        busy = await asyncio.create_subprocess_exec(sys.executable, "-c", spin)
        try:
            return await super().round(number)
        finally:
            busy.kill()
            await busy.wait()


class BulkPuts(SerialPuts):
    """Lines a second by the bulk way in, and by many tasks in the same round."""

    async def round(self, number: int) -> Figures:
        few = self.lines(max(self._params.tasks, self._params.operations // 4))
        pace = await clock.by_tasks(self._params.tasks, few, self._put, self._params.budget)
        load = cast(SupportsQuery, self._subject).load
        lines = self.lines(self._params.operations)
        began, done = time.perf_counter(), FIRST_BULK
        await load([lines[:done]])
        if time.perf_counter() - began < self._params.budget:
            await load(in_blocks(lines[done:]))
            done = len(lines)
        return {"rate": done / (time.perf_counter() - began), "tasks": pace.rate}


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
            pace = await clock.by_tasks(self._params.tasks, lines, put, self._params.budget)
        finally:
            await self._subject.close()
            await asyncio.to_thread(remove, folder)
        return {"rate": pace.rate}

    async def stop(self) -> None:
        """Each round has closed what it opened."""


def remove(folder: Path) -> None:
    """Removes a folder, whatever a peer may still be doing in it."""
    shutil.rmtree(folder, ignore_errors=True)
