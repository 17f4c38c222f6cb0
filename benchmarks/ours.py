"""The lattice as a subject; only `OurRace` knows inner names of the package."""

from __future__ import annotations

import importlib
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks import data
from benchmarks.data import DIM, Line, Vector, Where

# The newest lines that novelty is of, where it is not of all.
WINDOW = 65_536


class OurLattice:
    """A lattice with its defaults: group commit, novelty and chain included.

    A put leaves the value out, as the peers have no second vector; loaded lines carry a value
    of their own, so that memory and reading are measured with it.
    """

    name: ClassVar[str] = "pmll-async"
    requires: ClassVar[tuple[str, ...]] = ("pmll_async",)
    capacity: ClassVar[int] = 1_000_000
    lists: ClassVar[bool] = False
    imports: ClassVar[str] = "from pmll_async import Lattice"
    caveat: ClassVar[str] = ""

    async def open(self, folder: Path) -> None:
        self._folder = folder
        self._package = importlib.import_module("pmll_async")
        self._lattice: Any = await self._package.Lattice.open(folder, dim=DIM)

    async def close(self) -> None:
        await self._lattice.aclose()

    async def put(self, line: Line) -> None:
        await self._lattice.put(line.key, None, line.context)

    async def load(self, blocks: Iterable[Sequence[Line]]) -> None:
        await self._lattice.put_many(self._candidates(blocks))

    def _candidates(self, blocks: Iterable[Sequence[Line]]) -> Iterator[object]:
        for block in blocks:
            for line in block:
                yield self._package.Candidate(key=line.key, value=line.value, context=line.context)

    async def query(self, vector: Vector, k: int, where: Where | None = None) -> int:
        return len(await self._lattice.query(vector, k=k, where=condition(where)))

    @property
    def records(self) -> int:
        """The number of records in the log."""
        return int(self._lattice.revision)


class Ours(OurLattice):
    """A lattice on the JSONL store."""

    # Novelty of a million lines beside each other would take half an hour.
    capacity: ClassVar[int] = 200_000

    def log_lines(self) -> list[bytes]:
        """Every line of the log, in order."""
        return [
            line
            for file in sorted(self._folder.glob("log-*.jsonl"))
            for line in file.read_bytes().splitlines(True)
        ]

    def batches(self, records: int) -> int:
        """All records of one batch say the same number of durable records, `d`."""
        return len({json.loads(line)["d"] for line in self.log_lines()[records:]})


class OurLmdb(OurLattice):
    """A lattice on the LMDB store."""

    name: ClassVar[str] = "pmll-async, LMDB"
    capacity: ClassVar[int] = 200_000
    requires: ClassVar[tuple[str, ...]] = ("pmll_async", "lmdb")

    async def open(self, folder: Path) -> None:
        await super().open(folder / "memory.lmdb")


def condition(where: Where | None) -> dict[str, object] | None:
    """The filter in the lattice's own words."""
    if where is None:
        return None
    return {where.field: where.operand if where.operator == "eq" else {"$gte": where.operand}}


class OurWindow(Ours):
    """A lattice whose lines are new beside the newest alone, which filling a million needs."""

    name: ClassVar[str] = "pmll-async, window"
    capacity: ClassVar[int] = 1_000_000

    async def open(self, folder: Path) -> None:
        self._folder = folder
        self._package = importlib.import_module("pmll_async")
        self._lattice: Any = await self._package.Lattice.open(
            folder, dim=DIM, novelty_window=WINDOW
        )


class OurRace:
    """Races up to the scores, as a lattice runs them before it commits; they look at no view."""

    name: ClassVar[str] = "pmll-async"
    requires: ClassVar[tuple[str, ...]] = ("pmll_async",)
    capacity: ClassVar[int] = 1_000_000
    lists: ClassVar[bool] = False
    imports: ClassVar[str] = "from pmll_async import Lattice"
    caveat: ClassVar[str] = ""

    async def open(self, folder: Path) -> None:
        make = importlib.import_module("pmll_async.values.lines").Candidate
        self._race: Any = importlib.import_module("pmll_async.engine.race.race")
        ready = [make(key=line.key, name=f"candidate {line.number}") for line in data.lines(0, 64)]
        self._functions = [trivial_candidate(candidate) for candidate in ready]

    async def close(self) -> None:
        """Nothing to close."""

    async def race(self, count: int) -> None:
        heat = await self._race.run_race(None, self._functions[:count], score=self._scores)
        assert len(heat.entries) == count

    async def _scores(self, candidates: Sequence[object]) -> Any:
        return await self._race.judge_all(confidence, candidates, None)


def trivial_candidate(ready: object) -> Callable[[object], Awaitable[object]]:
    """A candidate function whose candidate is ready: the race is measured, not the making."""

    async def candidate(view: object) -> object:
        return ready

    return candidate


def confidence(candidate: Any, view: object) -> float:
    """A trivial judge."""
    return float(candidate.confidence)
