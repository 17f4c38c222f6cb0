"""From the rounds' figures to the lines of the table."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from benchmarks.rows import ITSELF, Plan, Spec
from benchmarks.subjects import OUR_LMDB, OURS, PEERS, subject_class
from benchmarks.workloads import Figures

OK = "measured"


@dataclass(frozen=True)
class Line:
    """One line of the table: a subject's median in one operation, and what it is compared with.

    Figures are in seconds, calls a second or ratios, as `unit` says. Where the status is not
    "measured" there are none, and the status says why. `samples` has one figure a round.
    """

    row: str
    operation: str
    subject: str
    unit: str
    status: str = OK
    required: str | None = None
    value: float | None = None
    against: str | None = None
    against_value: float | None = None
    ratio: float | None = None
    reached: bool | None = None
    samples: list[float] = field(default_factory=list)
    also: Figures = field(default_factory=dict)


@dataclass
class Measured:
    """What one subject gave in one plan."""

    status: str = OK
    rounds: list[Figures] = field(default_factory=list)

    def figures(self, name: str) -> list[float]:
        """One figure of every round; empty where it was not measured or has no such figure."""
        return (
            [figures[name] for figures in self.rounds if name in figures]
            if self.status == OK
            else []
        )


def read(plan: Plan, measured: dict[str, Measured]) -> list[Line]:
    """The plan's lines in order: each spec, ours first, then whoever else has something to say."""
    return [
        line_of(plan, spec, name, measured) for spec in plan.specs for name in told(spec, measured)
    ]


def is_ours(name: str) -> bool:
    """Whether the subject is the lattice, in whatever use."""
    return subject_class(name).name in (OURS, OUR_LMDB)


def told(spec: Spec, measured: dict[str, Measured]) -> list[str]:
    """The subjects with a line: not the floor we divide by, nor a peer without such a figure."""
    kept = [name for name in measured if name in PEERS or name != spec.against]
    return [
        name
        for name in kept
        if is_ours(name) or measured[name].status != OK or measured[name].figures(spec.figure)
    ]


def line_of(plan: Plan, spec: Spec, name: str, measured: dict[str, Measured]) -> Line:
    """One subject's line."""
    result = measured[name]
    values = result.figures(spec.figure)
    divisors = divisors_of(spec, name, measured)
    # A round's ratio is taken within the round, so that a slow minute of the machine cancels out.
    ratios = [value / divisor for value, divisor in zip(values, divisors, strict=False)]
    return Line(
        row=plan.name,
        operation=spec.operation,
        subject=subject_class(name).name,
        unit=spec.unit,
        status=result.status,
        required=spec.requirement.text if is_ours(name) else None,
        value=median(values) if values else None,
        against=named_divisor(spec) if divisors else None,
        against_value=median(divisors) if divisors else None,
        ratio=median(ratios) if ratios else None,
        reached=reached(spec, values, divisors) if is_ours(name) else None,
        samples=values,
        also=others(spec, result),
    )


def named_divisor(spec: Spec) -> str | None:
    """What the table calls the divisor."""
    return spec.divisor if spec.against == ITSELF else spec.against


def divisors_of(spec: Spec, name: str, measured: dict[str, Measured]) -> list[float]:
    """What the rounds' figures are divided by; empty for a figure that stands alone."""
    if name == spec.against:
        return []
    source = measured.get(name if spec.against == ITSELF else spec.against or "")
    return source.figures(spec.divisor or spec.figure) if source else []


def reached(spec: Spec, values: list[float], divisors: list[float]) -> bool | None:
    """Whether the median round is within the bound; None where it cannot be told."""
    if spec.against is None:
        return spec.requirement.met(median(values)) if values else None
    free = spec.requirement.allowance
    scores = [(value - free) / divisor for value, divisor in zip(values, divisors, strict=False)]
    return spec.requirement.met(median(scores)) if scores else None


def others(spec: Spec, result: Measured) -> Figures:
    """The medians of the round's other figures, for the JSON file."""
    names = result.rounds[0].keys() - {spec.figure} if result.rounds else set()
    return {name: median(result.figures(name)) for name in sorted(names) if result.figures(name)}
