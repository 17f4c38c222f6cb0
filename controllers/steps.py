"""What users write steps with: the values that steps return and the context that they are given."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, Generic, Literal, TypeAlias, cast

import structlog
from numpy.typing import ArrayLike
from structlog.typing import FilteringBoundLogger
from typing_extensions import TypeVar

from pmll_async import Candidate, Lattice, LatticeView, NoWinnerError, RaceOutcome

from .policies import Budget

Stage = Literal["run", "plan", "act", "reflect"]

Deps = TypeVar("Deps", default=Any)
"""What the application hands to its steps; never stored."""
Data = TypeVar("Data", default=Any)
"""What PLAN hands to ACT. It is journaled, so it is anything that pydantic can write as JSON."""


@dataclass(frozen=True, kw_only=True)
class _Said:
    """What every verdict and plan carries.

    `text` and `data` go on the chain and to the next step. With `key` (dim,), and `value`
    (value_dim,) or the key when left out, the journal entry is a line that queries find, not a
    note.
    """

    key: ArrayLike | None = field(default=None, compare=False, repr=False)
    value: ArrayLike | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Plan(_Said, Generic[Data]):
    """What PLAN wants to be tried; its `key` is also what candidates are scored against."""

    text: str = ""
    # An optional type would make every ACT ask whether the data is there.
    data: Data = cast(Data, None)  # noqa: RUF009  # `cast` returns None itself


@dataclass(frozen=True)
class Continue(_Said):
    """REFLECT's verdict: another cycle. It is the next PLAN's `ctx.previous`."""

    text: str = ""
    data: Any = None


@dataclass(frozen=True)
class Done(_Said):
    """REFLECT's verdict: the goal is reached. `text` and `data` become the result's."""

    text: str = ""
    data: Any = None


@dataclass(frozen=True)
class Retry(_Said):
    """REFLECT's verdict: race the acts again on the same plan, within the cycle's retry limit.

    It is the acts' `ctx.previous`.
    """

    text: str = ""
    data: Any = None


Verdict: TypeAlias = Continue | Done | Retry
Outcome: TypeAlias = RaceOutcome | NoWinnerError
"""What a race gave. That no act produced a line is a value, too, so that REFLECT can decide."""


@dataclass(frozen=True)
class StepContext(Generic[Deps]):
    """What a step may know and use; each step of each phase gets its own.

    `cycle` counts from 0, `attempt` counts the races of one cycle from 0. `view` is the lattice as
    the phase found it; raced acts all see the same one. `previous` is the verdict that led here:
    None in a run's first cycle. `plan` is the last one made; before that an empty one.
    `idempotency_key` names this very step, the same on every machine: hand it to services that take
    one. In a step that runs in a thread, call async methods with ``anyio.from_thread.run``.
    """

    goal: str
    run_id: str
    cycle: int
    attempt: int
    stage: Stage
    deps: Deps
    memory: Lattice
    view: LatticeView
    budget: Budget
    previous: Continue | Retry | None
    plan: Plan[Any]
    idempotency_key: str

    @cached_property
    def log(self) -> FilteringBoundLogger:
        """A logger with the run and the cycle bound to it."""
        bound = structlog.get_logger("controllers").bind(run_id=self.run_id, cycle=self.cycle)
        return cast(FilteringBoundLogger, bound)

    @cached_property
    def rng(self) -> random.Random:
        """Random numbers that a run repeated under its id gets again, whatever act runs first."""
        seed = blake2b(self.idempotency_key.encode(), digest_size=16).digest()
        return random.Random(seed)  # noqa: S311  # for choices that can be repeated, not for secrets


PlanStep: TypeAlias = Callable[[StepContext[Deps]], Plan[Data] | Awaitable[Plan[Data]]]
ActStep: TypeAlias = Callable[[StepContext[Deps], Plan[Data]], Candidate | Awaitable[Candidate]]
ReflectStep: TypeAlias = Callable[[StepContext[Deps], Outcome], Verdict | Awaitable[Verdict]]
Judge: TypeAlias = Callable[[StepContext[Deps], Plan[Data], Candidate], float | Awaitable[float]]
"""Scores a candidate; the highest score wins, then the order of the acts."""
