"""A fresh process for a measurement; the last line that it prints is JSON.

versions AGENT                     what is installed
several AGENT FOLDER RUNS          runs one after the other, to be traced; counts SQLite's commits
measure AGENT FOLDER RUNS ROUNDS COMMITS
                                   seconds a run, and of COMMITS times write+fdatasync
loop AGENT FOLDER RUNS             runs all at once, beside a ticker
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, cast

from command import GOAL, Agent

WARM_UP = 20
TICK = 0.001
# A page of SQLite's, so that no library's floor is lower than another's.
BLOCK = bytes(4096)


def agent_of(module: str) -> Agent:
    """The agent's module; it is imported here, so that `several` can count from the start."""
    return cast(Agent, importlib.import_module(module))


def versions(module: str) -> dict[str, str]:
    """The version of each package that the agent is built on."""
    return {package: version(package) for package in agent_of(module).PACKAGES}


class CommitCounter:
    """Counts the transactions that SQLite commits in this process."""

    def __init__(self) -> None:
        self.commits = 0
        self._connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def install(self) -> None:
        """From now on connections tell this counter what they execute."""
        sqlite3.connect = self._traced

    def _traced(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = self._connect(*arguments, **options)
        connection.set_trace_callback(self._seen)
        return connection

    def _seen(self, statement: str) -> None:
        self.commits += statement.strip().upper().startswith("COMMIT")


async def several(module: str, folder: Path, runs: int) -> dict[str, int]:
    """Runs one after the other in one process."""
    counter = CommitCounter()
    counter.install()
    agent = agent_of(module)
    async with agent.opened(folder) as session:
        for number in range(runs):
            await agent.start(session, f"run-{number}", GOAL)
    return {"commits": counter.commits}


async def measure(
    module: str, folder: Path, runs: int, rounds: int, commits: float
) -> dict[str, list[float]]:
    """Each round's median seconds a run and of its floor, taken in turn within the round."""
    agent = agent_of(module)
    seconds: dict[str, list[float]] = {"run": [], "floor": []}
    async with agent.opened(folder) as session:
        for number in range(WARM_UP):
            await agent.start(session, f"warm-{number}", GOAL)
        for turn in range(rounds):
            seconds["floor"].append(floor(folder / "floor.log", runs) * commits)
            taken = []
            for number in range(runs):
                begun = time.perf_counter()
                await agent.start(session, f"run-{turn}-{number}", GOAL)
                taken.append(time.perf_counter() - begun)
            seconds["run"].append(median(taken))
    return seconds


def floor(file: Path, times: int) -> float:
    """Median seconds that a write of a page and an fdatasync take at a file's end."""
    taken = []
    descriptor = os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    try:
        for _ in range(times):
            begun = time.perf_counter()
            os.write(descriptor, BLOCK)
            os.fdatasync(descriptor)
            taken.append(time.perf_counter() - begun)
    finally:
        os.close(descriptor)
    return median(taken)


async def loop(module: str, folder: Path, runs: int) -> dict[str, float]:
    """How late the latest tick is while runs go on at once, and the seconds they take in all."""
    agent = agent_of(module)
    async with agent.opened(folder) as session:
        for number in range(WARM_UP):
            await agent.start(session, f"warm-{number}", GOAL)
        late: list[float] = []
        ticker = asyncio.create_task(tick(late))
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(runs):
                group.create_task(agent.start(session, f"run-{number}", GOAL))
        taken = time.perf_counter() - begun
        await asyncio.sleep(2 * TICK)
        ticker.cancel()
    return {"latest": max(late), "seconds": taken}


async def tick(late: list[float]) -> None:
    """Writes down how late each tick comes."""
    while True:
        due = time.perf_counter() + TICK
        await asyncio.sleep(TICK)
        late.append(time.perf_counter() - due)


def main(arguments: list[str]) -> object:
    match arguments:
        case ["versions", module]:
            return versions(module)
        case ["several", module, folder, runs]:
            return asyncio.run(several(module, Path(folder), int(runs)))
        case ["measure", module, folder, runs, rounds, commits]:
            return asyncio.run(
                measure(module, Path(folder), int(runs), int(rounds), float(commits))
            )
        case ["loop", module, folder, runs]:
            return asyncio.run(loop(module, Path(folder), int(runs)))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:])))
