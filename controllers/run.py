"""One run of a controller: the loop itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, cast

import anyio
import structlog

from pmll_async import (
    Candidate,
    Lattice,
    LatticeView,
    MemoryLine,
    NoWinnerError,
    PmllError,
    RaceOutcome,
)

from .calling import call, name_of
from .events import (
    Acted,
    Event,
    Planned,
    Reflected,
    RunEnded,
    RunResult,
    RunStarted,
    Status,
)
from .journal import Journal, step_key
from .policies import Budget, Rule, first_reason
from .steps import (
    ActStep,
    Continue,
    Data,
    Deps,
    Done,
    Judge,
    Outcome,
    Plan,
    PlanStep,
    ReflectStep,
    Retry,
    Stage,
    StepContext,
    Verdict,
)

Emit = Callable[[Event], Awaitable[None]]

# How long a cancelled run may take to write down that it was: the disk may hang, the caller must
# not.
_LAST_WORDS_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup(Generic[Deps, Data]):
    """What all runs of a controller have in common."""

    lattice: Lattice
    plan: PlanStep[Deps, Data]
    acts: Sequence[ActStep[Deps, Data]]
    reflect: ReflectStep[Deps]
    judge: Judge[Deps, Data] | None
    max_cycles: int
    rules: Sequence[Rule]
    decay: float
    timeout: float | None
    clock: Callable[[], float]


@dataclass(slots=True)
class Run(Generic[Deps, Data]):
    """The state of one run; `drive` is called once."""

    setup: Setup[Deps, Data]
    run_id: str
    goal: str
    deps: Deps
    emit: Emit
    cycle: int = 0
    attempt: int = 0
    cycles: int = 0
    stage: Stage = "run"
    verdict: Verdict | None = None
    plan: Plan[Any] = field(default_factory=Plan)
    winner: MemoryLine | None = None
    began: float = 0.0
    result: RunResult | None = None

    @property
    def journal(self) -> Journal:
        """Where it is written down."""
        return Journal(self.setup.lattice, self.run_id)

    async def start(self) -> str:
        """Put the run on the chain; returns its first anchor."""
        self.began = self.setup.clock()
        return await self.journal.started(self.goal)

    async def drive(self, anchor: str) -> RunResult:
        """Run to the end. A step's error is in the result; cancellation passes, journaled."""
        try:
            started = RunStarted(run_id=self.run_id, cycle=0, anchor=anchor, goal=self.goal)
            await self.emit(started)
            await self._end(await self._loop())
        except anyio.get_cancelled_exc_class():
            # An end that is decided stands: nothing is left to cancel but the bookkeeping.
            done = isinstance(self.verdict, Done)
            await self._last_words(self.result or self._result("done" if done else "cancelled"))
            raise
        # A step is the user's code: whatever it raises ends this run, on the chain, and no other.
        except Exception as exc:  # noqa: BLE001  # as said
            exc.add_note(f"in run {self.run_id}, cycle {self.cycle}, {self.stage}")
            await self._last_words(self._result("failed", error=exc))
        result = cast(RunResult, self.result)
        last = max(0, result.cycles - 1)
        await self.emit(
            RunEnded(run_id=self.run_id, cycle=last, anchor=result.anchor, result=result)
        )
        return result

    async def _loop(self) -> RunResult:
        while (reason := self._objection()) is None:
            plan = await self._planned()
            verdict = await self._tried(plan)
            if isinstance(verdict, Done):
                return self._result("done")
            if isinstance(verdict, str):
                return self._result("exhausted", reason=verdict)
            self.cycle, self.attempt = self.cycle + 1, 0
        return self._result("exhausted", reason=reason)

    async def _planned(self) -> Plan[Data]:
        self.stage, self.cycles = "plan", self.cycle + 1
        plan = await call(self.setup.plan, self._context("plan"))
        if not isinstance(plan, Plan):
            raise _wrong("plan", self.setup.plan, plan, "a Plan")
        anchor = await self.journal.planned(self.cycle, plan)
        self.plan = plan
        await self.emit(Planned(run_id=self.run_id, cycle=self.cycle, anchor=anchor, plan=plan))
        return plan

    async def _tried(self, plan: Plan[Data]) -> Continue | Done | str:
        """ACT and REFLECT until it is no `Retry`, or the rule's objection to another one."""
        while (reason := self._objection()) is None:
            verdict = await self._reflected(await self._acted(plan))
            if not isinstance(verdict, Retry):
                return verdict
            self.attempt += 1
        return reason

    async def _acted(self, plan: Plan[Data]) -> Outcome:
        self.stage = "act"
        try:
            outcome: Outcome = await self._raced(plan)
        except NoWinnerError as error:
            outcome = error
        if isinstance(outcome, RaceOutcome):
            self.winner, anchor = outcome.winner, outcome.winner.anchor
        else:
            anchor = await self.journal.fruitless(self.cycle, self.attempt, outcome)
        await self.emit(
            Acted(
                run_id=self.run_id,
                cycle=self.cycle,
                anchor=anchor,
                attempt=self.attempt,
                outcome=outcome,
            )
        )
        return outcome

    async def _raced(self, plan: Plan[Data]) -> RaceOutcome:
        return await self.setup.lattice.race(
            [self._entrant(number, act, plan) for number, act in enumerate(self.setup.acts)],
            query=plan.key,
            judge=None if self.setup.judge is None else self._judge(self.setup.judge, plan),
            decay=self.setup.decay,
            timeout=self.setup.timeout,
            idempotency_key=step_key(self.run_id, self.cycle, self.attempt, "act"),
        )

    def _entrant(
        self, number: int, act: ActStep[Deps, Data], plan: Plan[Data]
    ) -> Callable[[LatticeView], Awaitable[Candidate]]:
        async def entrant(view: LatticeView) -> Candidate:
            proposed = await call(act, self._context(f"act.{number}", view), plan)
            if not isinstance(proposed, Candidate):
                raise _wrong("act", act, proposed, "a Candidate")
            return self.journal.candidate(proposed, self.cycle, self.attempt, name_of(act))

        entrant.__name__ = entrant.__qualname__ = name_of(act)
        return entrant

    def _judge(
        self, judge: Judge[Deps, Data], plan: Plan[Data]
    ) -> Callable[[Candidate, LatticeView], Awaitable[float]]:
        async def judged(candidate: Candidate, view: LatticeView) -> float:
            return await call(judge, self._context("judge", view), plan, candidate)

        return judged

    async def _reflected(self, outcome: Outcome) -> Verdict:
        self.stage = "reflect"
        try:
            verdict = await call(self.setup.reflect, self._context("reflect"), outcome)
        # A REFLECT that expects a winner fails here; without its cause nobody would see why.
        except Exception as exc:
            if isinstance(outcome, NoWinnerError) and exc.__cause__ is None and exc is not outcome:
                raise exc from outcome
            raise
        if not isinstance(verdict, Continue | Done | Retry):
            raise _wrong("reflect", self.setup.reflect, verdict, "Continue, Done or Retry")
        anchor = await self.journal.reflected(self.cycle, self.attempt, verdict)
        self.verdict = verdict
        await self.emit(
            Reflected(
                run_id=self.run_id,
                cycle=self.cycle,
                anchor=anchor,
                attempt=self.attempt,
                verdict=verdict,
            )
        )
        return verdict

    def _context(self, step: str, view: LatticeView | None = None) -> StepContext[Deps]:
        lattice = self.setup.lattice
        return StepContext(
            goal=self.goal,
            run_id=self.run_id,
            cycle=self.cycle,
            attempt=self.attempt,
            stage=self.stage,
            deps=self.deps,
            memory=lattice,
            view=lattice.at(lattice.revision) if view is None else view,
            budget=self._budget(),
            previous=None if isinstance(self.verdict, Done) else self.verdict,
            plan=self.plan,
            idempotency_key=step_key(self.run_id, self.cycle, self.attempt, step),
        )

    def _budget(self) -> Budget:
        elapsed = self.setup.clock() - self.began
        return Budget(self.cycle, self.attempt, elapsed, self.setup.max_cycles)

    def _objection(self) -> str | None:
        return first_reason(self.setup.rules, self._budget())

    def _result(
        self, status: Status, *, reason: str = "", error: BaseException | None = None
    ) -> RunResult:
        said = self.verdict or Continue()
        return RunResult(
            run_id=self.run_id,
            goal=self.goal,
            status=status,
            cycles=self.cycles,
            text=said.text,
            data=said.data,
            winner=self.winner,
            reason=reason,
            error=error,
        )

    async def _end(self, result: RunResult) -> None:
        self.result = result
        self.result = replace(result, anchor=await self.journal.ended(result))

    async def _last_words(self, result: RunResult) -> None:
        """Journal an end that must not hide what led to it."""
        with anyio.move_on_after(_LAST_WORDS_SECONDS, shield=True):
            try:
                await self._end(result)
            except PmllError as exc:
                log = structlog.get_logger("controllers")
                log.warning("run.end_not_journaled", run_id=self.run_id, error=repr(exc))


def _wrong(stage: Stage, step: Callable[..., object], returned: object, wanted: str) -> TypeError:
    return TypeError(
        f"{stage} step {name_of(step)} returned {type(returned).__name__}, not {wanted}"
    )
