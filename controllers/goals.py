"""Where a run stands: a stack of goals, each in one cycle of its loop, and how each moves on.

The run moves its frames on as its phases end; reading its journal back moves them in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pmll_async import MemoryLine, RaceOutcome

from .policies import Usage
from .steps import Continue, Done, Failed, GoalResult, Outcome, Plan, Retry, Verdict

Stand = Literal["plan", "goals", "act", "reflect", "end"]


@dataclass(frozen=True, slots=True)
class Place:
    """A phase of a run: `path` is that of its goal, "" for the run's own.

    `cycles` and `usage` are the whole run's when the phase was entered.
    """

    run_id: str
    path: str
    cycle: int
    attempt: int
    cycles: int = 0
    usage: Usage = field(default_factory=Usage)

    def step_key(self, step: str) -> str:
        """The idempotency key of one step of the phase."""
        # An id may hold any character: escaped, no two places have one key.
        run = self.run_id.replace("%", "%25").replace("/", "%2F")
        return f"{run}/{self.path}{self.cycle}.{self.attempt}/{step}"

    def under(self, number: int) -> str:
        """The path of the plan's sub-goal with this number."""
        return f"{self.path}{self.cycle}.{self.attempt}:{number}/"

    def after(self, usage: Usage) -> Place:
        """The same once that much more was spent."""
        return replace(self, usage=self.usage + usage)


@dataclass(slots=True)
class GoalFrame:
    """A goal, and how far its loop has come.

    `begun` counts its cycles; `answers` are those to the phase's questions, by the steps that asked
    and in their order.
    """

    goals: tuple[str, ...]
    path: str = ""
    stand: Stand = "plan"
    cycle: int = 0
    attempt: int = 0
    begun: int = 0
    verdict: Verdict | None = None
    plan: Plan[Any] = field(default_factory=Plan)
    results: list[GoalResult] = field(default_factory=list)
    outcome: Outcome | None = None
    winner: MemoryLine | None = None
    reason: str = ""
    answers: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def goal(self) -> str:
        """What this loop is about."""
        return self.goals[-1]

    @property
    def last_cycle(self) -> int:
        """The last cycle that has begun; 0 before the first."""
        return max(0, self.begun - 1)

    @property
    def previous(self) -> Continue[Any] | Retry[Any] | None:
        """The verdict that led to this phase."""
        return None if isinstance(self.verdict, Done) else self.verdict

    def planned(self, plan: Plan[Any]) -> None:
        """PLAN has spoken."""
        self.plan, self.results = plan, []
        self._enter("goals" if plan.goals else "act")

    def entered(self, place: Place) -> GoalFrame:
        """The next sub-goal's frame."""
        number = len(self.results)
        return GoalFrame((*self.goals, self.plan.goals[number]), place.under(number))

    def left(self, result: GoalResult) -> None:
        """A sub-goal has ended."""
        self.results.append(result)
        if len(self.results) == len(self.plan.goals):
            self._enter("act")

    def acted(self, outcome: Outcome) -> None:
        """The acts have raced, or a phase came to nothing."""
        self.outcome = outcome
        if isinstance(outcome, RaceOutcome):
            self.winner = outcome.winner
        self._enter("reflect")

    def raced(self) -> None:
        """The acts have raced, and the outcome is yet to be read."""
        self.outcome = None
        self._enter("reflect")

    def reflected(self, verdict: Verdict) -> None:
        """REFLECT has spoken."""
        self.verdict = verdict
        if isinstance(verdict, Done):
            self._enter("end")
        elif isinstance(verdict, Continue):
            self.cycle, self.attempt = self.cycle + 1, 0
            self._enter("plan")
        else:
            self.attempt += 1
            # Where PLAN failed there is nothing to race again.
            has_plan = not (isinstance(self.outcome, Failed) and self.outcome.stage == "plan")
            self._enter("act" if has_plan else "plan")

    def exhausted(self, reason: str) -> None:
        """A rule objects to what would come next."""
        self.reason = reason
        self._enter("end")

    def result(self) -> GoalResult:
        """How the goal ended."""
        said = self.verdict or Continue[Any]()
        winner = "" if self.winner is None else self.winner.anchor
        status: Literal["done", "exhausted"] = "exhausted" if self.reason else "done"
        return GoalResult(self.goal, status, said.text, said.data, self.reason, winner)

    def _enter(self, stand: Stand) -> None:
        # Answers are for the phase that asked: the next one may ask the same anew.
        self.stand, self.answers = stand, {}
