"""Runs of a controller: what a cycle takes, many runs at once, resuming a long one."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine
from statistics import median
from typing import cast

from benchmarks import clock
from benchmarks.run_subjects import SupportsRuns
from benchmarks.subjects import Subject
from benchmarks.workloads import Figures, Params, Place

_CYCLES_AT_ONCE = 3
_PHASES = 3
# Seconds between two looks at all objects, each of which takes as long as the collector's.
_LOOK = 0.05


class Cycles:
    """Seconds a cycle in one run, and seconds of the commits alone that a cycle makes."""

    async def start(self, subject: Subject, params: Params, place: Place) -> None:
        self._subject, self._cycles = subject, params.operations
        await subject.open(place.scratch)
        await cast(SupportsRuns, subject).run(2)

    async def round(self, number: int) -> Figures:
        runs = cast(SupportsRuns, self._subject)
        cycle = await clock.one_by_one([self._cycles], runs.run, 0)
        commits = await clock.one_by_one([self._cycles], runs.commits, 0)
        return {"cycle": cycle[0] / self._cycles, "commits": commits[0] / self._cycles}

    async def stop(self) -> None:
        await self._subject.close()


class ManyRuns:
    """Lateness of a 1 ms ticker while runs go on at once, as it is and after `gc.freeze()`.

    Where it works, the collector stops the interpreter for as long as it takes to look at every
    object: no library's code can be interrupted by it, or keep it away. So it is measured beside
    bare tasks that hold as many objects, too.
    """

    async def start(self, subject: Subject, params: Params, place: Place) -> None:
        self._subject, self._tasks = subject, params.tasks
        await subject.open(place.scratch)
        await cast(SupportsRuns, subject).run(2)
        self._objects = await self._held()

    async def round(self, number: int) -> Figures:
        collected = await self._late(self._run)
        bare = await self._late(self._hold)
        gc.freeze()
        try:
            late = await self._late(self._run)
        finally:
            gc.unfreeze()
        return {
            "frozen": max(late),
            "frozen_p99": quantile(late),
            "gc": max(collected),
            "bare": max(bare),
        }

    async def _run(self) -> None:
        await cast(SupportsRuns, self._subject).run(_CYCLES_AT_ONCE)

    async def _hold(self) -> None:
        """What a bare task does: it makes its objects phase by phase and keeps them."""
        phases = _PHASES * _CYCLES_AT_ONCE
        held: list[list[list[int]]] = []
        for _ in range(phases):
            held.append([[0] for _ in range(self._objects // phases)])
            await asyncio.sleep(0)

    async def _held(self) -> int:
        """The most objects that a run has been seen to hold while all of them go on."""
        gc.collect()
        before = most = alive()
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(self._run()) for _ in range(self._tasks)]
            while not all(run.done() for run in runs):
                await asyncio.sleep(_LOOK)
                most = max(most, alive())
        return (most - before) // self._tasks

    async def _late(self, call: Callable[[], Coroutine[None, None, None]]) -> list[float]:
        gc.collect()
        over = asyncio.Event()
        ticking = asyncio.create_task(self._tick(over))
        await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._tasks):
                group.create_task(call())
        over.set()
        return await ticking

    async def _tick(self, over: asyncio.Event) -> list[float]:
        late = []
        while not over.is_set():
            before = time.perf_counter()
            await asyncio.sleep(clock.TICK)
            late.append(max(0.0, time.perf_counter() - before - clock.TICK))
        return late

    async def stop(self) -> None:
        await self._subject.close()


class Resume:
    """Seconds to open the lattice and end a run that stopped in the last of many phases."""

    async def start(self, subject: Subject, params: Params, place: Place) -> None:
        self._subject, self._params, self._scratch = subject, params, place.scratch

    async def round(self, number: int) -> Figures:
        await self._subject.open(self._scratch / str(number))
        runs = cast(SupportsRuns, self._subject)
        try:
            await runs.stopped(self._params.operations // _PHASES)
            gc.collect()
            began = time.perf_counter()
            await runs.resume()
            return {"seconds": time.perf_counter() - began}
        finally:
            await self._subject.close()

    async def stop(self) -> None:
        """Each round has closed what it opened."""


class Hits:
    """What working memory answers a second to one task that asks for what is there."""

    async def start(self, subject: Subject, params: Params, place: Place) -> None:
        self._subject, self._count = subject, params.operations
        await subject.open(place.scratch)

    async def round(self, number: int) -> Figures:
        taken = await clock.one_by_one(
            [self._count] * 3, cast(SupportsRuns, self._subject).hits, self._count
        )
        return {"rate": self._count / median(taken)}

    async def stop(self) -> None:
        await self._subject.close()


def alive() -> int:
    """How many objects the collector knows. It lists them on request, which a tuple that another
    thread is making does not survive."""
    gc.freeze()
    try:
        return gc.get_freeze_count()
    finally:
        gc.unfreeze()


def quantile(late: list[float]) -> float:
    """The lateness that one tick in a hundred exceeds."""
    return sorted(late)[int(len(late) * 0.99)]
