"""One run of a controller: the loop over its goals, from where it stands to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, cast

import anyio
import structlog

from pmll_async import Lattice, PmllError, WorkingMemory

from ..events import (
    Event,
    GoalEnded,
    GoalStarted,
    RunEnded,
    RunResult,
    RunResumed,
    RunStarted,
    Status,
)
from ..goals import GoalFrame, Place
from ..journal.journal import Journal, run_lock
from ..journal.resume_point import ResumePoint
from ..policies import Budget, Usage, first_reason
from ..steps import Continue, Data, Deps, Failed
from .phases import Paused, Phases, failure
from .setup import Setup
from .turns import turnstile

Emit = Callable[[Event], Awaitable[None]]

# How long a cancelled run may take to write down that it was: the disk may hang, the caller must
# not.
_LAST_WORDS_SECONDS: Final = 2.0


class RunActiveError(PmllError):
    """The run is going on in this very process."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id!r} is running now; wait for its end, or cancel it, first")


@asynccontextmanager
async def claimed(lattice: Lattice, run_id: str) -> AsyncIterator[None]:
    """Have the run to oneself: a lattice has one writer, so that this process is all there is."""
    lock = lattice.lock(run_lock(run_id))
    if lock.locked():
        raise RunActiveError(run_id)
    async with lock:
        try:
            yield
        finally:
            lattice.working.drop(run_lock(run_id))


@dataclass(slots=True)
class Run(Generic[Deps, Data]):
    """The state of one run; `start` or `go_on` comes first, `drive` is called once."""

    setup: Setup[Deps, Data]
    run_id: str
    deps: Deps
    emit: Emit
    stack: list[GoalFrame] = field(default_factory=list)
    cycles: int = 0
    usage: Usage = field(default_factory=Usage)
    times: int = 0
    elapsed: float = 0.0
    began: float = 0.0
    anchor: str = ""
    resumed: bool = False
    asking: str = ""
    result: RunResult | None = None
    # Held, because the lattice keeps only so many scopes.
    working: WorkingMemory = field(init=False)

    def __post_init__(self) -> None:
        self.working = self.setup.lattice.working.scope(run_lock(self.run_id))

    @property
    def journal(self) -> Journal:
        """Where it is written down."""
        return Journal(self.setup.lattice, self.run_id)

    @property
    def frame(self) -> GoalFrame:
        """The goal at hand."""
        return self.stack[-1]

    # --- beginning -----------------------------------------------------------------------------

    async def start(self, goal: str) -> Event:
        """Put a new run on the chain."""
        self.began = self.setup.clock()
        self.anchor = await self.journal.started(goal)
        self.stack = [GoalFrame((goal,))]
        return RunStarted(**self.told(), goal=goal)

    async def go_on(self, standing: ResumePoint, answer: Any) -> Event:
        """Take the run up again where its journal ends."""
        self.began, self.elapsed = self.setup.clock(), standing.elapsed
        self.stack, self.cycles, self.usage = standing.stack, standing.cycles, standing.usage
        self.times, self.resumed = standing.times + 1, True
        if answer is not None:
            standing.answered(answer)
        self.anchor = await self.journal.resumed(self.place(), self.times, self.elapsed, answer)
        goal = self.stack[0].goal
        return RunResumed(**self.told(), goal=goal, times=self.times, answer=answer)

    # --- the loop ------------------------------------------------------------------------------

    async def drive(self, first: Event) -> RunResult:
        """Run to the end. What REFLECT raised is in the result; cancellation passes, journaled."""
        try:
            await self.emit(first)
            await self._end(await self._looped())
        except anyio.get_cancelled_exc_class():
            # An end that is decided stands: nothing is left to cancel but the bookkeeping.
            done = self.stack[0].stand == "end" and not self.stack[0].reason
            result = self.result or self._result("done" if done else "cancelled")
            await self._last_words(result)
            # A stream's reader is gone by now; who observes must know.
            del self.stack[1:]
            self.setup.observe(RunEnded(**self.told(), result=self.result or result))
            raise
        # A step is the user's code: whatever it raises ends this run, on the chain, and no other.
        except Exception as exc:  # noqa: BLE001
            exc.add_note(f"in run {self.run_id}, cycle {self.frame.cycle}, {self.frame.stand}")
            told = failure("run", exc)
            reason = f"{told.error}: {told.message}"
            await self._last_words(self._result("failed", reason=reason, error=exc))
        result = cast(RunResult, self.result)
        del self.stack[1:]
        await self.emit(RunEnded(**self.told(result.anchor), result=result))
        return result

    async def _looped(self) -> RunResult:
        try:
            return await self._loop()
        except Paused as paused:
            self.asking = paused.step
            question = paused.pause.question
            return replace(self._result("paused"), text=question, data=paused.data)

    async def _loop(self) -> RunResult:
        phases, turns = Phases(self), turnstile()
        while not (self.frame.stand == "end" and len(self.stack) == 1):
            await turns.enter()
            frame = self.frame
            if frame.stand == "end":
                await self._leave(frame)
            elif frame.stand == "goals":
                await self._descend(frame)
            elif frame.stand == "reflect":
                await phases.reflect(frame)
            elif (reason := first_reason(self.setup.rules, self.budget())) is not None:
                told = f" ({frame.outcome})" if isinstance(frame.outcome, Failed) else ""
                frame.exhausted(reason + told)
            elif frame.stand == "plan":
                await phases.plan(frame)
            else:
                await phases.act(frame)
        reason = self.frame.reason
        return self._result("exhausted" if reason else "done", reason=reason)

    async def _descend(self, frame: GoalFrame) -> None:
        child = frame.entered(self.place())
        place = replace(self.place(), path=child.path, cycle=0, attempt=0)
        self.anchor = await self.journal.goal_started(place, child.goal)
        self.stack.append(child)
        self.resumed = False
        await self.emit(GoalStarted(**self.told(), goal=child.goal))

    async def _leave(self, frame: GoalFrame) -> None:
        result = frame.result()
        data = self._verdict_data(frame)
        place = replace(self.place(), cycle=max(0, frame.begun - 1), attempt=0)
        self.anchor = await self.journal.goal_ended(place, result, data)
        event = GoalEnded(**self.told(), result=result)
        self.stack.pop()
        self.frame.left(result)
        self.resumed = False
        await self.emit(event)

    # --- where it stands -----------------------------------------------------------------------

    def place(self) -> Place:
        """The phase at hand."""
        frame = self.frame
        return Place(self.run_id, frame.path, frame.cycle, frame.attempt, self.cycles, self.usage)

    def told(self, anchor: str = "") -> dict[str, Any]:
        """What every event says."""
        frame = self.frame
        return {
            "run_id": self.run_id,
            "cycle": frame.cycle if frame.stand != "end" else max(0, frame.begun - 1),
            "anchor": anchor or self.anchor,
            "goals": frame.goals,
            "usage": self.usage,
        }

    def budget(self) -> Budget:
        """How far the run has come."""
        frame = self.frame
        return Budget(
            cycle=frame.cycle,
            attempt=frame.attempt,
            elapsed=self.elapsed + self.setup.clock() - self.began,
            max_cycles=self.setup.max_cycles,
            depth=len(frame.goals) - 1,
            cycles=self.cycles,
            usage=self.usage,
            stage="plan" if frame.stand == "plan" else "act",
        )

    def spend(self, usage: Usage) -> None:
        """Add to what the run has spent."""
        self.usage += usage

    # --- ending --------------------------------------------------------------------------------

    def _result(
        self, status: Status, *, reason: str = "", error: BaseException | None = None
    ) -> RunResult:
        root = self.stack[0]
        said = root.verdict or Continue[Any]()
        return RunResult(
            run_id=self.run_id,
            goal=root.goal,
            status=status,
            cycles=self.cycles,
            text=said.text,
            data=said.data,
            winner=root.winner,
            reason=reason,
            error=error,
            usage=self.usage,
        )

    def _verdict_data(self, frame: GoalFrame) -> Any:
        verdict = frame.verdict
        if verdict is None:
            return None
        return self.setup.verdict_forms.of(type(verdict)).to_json(verdict.data)

    async def _end(self, result: RunResult) -> None:
        self.result = result
        root = self.stack[0]
        data = result.data if result.status == "paused" else self._verdict_data(root)
        place = replace(self.place(), path="", cycle=max(0, root.begun - 1), attempt=0)
        anchor = await self.journal.ended(place, result, data, self.times, self.asking)
        self.anchor, self.result = anchor, replace(result, anchor=anchor)

    async def _last_words(self, result: RunResult) -> None:
        """Journal an end that must not hide what led to it."""
        with anyio.move_on_after(_LAST_WORDS_SECONDS, shield=True):
            try:
                await self._end(result)
            except PmllError as exc:
                log = structlog.get_logger("controllers")
                # Its message may name what a step returned.
                error = type(exc).__name__
                log.warning("run.end_not_journaled", run_id=self.run_id, error=error)
