"""What needs a fresh process every time: reopening, memory, and import time."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.subjects import Subject
from benchmarks.workloads import Figures, Params, Place
from benchmarks.workloads.puts import remove

ROOT = Path(__file__).resolve().parents[2]
WAIT = 120.0


async def child(*arguments: str) -> asyncio.subprocess.Process:
    """A fresh interpreter in the checkout."""
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=ROOT, env=os.environ.copy(), stdout=asyncio.subprocess.PIPE
    )


async def answer(*arguments: str) -> Any:
    """The JSON that a fresh interpreter prints last."""
    process = await child(*arguments)
    async with asyncio.timeout(WAIT):
        output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the child process ended with {process.returncode}")
    return json.loads(output.splitlines()[-1])


class Reopen:
    """A fresh process opens the store and answers a query: seconds, and resident bytes a line.

    Imports are done before the clock starts, and BLAS has its buffers before memory is read.
    """

    async def start(self, subject: Subject, params: Params, place: Place) -> None:
        assert place.base is not None
        self._name, self._params, self._base = subject.name, params, place.base

    async def round(self, number: int) -> Figures:
        found = await answer("-m", "benchmarks.child", "reopen", self._name, str(self._base))
        return {
            "seconds": found["seconds"],
            "memory": found["resident"] / self._params.lines,
        }

    async def stop(self) -> None:
        """Nothing is held open."""


class ReopenKilled(Reopen):
    """The same after a writer of the same store was killed in the middle of its puts."""

    async def round(self, number: int) -> Figures:
        writer = await child(
            "-m",
            "benchmarks.child",
            "write",
            self._name,
            str(self._base),
            str(self._params.operations),
        )
        assert writer.stdout is not None
        async with asyncio.timeout(WAIT):
            told = await writer.stdout.readline()
        writer.kill()
        await writer.wait()
        if told.strip() != b"writing":
            raise RuntimeError("the writer ended before it was killed")
        return await super().round(number)


class ReopenUncached(Reopen):
    """The same where nothing is there but the records, as in a copy of the log."""

    async def start(self, subject: Subject, params: Params, place: Place) -> None:
        assert place.base is not None
        uncached = shutil.ignore_patterns("cache")
        await asyncio.to_thread(shutil.copytree, place.base, place.scratch, ignore=uncached)
        await super().start(subject, params, Place(place.scratch, place.scratch))

    async def round(self, number: int) -> Figures:
        remove(self._base / "cache")
        return await super().round(number)


class ImportTime:
    """Seconds for an import statement in a fresh interpreter, which has started before."""

    async def start(self, subject: Subject, params: Params, place: Place) -> None:
        self._statement = subject.imports

    async def round(self, number: int) -> Figures:
        timed = f"start = time.perf_counter(); {self._statement}"
        program = f"import time; {timed}; print(time.perf_counter() - start)"
        return {"seconds": float(await answer("-c", program))}

    async def stop(self) -> None:
        """Nothing is held open."""
