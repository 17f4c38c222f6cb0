"""One run of a controller: the loop over its goals, from where it stands to its end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Generic, cast

import anyio
import structlog

from pmll_async import PmllError

from .. import events
from ..calling import failure_of
from ..events import Event, RunResult, Status
from ..goals import GoalFrame
from ..journal.resume_point import ResumePoint
from ..policies import Allowance, first_reason
from ..steps import Continue, Data, Deps, Failed
from .phases import Paused, Phases
from .state import RunState
from .turns import turnstile

# How long a cancelled run may take to write down that it was: the disk may hang, the caller must
# not.
_LAST_WORDS_SECONDS: Final = 2.0


@dataclass(slots=True)
class Run(Generic[Deps, Data]):
    """Drives one run; `start` or `go_on` comes first, `drive` is called once."""

    state: RunState[Deps, Data]
    asking: str = ""
    result: RunResult | None = None

    # --- beginning -----------------------------------------------------------------------------

    async def start(self, goal: str) -> Event:
        """Put a new run on the chain."""
        state = self.state
        state.began = state.setup.clock()
        state.anchor = await state.journal.started(goal)
        state.stack = [GoalFrame((goal,))]
        return events.RunStarted(**state.event_fields(), goal=goal)

    async def go_on(self, point: ResumePoint, answer: Any, more: Allowance) -> Event:
        """Take the run up again where its journal ends, with so `more` than it had."""
        state = self.state
        state.began, state.elapsed = state.setup.clock(), point.elapsed
        state.stack, state.cycles, state.usage = point.stack, point.cycles, point.usage
        state.times, state.resumed = point.times + 1, True
        state.allowance = point.allowance + more
        if answer is not None:
            point.answered(answer)
        state.anchor = await state.journal.resumed(
            state.place(), state.times, state.elapsed, answer, state.allowance
        )
        return events.RunResumed(
            **state.event_fields(),
            goal=state.root.goal,
            times=state.times,
            answer=answer,
            allowance=state.allowance,
        )

    # --- the loop ------------------------------------------------------------------------------

    async def drive(self, first: Event) -> RunResult:
        """Run to the end. What REFLECT raised is in the result; cancellation passes, journaled."""
        state = self.state
        try:
            await state.emit(first)
            await self._end(await self._looped())
        except anyio.get_cancelled_exc_class():
            # An end that is decided stands: nothing is left to cancel but the bookkeeping.
            done = state.root.stand == "end" and not state.root.reason
            result = self.result or self._result("done" if done else "cancelled")
            await self._last_words(result)
            # A stream's reader is gone by now; who observes must know.
            state.setup.observe(self._ended(self.result or result))
            raise
        # A step is the user's code: whatever it raises ends this run, on the chain, and no other.
        except Exception as exc:  # noqa: BLE001
            exc.add_note(f"in run {state.run_id}, cycle {state.frame.cycle}, {state.frame.stand}")
            failed = failure_of("run", exc)
            reason = f"{failed.error}: {failed.message}"
            await self._last_words(self._result("failed", reason=reason, error=exc))
        result = cast(RunResult, self.result)
        await state.emit(self._ended(result))
        return result

    async def _looped(self) -> RunResult:
        try:
            return await self._loop()
        except Paused as paused:
            self.asking = paused.step
            question = paused.pause.question
            return replace(self._result("paused"), text=question, data=paused.data)

    async def _loop(self) -> RunResult:
        state, phases, turns = self.state, Phases(self.state), turnstile()
        while not (state.frame.stand == "end" and len(state.stack) == 1):
            # However many runs there are, the loop is soon free for others.
            await turns.enter()
            frame = state.frame
            if frame.stand == "end":
                await self._leave(frame)
            elif frame.stand == "goals":
                await self._descend(frame)
            elif frame.stand == "reflect":
                await phases.reflect(frame)
            elif (reason := first_reason(state.setup.rules, state.budget())) is not None:
                why = f" ({frame.outcome})" if isinstance(frame.outcome, Failed) else ""
                frame.exhausted(reason + why)
            elif frame.stand == "plan":
                await phases.plan(frame)
            else:
                await phases.act(frame)
        reason = state.frame.reason
        return self._result("exhausted" if reason else "done", reason=reason)

    async def _descend(self, frame: GoalFrame) -> None:
        state = self.state
        child = frame.entered(state.place())
        place = replace(state.place(), path=child.path, cycle=0, attempt=0)
        anchor = await state.journal.goal_started(place, child.goal)
        state.stack.append(child)
        await state.entered(
            anchor, events.GoalStarted(**state.event_fields(anchor), goal=child.goal)
        )

    async def _leave(self, frame: GoalFrame) -> None:
        state, result = self.state, frame.result()
        place = replace(state.place(), cycle=frame.last_cycle, attempt=0)
        anchor = await state.journal.goal_ended(place, result, self._verdict_data(frame))
        event = events.GoalEnded(**state.event_fields(anchor), result=result)
        state.stack.pop()
        state.frame.left(result)
        await state.entered(anchor, event)

    # --- ending --------------------------------------------------------------------------------

    def _result(
        self, status: Status, *, reason: str = "", error: BaseException | None = None
    ) -> RunResult:
        state, root = self.state, self.state.root
        verdict = root.verdict or Continue[Any]()
        return RunResult(
            run_id=state.run_id,
            goal=root.goal,
            status=status,
            cycles=state.cycles,
            text=verdict.text,
            data=verdict.data,
            winner=root.winner,
            reason=reason,
            error=error,
            usage=state.usage,
        )

    def _ended(self, result: RunResult) -> events.RunEnded:
        # It is told of the run's own goal, whichever the run ended in.
        del self.state.stack[1:]
        return events.RunEnded(**self.state.event_fields(), result=result)

    def _verdict_data(self, frame: GoalFrame) -> Any:
        verdict = frame.verdict
        if verdict is None:
            return None
        return self.state.setup.verdict_forms.of(type(verdict)).to_json(verdict.data)

    async def _end(self, result: RunResult) -> None:
        self.result = result
        state, root = self.state, self.state.root
        # What a pause hands over is JSON by now; a verdict's data is what REFLECT said.
        data = result.data if result.status == "paused" else self._verdict_data(root)
        place = replace(state.place(), path="", cycle=root.last_cycle, attempt=0)
        state.anchor = await state.journal.ended(place, result, data, state.times, self.asking)
        self.result = replace(result, anchor=state.anchor)

    async def _last_words(self, result: RunResult) -> None:
        """Journal an end that must not hide what led to it."""
        with anyio.move_on_after(_LAST_WORDS_SECONDS, shield=True):
            try:
                await self._end(result)
            except PmllError as exc:
                log = structlog.get_logger("controllers")
                # Its message may name what a step returned.
                error = type(exc).__name__
                log.warning("run.end_not_journaled", run_id=self.state.run_id, error=error)
