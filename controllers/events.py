"""What a run tells while it goes on: frozen values, each after its record is durable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pmll_async import MemoryLine

from .steps import Outcome, Plan, Verdict

Status = Literal["done", "exhausted", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended.

    `done`: REFLECT said so. `exhausted`: a rule did, and `reason` is its. `failed`: a step raised
    `error`. `cancelled`: from outside. `text` and `data` are those of the last verdict, `winner` is
    the last race's, `cycles` counts those begun, `anchor` is the run's last journal entry (empty
    when even that could not be written).
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    """`anchor` is the journal entry's; in `Acted` the winner's."""

    run_id: str
    cycle: int
    anchor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(_Event):
    """The run is on the chain."""

    goal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned(_Event):
    """PLAN has spoken."""

    plan: Plan[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted(_Event):
    """The acts have raced; `outcome` is the `NoWinnerError` if none of them produced a line."""

    attempt: int
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Reflected(_Event):
    """REFLECT has given its verdict."""

    attempt: int
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(_Event):
    """The run is over; always the last event, unless the reader left before."""

    result: RunResult


Event: TypeAlias = RunStarted | Planned | Acted | Reflected | RunEnded
