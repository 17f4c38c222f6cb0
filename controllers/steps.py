"""What users write steps with: the values that steps return and the context that they are given."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, cast, overload

import structlog
from numpy.typing import ArrayLike
from structlog.typing import FilteringBoundLogger
from typing_extensions import TypeVar

from pmll_async import (
    Candidate,
    CandidateFailure,
    Lattice,
    LatticeView,
    MemoryLine,
    RaceOutcome,
    WorkingMemory,
)

from .policies import Budget, Usage

if TYPE_CHECKING:
    from pmll_async.text import TextMemory

Phase = Literal["plan", "act", "reflect"]
"""What a step belongs to."""

Deps = TypeVar("Deps", default=Any)
"""What the application hands to its steps; never stored."""
Data = TypeVar("Data", default=Any)
"""What one phase hands to the next. It is journaled, so it is anything that is JSON or that the
step's annotation tells pydantic to make of JSON."""
Made = TypeVar("Made")


@dataclass(frozen=True)
class _Said(Generic[Data]):
    """What every verdict and plan carries.

    `text` and `data` go on the chain and to the next step. With `key` (dim,), and `value`
    (value_dim,) or the key when left out, the journal entry is a line that queries find, not a
    note.
    """

    text: str = ""
    # An optional type would make every ACT ask whether the data is there.
    data: Data = cast(Data, None)  # noqa: RUF009  # `cast` returns None itself
    key: ArrayLike | None = field(default=None, kw_only=True, compare=False, repr=False)
    value: ArrayLike | None = field(default=None, kw_only=True, compare=False, repr=False)


@dataclass(frozen=True)
class Plan(_Said[Data]):
    """What PLAN wants to be tried; its `key` is also what candidates are scored against.

    `goals` are sub-goals. Each is reached, or given up, by a loop of its own through the same
    steps, one after another and depth first, before this plan's acts see `ctx.results`.
    """

    goals: Sequence[str] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class Continue(_Said[Data]):
    """REFLECT's verdict: another cycle. It is the next PLAN's `ctx.previous`."""


@dataclass(frozen=True)
class Done(_Said[Data]):
    """REFLECT's verdict: the goal is reached. `text` and `data` become the result's."""


@dataclass(frozen=True)
class Retry(_Said[Data]):
    """REFLECT's verdict: race the acts again on the same plan, within the cycle's retry limit.

    It is the acts' `ctx.previous`; where PLAN had failed it is PLAN's, which is asked again.
    """


@dataclass(frozen=True)
class Pause:
    """Any step may return it: stop, durably, until ``resume(run_id, answer=…)`` brings an answer.

    Then the step that asked is called again, with `ctx.answer`. Nothing of a race is committed in
    which an act asks.
    """

    question: str
    data: Any = None


@dataclass(frozen=True)
class Failed:
    """What REFLECT is given where there is no outcome: a phase came to nothing.

    PLAN raised, or no act produced a line that could be committed: `failures` are those that
    raised, `unfinished` those that the time limit stopped. `error` is the exception itself, as long
    as this process has it.
    """

    stage: Literal["plan", "act"]
    failures: tuple[CandidateFailure, ...]
    unfinished: tuple[str, ...] = ()
    error: Exception | None = field(default=None, compare=False, repr=False)

    if not TYPE_CHECKING:  # mypy already refuses the names that only an outcome has

        def __getattr__(self, name: str) -> Any:
            """There is no winner here: say so, and why."""
            hint = "" if name.startswith("__") else f" ({self}); ask isinstance(outcome, Failed)"
            raise AttributeError(f"'Failed' has no {name!r}{hint}")

    def __str__(self) -> str:
        told = "; ".join(str(failure) for failure in self.failures[:3])
        late = f"; unfinished: {', '.join(self.unfinished)}" if self.unfinished else ""
        return f"{self.stage} came to nothing: {told or 'nothing was in time'}{late}"


@dataclass(frozen=True)
class GoalResult:
    """How a sub-goal ended: `done`, or `exhausted` for `reason`. `winner` is its last race's."""

    goal: str
    status: Literal["done", "exhausted"]
    text: str = ""
    data: Any = None
    reason: str = ""
    winner: str = ""


Verdict: TypeAlias = Continue[Data] | Done[Data] | Retry[Data]
Outcome: TypeAlias = RaceOutcome | Failed
"""What the acts gave. That nothing came of them is a value, too, so that REFLECT can decide."""


class Doing(Protocol):
    """What a step may do to its run, and by which names."""

    @property
    def step_key(self) -> str:
        """The idempotency key of the step."""
        ...

    @property
    def idempotency_key(self) -> str:
        """That of the effect under way, or else the step's."""
        ...

    async def entry(self, name: str, status: str) -> MemoryLine | None:
        """The journal's entry of an effect of the step, `begun` or `done`."""
        ...

    async def once(self, name: str, fn: Callable[[], Made | Awaitable[Made]], again: bool) -> Made:
        """Do an effect, if it was not done before."""
        ...

    def spend(self, usage: Usage) -> None:
        """Add to what the run has spent."""
        ...

    async def say(self, text: str, *, begins: bool) -> None:
        """Tell who follows the run a text of the step."""
        ...

    async def tell(self, event: Callable[..., Any], **facts: Any) -> None:
        """Tell who follows the run an event of the step."""
        ...


@dataclass(frozen=True)
class StepContext(Generic[Deps]):
    """What a step may know and use; each step of each phase gets its own.

    `cycle` counts from 0, `attempt` counts the races of one cycle from 0. `goals` leads from the
    run's goal to this one, which is `goal`. `view` is the lattice as the phase found it; raced acts
    all see the same one. `previous` is the verdict that led here: None in a goal's first cycle.
    `plan` is the last one made; before that an empty one. `results` are those of its sub-goals.
    `answer` is what the last `Pause` of this very step was answered with, `answers` are all of them
    in this phase, in their order. `raced` tells that this is one
    of several acts, which may lose: it has no side effects.

    `resumed` tells that this step may have begun before. In a step that runs in a thread, call
    async methods with ``anyio.from_thread.run``.
    """

    goal: str
    goals: tuple[str, ...]
    run_id: str
    cycle: int
    attempt: int
    stage: Phase
    deps: Deps
    memory: Lattice
    view: LatticeView
    budget: Budget
    previous: Continue | Retry | None
    plan: Plan[Any]
    results: tuple[GoalResult, ...]
    answer: Any
    raced: bool
    resumed: bool
    working: WorkingMemory
    answers: tuple[Any, ...] = field(default=(), kw_only=True)
    # Private: steps reach them by the methods, which say what is missing or wrong.
    _texts: TextMemory | None = field(repr=False)
    _doing: Doing = field(repr=False)

    @property
    def depth(self) -> int:
        """How many goals there are above this one."""
        return len(self.goals) - 1

    @property
    def idempotency_key(self) -> str:
        """A name to hand to services that take one, the same in every process and after a resume.

        Within an effect it is that effect's: run, cycle, step and the effect's name, so that no two
        share one. Elsewhere it is this very step's.
        """
        return self._doing.idempotency_key

    @property
    def has_texts(self) -> bool:
        """Whether the controller was given a text memory."""
        return self._texts is not None

    @property
    def texts(self) -> TextMemory:
        """The text memory that the controller was given; `TypeError` if it was given a lattice."""
        if self._texts is None:
            raise TypeError(
                "this controller was given a Lattice; for ctx.texts give it the TextMemory"
            )
        return self._texts

    @overload
    async def once(
        self, name: str, fn: Callable[[], Awaitable[Made]], *, again: bool = True
    ) -> Made: ...

    @overload
    async def once(self, name: str, fn: Callable[[], Made], *, again: bool = True) -> Made: ...

    async def once(self, name: str, fn: Callable[[], Any], *, again: bool = True) -> Any:
        """Do a side effect and journal what it returned, so that a resume does not do it again.

        `name` is the effect's within this step. The intent is durable before `fn` is called, the
        result before this returns. Where the result is known, it is returned and `fn` is not
        called. It is JSON, or what the annotation of `fn` makes of JSON.
        While `fn` is under way, `idempotency_key` is the effect's own.
        If the process died in between, nobody knows whether the effect took place: it is done
        again, which a service that is given that key makes harmless; with ``again=False`` it
        is `EffectUnknownError`.
        """
        return await self._doing.once(name, fn, again)

    def spend(self, usage: Usage) -> None:
        """Add to what the run has spent: to its events, its result and `budget.usage`."""
        self._doing.spend(usage)

    async def tell(self, text: str, *, begins: bool = False) -> None:
        """Tell who follows the run, in a `Told` event, what the step says while it is at work.

        `begins` starts anew: what follows is no longer the text so far. Nothing is stored.
        """
        await self._doing.say(text, begins=begins)

    @cached_property
    def log(self) -> FilteringBoundLogger:
        """A logger with the run and the cycle bound to it."""
        bound = structlog.get_logger("controllers").bind(run_id=self.run_id, cycle=self.cycle)
        return cast(FilteringBoundLogger, bound)

    @cached_property
    def rng(self) -> random.Random:
        """Random numbers that a run repeated under its id gets again, whatever act runs first."""
        seed = blake2b(self._doing.step_key.encode(), digest_size=16).digest()
        return random.Random(seed)  # noqa: S311  # for choices that can be repeated, not for secrets


PlanStep: TypeAlias = Callable[
    [StepContext[Deps]], Plan[Data] | Pause | Awaitable[Plan[Data]] | Awaitable[Plan[Data] | Pause]
]
ActStep: TypeAlias = Callable[
    [StepContext[Deps], Plan[Data]],
    Candidate | Pause | Awaitable[Candidate] | Awaitable[Candidate | Pause],
]
ReflectStep: TypeAlias = Callable[
    [StepContext[Deps], Outcome], Verdict | Pause | Awaitable[Verdict] | Awaitable[Verdict | Pause]
]
Judge: TypeAlias = Callable[[StepContext[Deps], Plan[Data], Candidate], float | Awaitable[float]]
"""Scores a candidate; the highest score wins, then the order of the acts."""
