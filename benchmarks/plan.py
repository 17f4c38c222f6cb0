"""What a row of the table is made of: a workload, who does it, and what must be reached."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.workloads import Params

SCALES = ("1k", "10k", "100k", "1m")


@dataclass(frozen=True)
class Sizes:
    """How much of everything: the full sizes are the ones that the bounds name."""

    tiny: int = 1_000
    store: int = 10_000
    large: int = 100_000
    huge: int = 1_000_000
    growing: int = 2_000
    puts: int = 200
    task_puts: int = 1_280
    bulk: int = 2_560
    queries: int = 200
    concurrent: int = 256
    races: int = 50
    killed: int = 1_000
    cycles: int = 200
    phases: int = 10_000
    runs: int = 1_000
    hits: int = 200_000
    ticking: float = 1.0
    budget: float = 1.0
    rounds: int = 3
    imports: int = 7

    @property
    def scales(self) -> dict[str, int]:
        """The numbers of lines that puts and queries are measured at, by what rows call them."""
        stores = (self.tiny, self.store, self.large, self.huge)
        return dict(zip(SCALES, stores, strict=True))


QUICK = Sizes(
    tiny=100,
    store=200,
    large=400,
    huge=800,
    growing=128,
    puts=20,
    task_puts=128,
    bulk=256,
    queries=20,
    concurrent=64,
    races=10,
    killed=100,
    cycles=10,
    phases=60,
    runs=10,
    hits=1_000,
    ticking=0.1,
    budget=0.05,
    rounds=1,
    imports=1,
)


@dataclass(frozen=True)
class Bound:
    """What the best of some subjects must reach, in figures of the same rounds.

    Without `against` the figure itself is held against the limit. Else it is divided by the sum of
    the figures of those subjects; `figure` names theirs where it is another, and where `against` is
    empty but `figure` is not, the figure is divided by that one of the same subject. `allowance`,
    in the row's unit, is taken off first.
    """

    text: str
    limit: float
    of: tuple[str, ...]
    against: tuple[str, ...] = ()
    figure: str | None = None
    allowance: float = 0.0
    at_least: bool = False

    @property
    def is_ratio(self) -> bool:
        """Whether a figure is divided before it is held against the limit."""
        return bool(self.against or self.figure)

    def met(self, score: float) -> bool:
        """Whether a score is within the bound."""
        return score >= self.limit if self.at_least else score <= self.limit


@dataclass(frozen=True)
class Spec:
    """One row: a figure of every subject of a plan that has it, and what must be reached.

    Rates are better the larger they are; everything else the smaller.
    """

    name: str
    operation: str
    figure: str
    unit: str
    bounds: tuple[Bound, ...] = ()


@dataclass(frozen=True)
class Plan:
    """One workload on several subjects, which take turns; `filled` with `params.lines`."""

    workload: str
    params: Params
    subjects: tuple[str, ...]
    specs: tuple[Spec, ...]
    rounds: int
    filled: bool = False


def spaced(number: float) -> str:
    """A whole number in groups of three digits, as in "10 000"."""
    return f"{number:,.0f}".replace(",", " ")
