"""Runs plans: fills the stores once and interleaves the subjects round by round."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.hosts import Here, Host, SubjectError, hosts, reason, silence
from benchmarks.plan import Plan, spaced
from benchmarks.results import OK, Measured, Row, read
from benchmarks.scratch import scratch
from benchmarks.subjects import (
    FILLED_AS,
    IDLE,
    LMDB_COMMIT,
    PEERS,
    WRITE,
    missing,
    subject_class,
)
from benchmarks.workloads import Place
from benchmarks.workloads.puts import remove

# Floors without a store of their own have nothing to fill.
UNFILLED = frozenset({WRITE, LMDB_COMMIT, IDLE})


class Bench:
    """A run: the hosts of the subjects, and the folders that have been filled for them."""

    def __init__(self, found: dict[str, Host], folder: Path) -> None:
        self._hosts = found
        self._folder = folder
        self._filled: dict[tuple[str, int], Path] = {}
        self._failed: dict[tuple[str, int], str] = {}

    async def run(self, plan: Plan) -> list[Row]:
        """Measures one plan and returns its rows."""
        measured = {name: Measured() for name in plan.subjects if name in self._hosts}
        for name, result in measured.items():
            result.status = await self._start(plan, name)
        # What filling and copying left to be written must not be written on a round's time.
        await asyncio.to_thread(os.sync)
        for number in range(plan.rounds):
            for name, result in measured.items():
                if result.status == OK:
                    await self._round(name, number, result)
        for name, result in measured.items():
            if result.status == OK:
                await self._hosts[name].stop()
            await asyncio.to_thread(remove, self._own(plan, name))
        return read(plan, measured)

    def _own(self, plan: Plan, name: str) -> Path:
        """The folder in which a subject may write while a plan runs."""
        return self._folder / f"{plan.specs[0].name}-{folder_name(name)}"

    async def _start(self, plan: Plan, name: str) -> str:
        """Starts the workload; the answer is "measured" or the reason why it cannot be."""
        if module := missing(name):
            return f"not installed ({module})"
        if plan.filled and plan.params.lines > subject_class(name).capacity:
            return f"not measured: {spaced(plan.params.lines)} lines are too many to wait for"
        try:
            base = (
                await self._base(FILLED_AS.get(name, name), plan.params.lines)
                if plan.filled and name not in UNFILLED
                else None
            )
            place = Place(self._own(plan, name), base)
            await self._hosts[name].start(plan.workload, plan.params, place)
        except Exception as error:  # noqa: BLE001  # its cell in the table; the others go on
            await self._hosts[name].abandon()
            return f"failed: {reason(error)}"
        return OK

    async def _base(self, name: str, lines: int) -> Path:
        """The folder that holds the subject with so many lines, filled at the first call."""
        wanted = (name, lines)
        if wanted in self._failed:
            raise SubjectError(self._failed[wanted])
        if wanted not in self._filled:
            folder = self._folder / f"filled-{lines}-{folder_name(name)}"
            host = self._hosts.get(name) or Here(name)
            try:
                with told(f"filling {name} with {spaced(lines)} lines"):
                    await host.build(lines, folder)
            # Told again by every plan that needs this folder.
            except Exception as error:
                self._failed[wanted] = reason(error)
                raise
            self._filled[wanted] = folder
        return self._filled[wanted]

    async def _round(self, name: str, number: int, result: Measured) -> None:
        try:
            result.rounds.append(await self._hosts[name].round(number))
        except Exception as error:  # noqa: BLE001  # its cell in the table; the others go on
            await self._hosts[name].abandon()
            result.status = f"failed: {reason(error)}"


def folder_name(subject: str) -> str:
    """A subject's name as a folder may have it."""
    return subject.replace(", ", "-").replace(" ", "-")


@contextmanager
def told(what: str) -> Iterator[None]:
    """Says on standard error, so that standard output is the table, what is done and how long."""
    start = time.perf_counter()
    print(f"{time.strftime('%H:%M:%S')} {what} …", end=" ", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)


async def run(chosen: Sequence[Plan], peers: Sequence[str]) -> list[Row]:
    """Measures the plans with these peers; without a peer's package its cells say so."""
    used = {name for plan in chosen for name in plan.subjects if name in peers or name not in PEERS}
    rows: list[Row] = []
    with scratch() as folder:
        silence(folder)
        async with hosts(sorted(used), folder) as found:
            bench = Bench(found, folder)
            for number, plan in enumerate(chosen, 1):
                names = ", ".join(spec.name for spec in plan.specs)
                with told(f"{number} of {len(chosen)}: {names}"):
                    rows += await bench.run(plan)
    return rows
