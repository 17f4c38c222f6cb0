"""What is done to a subject in one round, and what is read off the clock.

A workload is started on one subject, asked for rounds and stopped. A round answers named
figures: seconds, rates in calls a second, or ratios. Several figures may come from one round.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.data import Where
from benchmarks.subjects import Subject

Figures = dict[str, float]


@dataclass(frozen=True)
class Params:
    """The size of a workload; a workload reads what concerns it.

    A round has `operations` operations, or as many as fit in `budget` seconds: figures are per
    operation, so that a slow peer need not be waited for. `seconds` is a round's length where
    time sets it.
    """

    lines: int = 0
    operations: int = 0
    tasks: int = 64
    k: int = 5
    budget: float = 2.0
    seconds: float = 0.0
    where: Where | None = None


@dataclass(frozen=True)
class Place:
    """Where a workload works.

    `scratch` is an empty folder to write in; `base` holds the subject filled with `Params.lines`
    lines, to be read, and copied by who writes.
    """

    scratch: Path
    base: Path | None


class Workload(Protocol):
    """One way of using a subject."""

    async def start(self, subject: Subject, params: Params, place: Place) -> None: ...

    async def round(self, number: int) -> Figures: ...

    async def stop(self) -> None: ...
