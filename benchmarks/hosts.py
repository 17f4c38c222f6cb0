"""Where a subject runs: in this process, or in one process a peer.

The lattice and the floors run here, where a profiler sees them. Each peer has a process of its own,
so that its imports, thread pools and OpenMP runtime slow nobody else.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, cast

from benchmarks import data
from benchmarks.data import Where
from benchmarks.subjects import PEERS, SupportsQuery, SupportsTidy, own_process, subject_class
from benchmarks.workloads import Figures, Params, Place, Workload
from benchmarks.workloads.processes import ROOT

# A peer that does not answer for so long is given up; the slowest load takes about half of it.
PATIENCE = 600.0
FOLDERS = re.compile(r"/(?:[^/\s]+/)+")
SILENT = {
    "ANONYMIZED_TELEMETRY": "False",
    "MEM0_TELEMETRY": "False",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "LANGSMITH_TRACING": "false",
}


def silence(scratch: Path) -> None:
    """Switches telemetry and downloads off here and in all that is started; an empty home."""
    os.environ.update(SILENT, MEM0_DIR=str(scratch / "mem0-home"), HOME=str(scratch / "home"))


class SubjectError(Exception):
    """What a subject in a process of its own raised, in words."""


def reason(error: BaseException) -> str:
    """An error in one short line, without the folders of this machine; of a group the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    words = " ".join(FOLDERS.sub("", str(error)).split())
    return words if isinstance(error, SubjectError) else f"{type(error).__name__}: {words}"[:120]


class Host(Protocol):
    """Runs one subject's workloads, one at a time."""

    async def build(self, lines: int, folder: Path) -> None: ...

    async def start(self, workload: str, params: Params, place: Place) -> None: ...

    async def round(self, number: int) -> Figures: ...

    async def stop(self) -> None: ...

    async def abandon(self) -> None:
        """Gives up what has failed, so that the next plan finds the host idle."""
        ...


class Here:
    """Runs the subject in this process and on this loop."""

    def __init__(self, subject: str) -> None:
        self._class = subject_class(subject)
        self._workload: Workload | None = None

    async def build(self, lines: int, folder: Path) -> None:
        """Fills a folder with the first `lines` lines and closes it."""
        subject = self._class()
        await subject.open(folder)
        try:
            await cast(SupportsQuery, subject).load(data.blocks(lines))
            if isinstance(subject, SupportsTidy):
                await subject.tidy()
        finally:
            await subject.close()

    async def start(self, workload: str, params: Params, place: Place) -> None:
        module, _, attribute = workload.partition(":")
        self._workload = cast(Workload, getattr(importlib.import_module(module), attribute)())
        await self._workload.start(self._class(), params, place)

    async def round(self, number: int) -> Figures:
        assert self._workload is not None
        return await self._workload.round(number)

    async def stop(self) -> None:
        workload, self._workload = self._workload, None
        if workload is not None:
            await workload.stop()

    async def abandon(self) -> None:
        # What failed once may well fail at closing, and has been reported.
        with suppress(Exception):
            await self.stop()


class There:
    """Asks a process of the subject's own, over its standard streams, one JSON text a line.

    The process is started by the first call, and by the next one after it has been ended.
    """

    def __init__(self, subject: str, log: Path) -> None:
        self._subject, self._log = subject, log
        self._process: asyncio.subprocess.Process | None = None

    async def build(self, lines: int, folder: Path) -> None:
        await self._ask("build", lines=lines, folder=str(folder))

    async def start(self, workload: str, params: Params, place: Place) -> None:
        base = None if place.base is None else str(place.base)
        await self._ask(
            "start", workload=workload, params=asdict(params), scratch=str(place.scratch), base=base
        )

    async def round(self, number: int) -> Figures:
        return cast(Figures, await self._ask("round", number=number))

    async def stop(self) -> None:
        await self._ask("stop")

    async def abandon(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._process = None

    async def _ask(self, call: str, **arguments: object) -> object:
        if self._process is None:
            self._process = await worker(self._subject, self._log)
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps({"call": call, **arguments}).encode() + b"\n")
            await stdin.drain()
            async with asyncio.timeout(PATIENCE):
                line = await stdout.readline()
        except (TimeoutError, ConnectionError) as error:
            raise SubjectError(f"no answer to {call}") from error
        if not line:
            raise SubjectError(f"its process ended during {call} with {await self._process.wait()}")
        reply = json.loads(line)
        if "error" in reply:
            raise SubjectError(reply["error"])
        return reply["figures"]


@asynccontextmanager
async def hosts(subjects: list[str], scratch: Path) -> AsyncIterator[dict[str, Host]]:
    """A host for each subject; the peers' processes end with the block."""
    found: dict[str, Host] = {
        name: There(name, scratch / f"{name}.log") if name in PEERS else Here(name)
        for name in subjects
    }
    try:
        yield found
    finally:
        for host in found.values():
            await host.abandon()


async def worker(name: str, log: Path) -> asyncio.subprocess.Process:
    """A process for one peer; what it says on standard error is kept in a file beside the data."""
    with log.open("ab") as stream:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-W", "ignore", "-m", "benchmarks.hosts", name, cwd=ROOT,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=stream,
        )  # fmt: skip


async def answer(host: Here, request: dict[str, Any]) -> Figures | None:
    """What one request asks for."""
    match request["call"]:
        case "build":
            await host.build(request["lines"], Path(request["folder"]))
        case "start":
            where = request["params"].pop("where")
            params = Params(**request["params"], where=Where(**where) if where else None)
            base = Path(request["base"]) if request["base"] else None
            await host.start(request["workload"], params, Place(Path(request["scratch"]), base))
        case "round":
            return await host.round(request["number"])
        case "stop":
            await host.stop()
    return None


async def serve(name: str) -> None:
    """Answers requests from standard input until it closes."""
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    # What a library prints must not end up between the replies.
    os.dup2(2, 1)
    reader = asyncio.StreamReader(limit=2**20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    own_process(name)
    host = Here(name)
    while line := await reader.readline():
        try:
            reply: dict[str, object] = {"figures": await answer(host, json.loads(line))}
        # Whatever a peer raises is its line in the table, not the end of the run.
        except Exception as error:  # noqa: BLE001  # as said
            traceback.print_exc()
            reply = {"error": reason(error)}
        replies.write(json.dumps(reply).encode() + b"\n")


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
