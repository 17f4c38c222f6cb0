"""Where a run stands, as its journal tells: what a resume begins with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, cast

from pmll_async import Lattice, PmllError

from ..events import RunResult
from ..goals import GoalFrame
from ..policies import Allowance, Usage
from .entries import JournalEntry, entries
from .forms import Forms
from .stamps import find_start

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

    `times` it was resumed, `elapsed` seconds it ran; `usage` is what it spent up to its last phase,
    and in each step of the one under way. `asking` is the step that asked last. `allowance` is what
    the run was given beyond its limits.
    """

    stack: list[GoalFrame]
    end: JournalEntry | None
    times: int
    elapsed: float
    cycles: int = 0
    usage: Usage = field(default_factory=Usage)
    asking: str = ""
    allowance: Allowance = field(default_factory=Allowance)

    def answered(self, answer: Any) -> None:
        """The step that asked has its answer."""
        self.stack[-1].answers.setdefault(self.asking, []).append(answer)

    @property
    def question(self) -> str | None:
        """What the run waits for an answer to."""
        is_paused = self.end is not None and self.end.facts["status"] == "paused"
        return cast(JournalEntry, self.end).text() if is_paused else None

    @property
    def is_done(self) -> bool:
        """Whether the run reached its goal."""
        return self.end is not None and self.end.facts["status"] == "done"

    def result(self) -> RunResult:
        """How a run ended that is over."""
        root = self.stack[0]
        data = None if root.verdict is None else root.verdict.data
        return cast(JournalEntry, self.end).run_result(root.goal, data, root.winner)


async def resume_point_of(
    lattice: Lattice, run_id: str, plan_forms: Forms, verdict_forms: Forms
) -> ResumePoint:
    """Where the run stands; `RunNotFoundError`.

    Reads no further back than to the end of the last cycle but one of the run's own goal: what came
    before matters to nothing that comes.
    """
    start = await find_start(lattice, run_id)
    if start is None:
        raise RunNotFoundError(run_id)
    tail = await _tail(lattice, run_id)
    end, begun = await _turns(lattice, run_id)
    before = float(begun.data("elapsed") or 0.0)
    # The clock may have been set back since.
    elapsed = before + max(0.0, tail[-1].line.committed_at - begun.line.committed_at)
    goal, times = JournalEntry(start).text("goal"), int(begun.data("times") or 0)
    point = ResumePoint([_first_frame(goal, tail[0])], end, times, elapsed)
    point.allowance = Allowance(**(begun.data("allowance") or {}))
    fold = _Fold(point)
    for entry in tail:
        fold.take(entry, plan_forms, verdict_forms)
    await fold.complete(lattice)
    return fold.point


async def _tail(lattice: Lattice, run_id: str) -> list[JournalEntry]:
    """The newest entries, oldest first."""
    tail: list[JournalEntry] = []
    ends, has_plan = 0, False
    async for entry in entries(lattice, {"pmll.run": run_id}):
        tail.append(entry)
        has_plan |= entry.kind == ("plan", "done") and not entry.is_of_a_sub_goal
        ends += _ends_a_cycle(entry)
        # `ctx.plan` is the last one made until there is a new one.
        if _ends_a_cycle(entry) and ends >= 2 and has_plan:
            break
    return tail[::-1]


async def _turns(lattice: Lattice, run_id: str) -> tuple[JournalEntry | None, JournalEntry]:
    """The run's last entry of its own if it is an end, and the one that it began with before."""
    end: JournalEntry | None = None
    async for entry in entries(lattice, {"pmll.run": run_id, "pmll.stage": "run"}):
        if entry.facts["status"] in RUNNING:
            return end, entry
        end = end or entry
    raise RunNotFoundError(run_id)


def _ends_a_cycle(entry: JournalEntry) -> bool:
    """Whether another cycle of the run's own goal follows."""
    return entry.kind == ("reflect", "continue") and not entry.is_of_a_sub_goal


def _first_frame(goal: str, first: JournalEntry) -> GoalFrame:
    if not _ends_a_cycle(first):
        return GoalFrame((goal,))
    cycle = first.facts["cycle"]
    return GoalFrame((goal,), cycle=cycle, begun=cycle + 1)


@dataclass(slots=True)
class _Fold:
    """Moves the frames on, entry by entry, as the run did.

    `base` is what the run had spent when the phase at hand began, `spent` the same by the last
    entry of each of its steps; `winners` are the last ones of the goals, by path.
    """

    point: ResumePoint
    base: Usage = field(default_factory=Usage)
    spent: dict[str, Usage] = field(default_factory=dict)
    winners: dict[str, str] = field(default_factory=dict)

    def take(self, entry: JournalEntry, plan_forms: Forms, verdict_forms: Forms) -> None:
        """The next entry."""
        point, facts = self.point, entry.facts
        self._spend(entry)
        if facts["status"] == "paused":
            point.asking = entry.text("step")
        if entry.kind == ("run", "resumed") and "answer" in entry.line.context:
            point.answered(entry.data("answer"))
        # Neither moves the goals on.
        if facts["stage"] in ("run", "effect"):
            return
        point.cycles = facts["cycles"]
        if facts["stage"] == "goal":
            self._goal(entry)
        else:
            self._phase(entry, plan_forms, verdict_forms)

    def _spend(self, entry: JournalEntry) -> None:
        if entry.facts["stage"] == "effect":
            self.spent[entry.text("step")] = entry.usage
        else:
            # A candidate knows not what the others spend.
            raced = entry.kind == ("act", "done")
            self.base, self.spent = self.point.usage if raced else entry.usage, {}
        spent = (usage - self.base for usage in self.spent.values())
        self.point.usage = sum(spent, self.base)

    def _goal(self, entry: JournalEntry) -> None:
        stack = self.point.stack
        if entry.facts["status"] == "started":
            goals = (*stack[-1].goals, entry.text("goal"))
            stack.append(GoalFrame(goals, entry.facts["path"]))
        else:
            left = stack.pop()
            data = None if left.verdict is None else left.verdict.data
            stack[-1].left(entry.goal_result(left.goal, data))

    def _phase(self, entry: JournalEntry, plan_forms: Forms, verdict_forms: Forms) -> None:
        frame = self.point.stack[-1]
        frame.begun = entry.facts["cycle"] + 1
        match entry.kind:
            case _, "failed":
                frame.acted(entry.failed())
            case "plan", _:
                frame.planned(entry.plan(plan_forms))
            case "act", _:
                self.winners[frame.path] = entry.line.anchor
                frame.raced()
            case _:
                if "winner" in entry.line.context:
                    self.winners[frame.path] = entry.text("winner")
                frame.reflected(entry.verdict(verdict_forms))

    async def complete(self, lattice: Lattice) -> None:
        """The races that the frames were left with, whose entries are their winners alone."""
        for frame in self.point.stack:
            anchor = self.winners.get(frame.path)
            if anchor is None:
                continue
            outcome = await lattice.outcome(anchor)
            frame.winner = outcome.winner
            if frame.stand == "reflect" and frame.outcome is None:
                frame.outcome = outcome
