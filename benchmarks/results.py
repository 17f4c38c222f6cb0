"""From the rounds' figures to the rows of the table, and to JSON and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from benchmarks.plan import Bound, Plan, Spec
from benchmarks.subjects import subject_class
from benchmarks.workloads import Figures

OK = "measured"
RATE = "/s"


@dataclass
class Measured:
    """What one subject gave in one plan."""

    status: str = OK
    rounds: list[Figures] = field(default_factory=list)

    def figures(self, name: str) -> list[float]:
        """One figure of every round; empty where it was not measured or has no such figure."""
        if self.status != OK:
            return []
        return [figures[name] for figures in self.rounds if name in figures]


@dataclass(frozen=True)
class Cell:
    """A subject's median in one operation; without one, `status` says why.

    `samples` has one figure a round, `also` the medians of the rounds' other figures.
    """

    status: str = OK
    value: float | None = None
    samples: list[float] = field(default_factory=list)
    also: Figures = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """A bound, the subject that it was held against, and the score: a ratio, or the figure itself.

    `reached` is None where it cannot be told.
    """

    text: str
    subject: str
    score: float | None = None
    is_ratio: bool = False
    reached: bool | None = None


@dataclass(frozen=True)
class Row:
    """One operation: a cell a subject, and what must be reached. Seconds, bytes, or calls a second.

    `lines` is how many the stores hold; 0 where they begin empty.
    """

    name: str
    operation: str
    unit: str
    lines: int
    cells: dict[str, Cell]
    verdicts: list[Verdict]

    def value(self, subject: str) -> float | None:
        """A subject's figure, if it has one."""
        cell = self.cells.get(subject)
        return None if cell is None else cell.value

    @property
    def is_rate(self) -> bool:
        """Whether more is better."""
        return self.unit == RATE

    def to_json(self) -> dict[str, Any]:
        """The row as JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Row:
        """The row that `to_json` made this of."""
        cells = {name: Cell(**cell) for name, cell in content["cells"].items()}
        verdicts = [Verdict(**verdict) for verdict in content["verdicts"]]
        return cls(**{**content, "cells": cells, "verdicts": verdicts})


def read(plan: Plan, measured: Mapping[str, Measured]) -> list[Row]:
    """The plan's rows, in order."""
    named = {subject_class(name).name: result for name, result in measured.items()}
    return [row_of(plan, spec, named) for spec in plan.specs]


def row_of(plan: Plan, spec: Spec, measured: Mapping[str, Measured]) -> Row:
    """One row. What was measured but has no such figure has no cell."""
    cells = {
        name: cell_of(spec, result)
        for name, result in measured.items()
        if result.status != OK or result.figures(spec.figure)
    }
    lines = plan.params.lines if plan.filled else 0
    verdicts = [verdict_of(spec, bound, measured) for bound in spec.bounds]
    return Row(spec.name, spec.operation, spec.unit, lines, cells, verdicts)


def cell_of(spec: Spec, result: Measured) -> Cell:
    """One subject's figure."""
    samples = result.figures(spec.figure)
    others = sorted(result.rounds[0].keys() - {spec.figure}) if result.rounds else []
    also = {name: median(figures) for name in others if (figures := result.figures(name))}
    return Cell(result.status, median(samples) if samples else None, samples, also)


def verdict_of(spec: Spec, bound: Bound, measured: Mapping[str, Measured]) -> Verdict:
    """The verdict on the best of the bound's subjects that has a score."""
    scores = {name: score_of(spec, bound, name, measured) for name in bound.of}
    told = {name: score for name, score in scores.items() if score is not None}
    if not told:
        return Verdict(bound.text, bound.of[0])
    name = (max if bound.at_least else min)(told, key=lambda name: told[name])
    score = told[name]
    return Verdict(bound.text, name, score, bound.is_ratio, bound.met(score))


def score_of(spec: Spec, bound: Bound, name: str, measured: Mapping[str, Measured]) -> float | None:
    """The median round's score."""
    if name not in measured:
        return None
    values = [value - bound.allowance for value in measured[name].figures(spec.figure)]
    if bound.is_ratio:
        # Taken within the round, so that a slow minute of the machine cancels out.
        divisors = divisors_of(spec, bound, name, measured)
        values = [value / divisor for value, divisor in zip(values, divisors, strict=False)]
    return median(values) if values else None


def divisors_of(
    spec: Spec, bound: Bound, name: str, measured: Mapping[str, Measured]
) -> list[float]:
    """What each round's figure is divided by."""
    figure = bound.figure or spec.figure
    found = [
        measured[other].figures(figure) if other in measured else []
        for other in bound.against or (name,)
    ]
    return [sum(figures) for figures in zip(*found, strict=False)]
