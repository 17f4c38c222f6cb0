"""When a run must stop: rules as small plain callables, asked one after another.

A rule looks at how far the run has come and returns why it must stop, or None. Rules keep no state,
so that one list of them serves any number of runs at once; write your own in a line::

    def office_hours(budget: Budget) -> str | None:
        return None if 9 <= datetime.now().hour < 17 else "the office is closed"
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from pmll_async import InvalidInputError


@dataclass(frozen=True, slots=True)
class Usage:
    """What steps have spent: model calls and their tokens; `cost` in the caller's own unit."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*map(operator.add, _counts(self), _counts(other)))

    def __sub__(self, other: Usage) -> Usage:
        return Usage(*map(operator.sub, _counts(self), _counts(other)))

    def __bool__(self) -> bool:
        """Whether anything was spent."""
        return self != Usage()


_counts = operator.attrgetter("calls", "input_tokens", "output_tokens", "cost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a run may have beyond its limits: ``resume(run_id, budget=Allowance(cycles=8))``.

    `cycles` more for each goal and for all of them together, `retries` more for each cycle,
    `seconds` more, and so much more `cost`. A run keeps it, and a later one is added to it.
    `InvalidInputError` for what is negative or no number.
    """

    cycles: int = 0
    retries: int = 0
    seconds: float = 0.0
    cost: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            whole = name in ("cycles", "retries")
            is_number = type(value) is int or (type(value) is float and not whole)
            if not is_number or not 0 <= value < math.inf:
                wanted = "a whole number" if whole else "a number"
                raise InvalidInputError(f"{name} is {wanted} from 0 on, not {value!r}")

    def __add__(self, other: Allowance) -> Allowance:
        return Allowance(
            cycles=self.cycles + other.cycles,
            retries=self.retries + other.retries,
            seconds=self.seconds + other.seconds,
            cost=self.cost + other.cost,
        )

    def facts(self) -> dict[str, Any]:
        """What is not zero, by name."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True, slots=True)
class Budget:
    """How far a run has come. Asked before each PLAN and before each race of the acts.

    Of the goal at hand: `cycle` and `attempt`, those about to begin, counted from 0, and `depth`, 0
    for the run's own goal. Of the whole run, also before a resume: `cycles` begun, `elapsed`
    seconds in which it ran, and `usage`. `stage` is the phase about to begin; `max_cycles` is the
    controller's. `allowance` is what the run was given beyond its limits when it was resumed: the
    rules of this module add it to theirs, and one of your own may.
    """

    cycle: int
    attempt: int
    elapsed: float
    max_cycles: int
    depth: int = 0
    cycles: int = 0
    usage: Usage = field(default_factory=Usage)
    stage: Literal["plan", "act"] = "plan"
    allowance: Allowance = field(default_factory=Allowance)

    @property
    def last_cycle(self) -> bool:
        """Whether no cycle can follow this one: a step may settle for what it has."""
        return self.cycle + 1 >= self.max_cycles + self.allowance.cycles


Rule: TypeAlias = Callable[[Budget], str | None]


def max_cycles(limit: int) -> Rule:
    """Stop before cycle `limit` of a goal, which is the one after `limit` cycles."""
    _check("max_cycles", limit, 1)

    def rule(budget: Budget) -> str | None:
        most = limit + budget.allowance.cycles
        return f"{most} cycles are over" if budget.cycle >= most else None

    return rule


def total_cycles(limit: int) -> Rule:
    """Begin no more than `limit` cycles in the whole run, those of sub-goals included."""
    _check("total_cycles", limit, 1)

    def rule(budget: Budget) -> str | None:
        # A retry belongs to the cycle that it is in, and so does a race.
        begins = budget.stage == "plan" and budget.attempt == 0
        most = limit + budget.allowance.cycles
        is_over = begins and budget.cycles >= most
        return f"{most} cycles of all goals are over" if is_over else None

    return rule


def retry_limit(limit: int) -> Rule:
    """Stop when a cycle has had `limit` retries and REFLECT wants another."""
    _check("retry_limit", limit, 0)

    def rule(budget: Budget) -> str | None:
        most = limit + budget.allowance.retries
        return f"{most} retries are over" if budget.attempt > most else None

    return rule


def max_depth(limit: int) -> Rule:
    """Leave alone what is more than `limit` levels under the run's own goal."""
    _check("max_depth", limit, 0)
    return lambda budget: (
        f"{limit} levels of sub-goals are enough" if budget.depth > limit else None
    )


def time_budget(seconds: float) -> Rule:
    """Begin no phase after that many seconds. A phase under way is the caller's to limit."""
    _check("time_budget", seconds, 0)

    def rule(budget: Budget) -> str | None:
        most = seconds + budget.allowance.seconds
        return f"{most:g} seconds are over" if budget.elapsed >= most else None

    return rule


def cost_budget(limit: float) -> Rule:
    """Begin no phase once the steps have spent that much, in the unit of `Usage.cost`."""
    _check("cost_budget", limit, 0)

    def rule(budget: Budget) -> str | None:
        most = limit + budget.allowance.cost
        return f"{most:g} are spent" if budget.usage.cost >= most else None

    return rule


def first_reason(rules: Iterable[Rule], budget: Budget) -> str | None:
    """What the first rule that objects says."""
    return next((reason for rule in rules if (reason := rule(budget)) is not None), None)


def _check(name: str, limit: float, least: int) -> None:
    # Asked this way round, so that NaN is refused as well.
    if not limit >= least:
        raise ValueError(f"{name} is at least {least}, not {limit}")
