"""When a run must stop: rules as small plain callables, asked one after another.

A rule looks at how far the run has come and returns why it must stop, or None. Rules keep no state,
so that one list of them serves any number of runs at once; write your own in a line::

    def office_hours(budget: Budget) -> str | None:
        return None if 9 <= datetime.now().hour < 17 else "the office is closed"
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias


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


@dataclass(frozen=True, slots=True)
class Budget:
    """How far a run has come. Asked before each PLAN and before each race of the acts.

    Of the goal at hand: `cycle` and `attempt`, those about to begin, counted from 0, and `depth`, 0
    for the run's own goal. Of the whole run, also before a resume: `cycles` begun, `elapsed`
    seconds in which it ran, and `usage`. `stage` is the phase about to begin; `max_cycles` is the
    controller's.
    """

    cycle: int
    attempt: int
    elapsed: float
    max_cycles: int
    depth: int = 0
    cycles: int = 0
    usage: Usage = field(default_factory=Usage)
    stage: Literal["plan", "act"] = "plan"

    @property
    def last_cycle(self) -> bool:
        """Whether no cycle can follow this one: a step may settle for what it has."""
        return self.cycle + 1 >= self.max_cycles


Rule: TypeAlias = Callable[[Budget], str | None]


def max_cycles(limit: int) -> Rule:
    """Stop before cycle `limit` of a goal, which is the one after `limit` cycles."""
    _check("max_cycles", limit, 1)
    return lambda budget: f"{limit} cycles are over" if budget.cycle >= limit else None


def total_cycles(limit: int) -> Rule:
    """Begin no more than `limit` cycles in the whole run, those of sub-goals included."""
    _check("total_cycles", limit, 1)

    def rule(budget: Budget) -> str | None:
        # A retry belongs to the cycle that it is in, and so does a race.
        begins = budget.stage == "plan" and budget.attempt == 0
        is_over = begins and budget.cycles >= limit
        return f"{limit} cycles of all goals are over" if is_over else None

    return rule


def retry_limit(limit: int) -> Rule:
    """Stop when a cycle has had `limit` retries and REFLECT wants another."""
    _check("retry_limit", limit, 0)
    return lambda budget: f"{limit} retries are over" if budget.attempt > limit else None


def max_depth(limit: int) -> Rule:
    """Leave alone what is more than `limit` levels under the run's own goal."""
    _check("max_depth", limit, 0)
    return lambda budget: (
        f"{limit} levels of sub-goals are enough" if budget.depth > limit else None
    )


def time_budget(seconds: float) -> Rule:
    """Begin no phase after that many seconds. A phase under way is the caller's to limit."""
    _check("time_budget", seconds, 0)
    return lambda budget: f"{seconds:g} seconds are over" if budget.elapsed >= seconds else None


def cost_budget(limit: float) -> Rule:
    """Begin no phase once the steps have spent that much, in the unit of `Usage.cost`."""
    _check("cost_budget", limit, 0)
    return lambda budget: f"{limit:g} are spent" if budget.usage.cost >= limit else None


def first_reason(rules: Iterable[Rule], budget: Budget) -> str | None:
    """What the first rule that objects says."""
    return next((reason for rule in rules if (reason := rule(budget)) is not None), None)


def _check(name: str, limit: float, least: int) -> None:
    # Asked this way round, so that NaN is refused as well.
    if not limit >= least:
        raise ValueError(f"{name} is at least {least}, not {limit}")
