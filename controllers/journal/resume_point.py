"""Where a run stands, as its journal tells: what a resume begins with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from pmll_async import Lattice, MemoryLine, PmllError

from ..events import RunResult, Status
from ..goals import GoalFrame
from ..policies import Usage
from .entries import (
    data_of,
    facts_of,
    failed_of,
    goal_result_of,
    plan_of,
    text_of,
    usage_of,
    verdict_of,
)
from .forms import Forms
from .stamps import find_start, is_entry

RUNNING: Final = ("started", "resumed")
"""The statuses of a run's own entries behind which it goes on."""


class RunNotFoundError(PmllError, LookupError):
    """The lattice holds no run with this id."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"no run {run_id!r} is on the chain; `runs()` lists those that are")


class RunPausedError(PmllError):
    """The run waits for an answer to `question`."""

    def __init__(self, run_id: str, question: str) -> None:
        self.run_id, self.question = run_id, question
        super().__init__(
            f"run {run_id!r} waits for an answer to {question!r}: resume it with answer=…"
        )


@dataclass(slots=True)
class ResumePoint:
    """A run as its journal tells it; `end` is its last entry if it ended or stopped there.

    `times` it was resumed, `elapsed` seconds it ran; `asking` is the step that asked last.
    """

    stack: list[GoalFrame]
    end: MemoryLine | None
    times: int
    elapsed: float
    cycles: int = 0
    base: Usage = field(default_factory=Usage)
    spent: dict[str, Usage] = field(default_factory=dict)
    winners: dict[str, str] = field(default_factory=dict)
    asking: str = ""

    @property
    def usage(self) -> Usage:
        """What the run has spent: up to its last phase, and by each step of the one under way."""
        return sum((usage - self.base for usage in self.spent.values()), self.base)

    def answered(self, answer: Any) -> None:
        """The step that asked has its answer."""
        self.stack[-1].answers[self.asking] = answer

    @property
    def question(self) -> str | None:
        """What the run waits for an answer to."""
        if self.end is None or facts_of(self.end)["status"] != "paused":
            return None
        return text_of(self.end)

    def result(self) -> RunResult:
        """How a run ended that is over."""
        end, root = cast(MemoryLine, self.end), self.stack[0]
        return RunResult(
            run_id=facts_of(end)["run"],
            goal=root.goal,
            status=cast(Status, facts_of(end)["status"]),
            cycles=self.cycles,
            text=text_of(end),
            data=None if root.verdict is None else root.verdict.data,
            winner=root.winner,
            reason=text_of(end, "reason"),
            anchor=end.anchor,
            usage=self.usage,
        )


async def standing_of(
    lattice: Lattice, run_id: str, plan_forms: Forms, verdict_forms: Forms
) -> ResumePoint:
    """Where the run stands; `RunNotFoundError`.

    Reads no further back than to the end of the last cycle but one of the run's own goal: what came
    before matters to nothing that comes.
    """
    start = await find_start(lattice, run_id)
    if start is None:
        raise RunNotFoundError(run_id)
    entries = await _tail(lattice, run_id)
    end, begun = await _turns(lattice, run_id)
    before = float(cast(float, begun.context.get("elapsed", 0.0)))
    elapsed = before + max(0.0, entries[-1].committed_at - begun.committed_at)
    times = int(cast(int, begun.context.get("times", 0)))
    standing = ResumePoint([_first_frame(text_of(start, "goal"), entries[0])], end, times, elapsed)
    fold = _Fold(standing, plan_forms, verdict_forms)
    for entry in entries:
        fold.take(entry)
    await _complete(lattice, standing)
    return standing


async def _tail(lattice: Lattice, run_id: str) -> list[MemoryLine]:
    """The newest entries, oldest first."""
    entries: list[MemoryLine] = []
    ends, has_plan = 0, False
    async for entry in lattice.rewind(where={"pmll.run": run_id}):
        if not is_entry(entry):
            continue
        entries.append(entry)
        facts = facts_of(entry)
        has_plan |= (facts["stage"], facts["status"]) == ("plan", "done") and "path" not in facts
        if _ends_a_cycle(facts):
            ends += 1
            if ends >= 2 and has_plan:  # `ctx.plan` is the last one made until there is a new one
                break
    return entries[::-1]


async def _turns(lattice: Lattice, run_id: str) -> tuple[MemoryLine | None, MemoryLine]:
    """The run's last entry of its own if it is an end, and the one that it began with before."""
    end: MemoryLine | None = None
    async for entry in lattice.rewind(where={"pmll.run": run_id, "pmll.stage": "run"}):
        if not is_entry(entry):
            continue
        if facts_of(entry)["status"] in RUNNING:
            return end, entry
        end = end or entry
    raise RunNotFoundError(run_id)


def _ends_a_cycle(facts: Mapping[str, Any]) -> bool:
    return facts["stage"] == "reflect" and facts["status"] == "continue" and "path" not in facts


def _first_frame(goal: str, first: MemoryLine) -> GoalFrame:
    facts = facts_of(first)
    if not _ends_a_cycle(facts):
        return GoalFrame((goal,))
    return GoalFrame((goal,), cycle=facts["cycle"], begun=facts["cycle"] + 1)


@dataclass(frozen=True, slots=True)
class _Fold:
    """Moves the frames on, entry by entry, as the run did."""

    standing: ResumePoint
    plan_forms: Forms
    verdict_forms: Forms

    def take(self, entry: MemoryLine) -> None:
        """The next entry."""
        standing, facts = self.standing, facts_of(entry)
        stage, status = facts["stage"], facts["status"]
        if stage == "effect":
            standing.spent[text_of(entry, "step")] = usage_of(entry)
        elif (stage, status) == ("act", "done"):  # a candidate knows not what the others spend
            standing.base, standing.spent = standing.usage, {}
        else:
            standing.base, standing.spent = usage_of(entry), {}
        if status == "paused":
            standing.asking = text_of(entry, "step")
        if (stage, status) == ("run", "resumed") and "answer" in entry.context:
            standing.answered(data_of(entry, "answer"))
        if stage in ("run", "effect"):
            return
        standing.cycles = facts["cycles"]
        if stage == "goal":
            self._goal(entry, facts)
        else:
            self._phase(entry, facts)

    def _goal(self, entry: MemoryLine, facts: Mapping[str, Any]) -> None:
        stack = self.standing.stack
        if facts["status"] == "started":
            goal = text_of(entry, "goal")
            stack.append(GoalFrame((*stack[-1].goals, goal), facts["path"]))
        else:
            left = stack.pop()
            data = None if left.verdict is None else left.verdict.data
            stack[-1].left(goal_result_of(entry, left.goal, data))

    def _phase(self, entry: MemoryLine, facts: Mapping[str, Any]) -> None:
        frame = self.standing.stack[-1]
        frame.begun = facts["cycle"] + 1
        if facts["status"] == "failed":
            frame.acted(failed_of(entry))
        elif facts["stage"] == "plan":
            frame.planned(plan_of(entry, self.plan_forms))
        elif facts["stage"] == "act":
            self.standing.winners[frame.path] = entry.anchor
            frame.raced()
        else:
            if "winner" in entry.context:
                self.standing.winners[frame.path] = text_of(entry, "winner")
            frame.reflected(verdict_of(entry, self.verdict_forms))


async def _complete(lattice: Lattice, standing: ResumePoint) -> None:
    """The races that the frames were left with, whose entries are their winners alone."""
    for frame in standing.stack:
        anchor = standing.winners.get(frame.path)
        if anchor is None:
            continue
        outcome = await lattice.outcome(anchor)
        frame.winner = outcome.winner
        if frame.stand == "reflect" and frame.outcome is None:
            frame.outcome = outcome
