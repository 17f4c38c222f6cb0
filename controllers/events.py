"""What a run tells: frozen values; what is on the chain is told once it is durable there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

from pmll_async import CandidateFailure, MemoryLine

from .policies import Allowance, Usage
from .steps import Failed, GoalResult, Outcome, Phase, Plan, Verdict

Status = Literal["done", "exhausted", "failed", "cancelled", "paused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended, or stopped.

    `done`: REFLECT said so. `exhausted`: a rule did, and `reason` is its. `paused`: a step asked
    `text`. `failed`: REFLECT raised `error`, and `reason` says it. `cancelled`: from outside.
    Otherwise `text` and `data` are those of the last verdict. `winner` is the goal's last race's,
    `cycles` counts those begun, sub-goals' included. `anchor` is the run's last journal entry, or
    empty when even that could not be written.
    """

    run_id: str
    goal: str
    status: Status
    cycles: int
    text: str = ""
    data: Any = None
    winner: MemoryLine | None = None
    reason: str = ""
    error: BaseException | None = None
    anchor: str = ""
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """A run on the chain; times in seconds since the epoch.

    `status` is that of its end, or `running` in this process, or `interrupted`: it began and nobody
    runs it. `text` is what it ended with: of a paused run the question.
    """

    run_id: str
    goal: str
    status: Status | Literal["running", "interrupted"]
    started_at: float
    changed_at: float
    text: str = ""
    resumed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    """`anchor` is the journal entry's, in `Acted` the winner's; of what has none, the last one.

    `goals` leads from the run's goal to the one at hand; `usage` is the run's so far.
    """

    run_id: str
    cycle: int
    anchor: str
    goals: tuple[str, ...]
    usage: Usage = field(default_factory=Usage)

    @property
    def depth(self) -> int:
        """How many goals there are above this one."""
        return len(self.goals) - 1

    def to_json(self, *, at: float | None = None) -> str:
        """The event as one JSON object on one line, for a page or another program.

        Its fields are those that `pmll run --json` prints and docs/running.md lists. `at` is when
        it happened, in seconds since the epoch, and left out if it is not given.
        """
        # They know the events, which therefore cannot know them before.
        from .reports.documents import document  # noqa: PLC0415  # it imports this

        told = document(cast("Event", self), at)
        return json.dumps(told, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(_Event):
    """The run is on the chain."""

    goal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed(_Event):
    """The run goes on, for the `times`th time; `answer` is what its question was answered with.

    `allowance` is what it was given beyond its limits, now and before.
    """

    goal: str
    times: int
    answer: Any = None
    allowance: Allowance = field(default_factory=Allowance)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoalStarted(_Event):
    """A sub-goal is begun."""

    goal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GoalEnded(_Event):
    """A sub-goal is reached or given up."""

    result: GoalResult


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEvent(_Event):
    """Of a phase: `attempt` counts the races of one cycle from 0."""

    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStarted(PhaseEvent):
    """The steps `names` are about to be called. Not on the chain."""

    stage: Phase
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned(PhaseEvent):
    """PLAN has spoken."""

    plan: Plan[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFailed(PhaseEvent):
    """PLAN raised; REFLECT is told."""

    outcome: Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed(PhaseEvent):
    """An act has returned a candidate or failed, while others may still run. Not on the chain.

    `name` is what the race calls it; `number` is its place among the acts.
    """

    number: int
    name: str
    confidence: float | None
    failure: CandidateFailure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged(PhaseEvent):
    """The judge has scored a candidate. Not on the chain before the race is decided."""

    name: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted(PhaseEvent):
    """The acts have raced; `outcome` is `Failed` if none of them produced a line."""

    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Reflected(PhaseEvent):
    """REFLECT has given its verdict."""

    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvent(PhaseEvent):
    """Of one step while it runs: `number` is its place among the acts. Not on the chain."""

    stage: Phase
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(StepEvent):
    """A step says something while it is at work: a model's words, as they arrive.

    `reply` counts from 0 what the step tells of; a text with the next number begins anew.
    """

    text: str
    reply: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided(StepEvent):
    """What a person's answer about a call of a tool was understood as.

    `arguments` are those that it is called with, and `changed` names those that the person chose.
    """

    tool: str
    arguments: Mapping[str, Any]
    approved: bool
    said: str = ""
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectBegun(_Event):
    """A side effect is about to take place: its intent is durable."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectDone(_Event):
    """A side effect took place and its result is durable; `known` if that was so before."""

    name: str
    known: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(_Event):
    """The run is over, or paused; always the last event, unless the reader left before."""

    result: RunResult


Event: TypeAlias = (
    RunStarted
    | RunResumed
    | GoalStarted
    | GoalEnded
    | PhaseStarted
    | Planned
    | PlanFailed
    | Proposed
    | Judged
    | Acted
    | Reflected
    | Told
    | Decided
    | EffectBegun
    | EffectDone
    | RunEnded
)
