"""Runs plans: fills the stores once and interleaves the subjects round by round."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.hosts import Host, SubjectError, hosts, reason, silence
from benchmarks.lines import OK, Line, Measured, read
from benchmarks.rows import Plan, spaced
from benchmarks.scratch import scratch
from benchmarks.subjects import PEERS, missing, subject_class
from benchmarks.workloads import Place

# Floors without a store of their own have nothing to fill.
UNFILLED = frozenset({"write+fdatasync", "idle loop"})


class Bench:
    """A run: the hosts of the subjects, and the folders that have been filled for them."""

    def __init__(self, found: dict[str, Host], folder: Path) -> None:
        self._hosts = found
        self._folder = folder
        self._filled: dict[tuple[str, int], Path] = {}
        self._failed: dict[tuple[str, int], str] = {}

    async def run(self, plan: Plan) -> list[Line]:
        """Measures one plan and returns its lines, ours first."""
        measured = {name: Measured() for name in plan.subjects if name in self._hosts}
        for name, result in measured.items():
            tell(f"{plan.name}: {name}")
            result.status = await self._start(plan, name)
        for number in range(plan.rounds):
            for name, result in measured.items():
                if result.status == OK:
                    tell(f"{plan.name}: round {number + 1} of {plan.rounds}: {name}")
                    await self._round(name, number, result)
        for name, result in measured.items():
            if result.status == OK:
                await self._hosts[name].stop()
        return read(plan, measured)

    async def _start(self, plan: Plan, name: str) -> str:
        """Starts the workload; the answer is "measured" or the reason why it cannot be."""
        if module := missing(name):
            return f"not installed ({module})"
        if plan.filled and plan.params.lines > subject_class(name).capacity:
            return f"not measured: {spaced(plan.params.lines)} lines are too many to wait for"
        try:
            base = (
                await self._base(name, plan.params.lines)
                if plan.filled and name not in UNFILLED
                else None
            )
            own = self._folder / f"{plan.name}-{name.replace(' ', '-')}"
            await self._hosts[name].start(plan.workload, plan.params, Place(own, base))
        # One subject's failure is its line in the table; the others are measured all the same.
        except Exception as error:  # noqa: BLE001  # as said
            await self._hosts[name].abandon()
            return f"failed: {reason(error)}"
        return OK

    async def _base(self, name: str, lines: int) -> Path:
        """The folder that holds the subject with so many lines, filled at the first call."""
        wanted = (name, lines)
        if wanted in self._failed:
            raise SubjectError(self._failed[wanted])
        if wanted not in self._filled:
            folder = self._folder / f"filled-{lines}-{name.replace(' ', '-')}"
            start = time.perf_counter()
            try:
                await self._hosts[name].build(lines, folder)
            # Told again by every plan that needs this folder.
            except Exception as error:
                self._failed[wanted] = reason(error)
                raise
            tell(f"filled {name} with {lines} lines in {time.perf_counter() - start:.1f} s")
            self._filled[wanted] = folder
        return self._filled[wanted]

    async def _round(self, name: str, number: int, result: Measured) -> None:
        try:
            result.rounds.append(await self._hosts[name].round(number))
        # As in _start.
        except Exception as error:  # noqa: BLE001  # as said
            await self._hosts[name].abandon()
            result.status = f"failed: {reason(error)}"


def tell(what: str) -> None:
    """Progress, on standard error so that standard output is the table."""
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


async def run(chosen: Sequence[Plan], peers: Sequence[str]) -> list[Line]:
    """Measures the plans with these peers; without a peer's package its lines say so."""
    used = {name for plan in chosen for name in plan.subjects if name in peers or name not in PEERS}
    lines: list[Line] = []
    with scratch() as folder:
        silence(folder)
        async with hosts(sorted(used), folder) as found:
            bench = Bench(found, folder)
            for plan in chosen:
                lines += await bench.run(plan)
    return lines
