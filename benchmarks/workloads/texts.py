"""Sentences remembered and recalled."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import cast

from benchmarks import clock
from benchmarks.subjects import Subject
from benchmarks.text_subjects import SupportsRecall
from benchmarks.texts import questions, turns
from benchmarks.workloads import Figures, Params, Place
from benchmarks.workloads.puts import remove

RECALLED = 10


class Remembering:
    """Remembers all lines in an empty store, a fresh one every round; lines a second."""

    async def start(self, subject: Subject, params: Params, place: Place) -> None:
        self._subject, self._params, self._scratch = subject, params, place.scratch
        self._turns = list(turns(params.operations))

    async def round(self, number: int) -> Figures:
        folder = self._scratch / str(number)
        await self._subject.open(folder)
        try:
            began = time.perf_counter()
            await cast(SupportsRecall, self._subject).remember(self._turns)
            rate = len(self._turns) / (time.perf_counter() - began)
        finally:
            await self._subject.close()
            await asyncio.to_thread(remove, folder)
        return {"rate": rate}

    async def stop(self) -> None:
        """Each round has closed what it opened."""


class Recalling:
    """One caller asks question after question of a filled store; median seconds of an answer."""

    async def start(self, subject: Subject, params: Params, place: Place) -> None:
        self._subject, self._params = subject, params
        await subject.open(place.scratch)
        memory = cast(SupportsRecall, subject)
        await memory.remember(turns(params.lines))
        self._questions = questions(params.operations)
        await self._ask(self._questions[0])

    async def round(self, number: int) -> Figures:
        seconds = await clock.one_by_one(self._questions, self._ask, self._params.budget)
        return {"seconds": median(seconds)}

    async def _ask(self, question: str) -> None:
        await cast(SupportsRecall, self._subject).recall(question, RECALLED)

    async def stop(self) -> None:
        await self._subject.close()
