"""When a run must stop: rules as small plain callables, asked one after another.

A rule looks at how far the run has come and returns why it must stop, or None. Rules keep no state,
so that one list of them serves any number of runs at once; write your own in a line::

    def office_hours(budget: Budget) -> str | None:
        return None if 9 <= datetime.now().hour < 17 else "the office is closed"
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Budget:
    """How far a run has come. Asked before each PLAN and before each race of the acts.

    `cycle` and `attempt` are those about to begin, counted from 0; `elapsed` is in seconds;
    `max_cycles` is the controller's.
    """

    cycle: int
    attempt: int
    elapsed: float
    max_cycles: int

    @property
    def last_cycle(self) -> bool:
        """Whether no cycle can follow this one: a step may settle for what it has."""
        return self.cycle + 1 >= self.max_cycles


Rule: TypeAlias = Callable[[Budget], str | None]


def max_cycles(limit: int) -> Rule:
    """Stop before cycle `limit`, which is the one after `limit` cycles."""
    _check("max_cycles", limit, 1)
    return lambda budget: f"{limit} cycles are over" if budget.cycle >= limit else None


def retry_limit(limit: int) -> Rule:
    """Stop when a cycle has had `limit` retries and REFLECT wants another."""
    _check("retry_limit", limit, 0)
    return lambda budget: f"{limit} retries are over" if budget.attempt > limit else None


def time_budget(seconds: float) -> Rule:
    """Begin no phase after that many seconds. A phase under way is the caller's to limit."""
    _check("time_budget", seconds, 0)
    return lambda budget: f"{seconds:g} seconds are over" if budget.elapsed >= seconds else None


def first_reason(rules: Iterable[Rule], budget: Budget) -> str | None:
    """What the first rule that objects says."""
    return next((reason for rule in rules if (reason := rule(budget)) is not None), None)


def _check(name: str, limit: float, least: int) -> None:
    if not limit >= least:
        raise ValueError(f"{name} is at least {least}, not {limit}")
