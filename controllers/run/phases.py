"""PLAN, ACT and REFLECT: calling the user's steps, and journaling what they said."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, TypeVar, cast

import anyio
from structlog.contextvars import bound_contextvars

from pmll_async import (
    Candidate,
    CandidateFailure,
    ConflictError,
    InvalidInputError,
    LatticeClosedError,
    LatticeView,
    NoWinnerError,
    PmllError,
    RaceOutcome,
    StoreError,
    journal_key,
)

from .. import events
from ..calling import call, failure_of, name_of
from ..goals import GoalFrame, Place
from ..journal.forms import Form
from ..journal.stamps import is_entry_of
from ..outages import OutageError
from ..steps import (
    ActStep,
    Continue,
    Done,
    Failed,
    GoalResult,
    Judge,
    Outcome,
    Pause,
    Phase,
    Plan,
    Retry,
    StepContext,
    Verdict,
)
from .effects import Effects
from .state import RunState

Said = TypeVar("Said", bound="Plan[Any] | Continue[Any] | Retry[Any] | GoalResult | None")


class Paused(Exception):  # noqa: N818  # no error, and never seen outside
    """A step wants an answer; `data` is its pause's, as JSON."""

    def __init__(self, pause: Pause, step: str, owner: str) -> None:
        self.pause, self.step = pause, step
        self.data = Form(owner, "Any").to_json(pause.data)
        super().__init__(pause.question)


@dataclass(slots=True)
class Phases:
    """The three phases of one run."""

    state: RunState[Any, Any]

    async def plan(self, frame: GoalFrame) -> None:
        """Ask PLAN; that it raised is an outcome."""
        state, step = self.state, self.state.setup.plan
        # A retry of PLAN is no new cycle.
        if frame.begun == frame.cycle:
            frame.begun, state.cycles = frame.begun + 1, state.cycles + 1
        place, effects = await self._begun("plan", name_of(step))
        try:
            said = await self._call(step, self._context("plan", "plan", effects))
        # It is nothing to judge: the run stops here, and goes on here once the service is back.
        except OutageError:
            raise
        # A step is the user's code: that PLAN raised is REFLECT's to judge.
        except Exception as exc:  # noqa: BLE001
            await self._not_planned(frame, place, effects, exc)
            return
        if isinstance(said, Pause):
            raise Paused(said, effects.step, name_of(step))
        try:
            plan, anchor = await self._journaled_plan(said, place.after(effects.usage))
        # What cannot be journaled is the step's fault; a store's error is not.
        except (TypeError, InvalidInputError) as exc:
            await self._not_planned(frame, place, effects, exc)
            return
        event = events.Planned(**state.phase_fields(anchor), plan=plan)
        frame.planned(plan)
        await self.state.entered(anchor, event)

    async def _journaled_plan(self, said: object, place: Place) -> tuple[Plan[Any], str]:
        step = self.state.setup.plan
        if not isinstance(said, Plan):
            raise _wrong("plan", step, said, "a Plan")
        goals = tuple(said.goals)
        if isinstance(said.goals, str) or not all(isinstance(goal, str) for goal in goals):
            raise TypeError(f"the goals of {name_of(step)}'s plan are texts, not {said.goals!r}")
        form = self.state.setup.plan_forms.of(type(said))
        data = form.to_json(said.data)
        plan = replace(said, data=form.from_json(data), goals=goals)
        return plan, await self.state.journal.planned(place, plan, data)

    async def _not_planned(
        self, frame: GoalFrame, place: Place, effects: Effects, error: Exception
    ) -> None:
        name = name_of(self.state.setup.plan)
        outcome = Failed("plan", (failure_of(name, error),), error=error)
        anchor = await self.state.journal.failed(place.after(effects.usage), outcome)
        event = events.PlanFailed(**self.state.phase_fields(anchor), outcome=outcome)
        frame.acted(outcome)
        await self.state.entered(anchor, event)

    # --- ACT -----------------------------------------------------------------------------------

    async def act(self, frame: GoalFrame) -> None:
        """Race the acts; that nothing came of them is an outcome."""
        place, _ = await self._begun("act", *map(name_of, self.state.setup.acts))
        outcome = await self._raced(frame, place)
        if isinstance(outcome, RaceOutcome):
            anchor = outcome.winner.anchor
        else:
            anchor = await self.state.journal.failed(self.state.place(), outcome)
        event = events.Acted(**self.state.phase_fields(anchor), outcome=outcome)
        frame.acted(outcome)
        await self.state.entered(anchor, event)

    async def _raced(self, frame: GoalFrame, place: Place) -> Outcome:
        setup, race = self.state.setup, _RunRace(anyio.CancelScope())
        acts = [self._entrant(n, act, place, race) for n, act in enumerate(setup.acts)]
        judge = None if setup.judge is None else self._judge(setup.judge, place, race)
        outcome: Outcome | None = None
        key = journal_key(place.step_key("act"))
        with race.scope:
            try:
                outcome = await setup.lattice.race(
                    acts,
                    query=frame.plan.key,
                    judge=judge,
                    decay=setup.decay,
                    timeout=setup.timeout,
                    idempotency_key=key,
                )
                # A race is not run again where its key is taken, whatever has taken it.
                if not is_entry_of(outcome.winner, place, "act", "done"):
                    raise ConflictError(key, outcome.winner.anchor)
            except NoWinnerError as exc:
                if race.outage is not None:
                    raise race.outage from exc
                failures = cast(tuple[CandidateFailure, ...], exc.failures)
                outcome = Failed("act", failures, exc.unfinished, exc)
            except (StoreError, LatticeClosedError):
                raise
            # What was proposed cannot be committed: what it revises was revised by another, say.
            except PmllError as exc:
                outcome = Failed("act", (failure_of("race", exc),), error=exc)
        if outcome is None:
            race.stop()
        return outcome

    def _entrant(
        self, number: int, act: ActStep[Any, Any], place: Place, race: _RunRace
    ) -> Callable[[LatticeView], Awaitable[Candidate]]:
        state, name = self.state, name_of(act)
        effects = Effects(self.state, place, f"act.{number}")

        async def entrant(view: LatticeView) -> Candidate:
            try:
                context = self._context("act", effects.step, effects, view)
                proposed = await self._proposed(act, effects.step, context, race)
            # Whatever it is, who watches is told at once; the race is told by raising it again.
            except Exception as exc:
                if isinstance(exc, OutageError):
                    race.outage = exc
                failed = failure_of(name, exc)
                fields = {**state.phase_fields(), "number": number, "name": name}
                await state.emit(events.Proposed(**fields, confidence=None, failure=failed))
                raise
            candidate = race.proposed(state.journal.candidate(proposed, place, name), number)
            fields = {**state.phase_fields(), "number": number, "name": candidate.name}
            await state.emit(events.Proposed(**fields, confidence=candidate.confidence))
            return candidate

        # What the race calls it in failures and scores.
        entrant.__name__ = entrant.__qualname__ = name
        return entrant

    async def _proposed(
        self, act: ActStep[Any, Any], step: str, context: StepContext[Any], race: _RunRace
    ) -> Candidate:
        proposed = await self._call(act, context, context.plan)
        if isinstance(proposed, Pause):
            await race.about(Paused(proposed, step, name_of(act)))
        if not isinstance(proposed, Candidate):
            raise _wrong("act", act, proposed, "a Candidate")
        return proposed

    def _judge(
        self, judge: Judge[Any, Any], place: Place, race: _RunRace
    ) -> Callable[[Candidate, LatticeView], Awaitable[float]]:
        state = self.state

        async def judged(candidate: Candidate, view: LatticeView) -> float:
            step = f"judge.{race.number_of(candidate)}"
            effects = Effects(self.state, place, step)
            context = self._context("act", step, effects, view)
            score = await self._call(judge, context, context.plan, candidate)
            await state.emit(
                events.Judged(**state.phase_fields(), name=candidate.name, score=score)
            )
            return float(score)

        return judged

    # --- REFLECT -------------------------------------------------------------------------------

    async def reflect(self, frame: GoalFrame) -> None:
        """Ask REFLECT; what it raises ends the run."""
        state, step = self.state, self.state.setup.reflect
        place, effects = await self._begun("reflect", name_of(step))
        try:
            context = self._context("reflect", "reflect", effects)
            said = await self._call(step, context, frame.outcome)
        # A REFLECT that expects a winner fails here; without its cause nobody would see why.
        except Exception as exc:
            cause = frame.outcome.error if isinstance(frame.outcome, Failed) else None
            if cause is not None and exc.__cause__ is None and exc is not cause:
                raise exc from cause
            raise
        if isinstance(said, Pause):
            raise Paused(said, effects.step, name_of(step))
        if not isinstance(said, Continue | Done | Retry):
            raise _wrong("reflect", step, said, "Continue, Done or Retry")
        form = state.setup.verdict_forms.of(type(said))
        data = form.to_json(said.data)
        verdict: Verdict = replace(said, data=form.from_json(data))
        place = place.after(effects.usage)
        anchor = await state.journal.reflected(place, verdict, data, frame.winner)
        event = events.Reflected(**state.phase_fields(anchor), verdict=verdict)
        frame.reflected(verdict)
        await self.state.entered(anchor, event)

    # --- what they share -----------------------------------------------------------------------

    async def _call(
        self, step: Callable[..., Any], context: StepContext[Any], *arguments: object
    ) -> Any:
        # Every log of the step says which run it was, where structlog merges context variables.
        with bound_contextvars(run_id=context.run_id, cycle=context.cycle):
            return await call(step, context, *arguments)

    async def _begun(self, stage: Phase, *names: str) -> tuple[Place, Effects]:
        state = self.state
        event = events.PhaseStarted(**state.phase_fields(), stage=stage, names=names)
        await state.emit(event)
        place = state.place()
        return place, Effects(self.state, place, stage)

    def _context(
        self, stage: Phase, step: str, effects: Effects, view: LatticeView | None = None
    ) -> StepContext[Any]:
        state, frame, lattice = self.state, self.state.frame, self.state.setup.lattice
        answers = tuple(deepcopy(frame.answers.get(step, [])))
        return StepContext(
            goal=frame.goal,
            goals=frame.goals,
            run_id=state.run_id,
            cycle=frame.cycle,
            attempt=frame.attempt,
            stage=stage,
            deps=state.deps,
            memory=lattice,
            view=lattice.at(lattice.revision) if view is None else view,
            budget=state.budget(),
            previous=_own(frame.previous),
            plan=_own(frame.plan),
            results=tuple(_own(result) for result in frame.results),
            answer=answers[-1] if answers else None,
            answers=answers,
            raced=stage == "act" and len(state.setup.acts) > 1,
            resumed=state.resumed,
            working=state.working,
            _texts=state.setup.texts,
            _doing=effects,
        )


@dataclass(slots=True)
class _RunRace:
    """A race of acts: who proposed what, and the question of an act, which ends the race.

    `outage` is what kept an act from proposing: if nothing came of the race, it may yet.
    """

    scope: anyio.CancelScope
    candidates: list[tuple[Candidate, int]] = field(default_factory=list)
    paused: Paused | None = None
    outage: OutageError | None = None

    def proposed(self, candidate: Candidate, number: int) -> Candidate:
        """Note which act proposed the candidate."""
        self.candidates.append((candidate, number))
        return candidate

    def number_of(self, candidate: Candidate) -> int:
        """Which act proposed the candidate."""
        # By identity, because two acts may propose the same.
        return next(number for one, number in self.candidates if one is candidate)

    async def about(self, paused: Paused) -> NoReturn:
        """Ask; of several acts the first is heard."""
        self.paused = self.paused or paused
        self.scope.cancel()
        # The act must not return to the race, which would count it as a failure.
        await anyio.sleep_forever()
        raise AssertionError("a cancelled sleep does not end")

    def stop(self) -> NoReturn:
        """Raise what the race ended with."""
        raise self.paused or AssertionError("a race ends with an outcome, or with a question")


def _own(said: Said) -> Said:
    """What a step may do with as it likes: others, and a resumed one, get it as it was."""
    if said is None or said.data is None:
        return said
    return cast(Said, replace(said, data=deepcopy(said.data)))


def _wrong(stage: Phase, step: Callable[..., object], returned: object, wanted: str) -> TypeError:
    return TypeError(
        f"{stage} step {name_of(step)} returned {type(returned).__name__}, not {wanted}"
    )
