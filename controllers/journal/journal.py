"""The run's journal: every phase as an entry on the chain, from which the run can be read back.

An entry's context holds what the step said and, under ``pmll``, which phase it was::

    {"text": "…", "data": …,
     "pmll": {"run": "…", "cycle": 0, "attempt": 0, "stage": "plan", "status": "done",
              "cycles": 1, "path": "0.0:1/", "usage": {"calls": 2, "cost": 0.01}}}

    stage     status
    run       started; then by turns how it ended or stopped (done, exhausted, failed, cancelled,
              paused) and resumed
    goal      started, then done or exhausted: a sub-goal, whose entries have its `path`
    plan      done, failed
    act       done on each candidate's line; failed on a note when nothing could be committed
    reflect   continue, retry, done
    effect    begun, with the `key` that services may be given; done: what `StepContext.once` did

An entry is the outcome of its phase and the intent of the phase after it, in one commit: in a run
without an end, the phase behind the newest entry may have begun. Each entry has an idempotency key
of its own, so that none is written twice: ``pmll://run/…``, where nobody else can write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from pydantic import JsonValue

from pmll_async import Candidate, Lattice, MemoryLine, PmllError, journal_key, stamp

from ..calling import message_of
from ..events import RunResult
from ..goals import Place
from ..policies import Allowance
from ..steps import Continue, Done, Failed, GoalResult, Plan, Retry, Verdict
from .stamps import STAMP, find_start

# Stamped by text memory and writers, and by agents on what they keep.
_SAID: Final = ("text", "speaker", "session", "source", "kind")
_LONGEST_MESSAGE: Final = 2_000  # characters of an error: some quote the whole reply of a service
VERDICTS: Final[Mapping[str, type[Continue | Done | Retry]]] = {
    "continue": Continue,
    "done": Done,
    "retry": Retry,
}
_STATUS: Final = {verdict: status for status, verdict in VERDICTS.items()}
Fields = dict[str, JsonValue]


class RunExistsError(PmllError):
    """This lattice already holds a run with the id; `anchor` is its first entry."""

    def __init__(self, run_id: str, anchor: str) -> None:
        self.run_id, self.anchor = run_id, anchor
        super().__init__(
            f"run {run_id!r} is on the chain already, from {anchor} on; resume it, or give another"
            " run_id"
        )


def run_lock(run_id: str) -> str:
    """The name of the lattice's lock that is held while a run goes on."""
    return f"pmll.run.{run_id}"


@dataclass(frozen=True, slots=True)
class Journal:
    """Writes the entries of one run."""

    lattice: Lattice
    run_id: str

    async def started(self, goal: str) -> str:
        """The run's first entry; `RunExistsError` if there is one."""
        known = await find_start(self.lattice, self.run_id)
        if known is not None:
            raise RunExistsError(self.run_id, known.anchor)
        place = Place(self.run_id, "", 0, 0)
        return await self._note(place, "run", "started", {"goal": goal}, "start")

    async def resumed(
        self, place: Place, times: int, elapsed: float, answer: JsonValue, allowance: Allowance
    ) -> str:
        """The run goes on for the `times`th time, `elapsed` seconds of running behind it.

        `allowance` is all that it was given so far.
        """
        body: Fields = {"times": times, "elapsed": elapsed}
        if answer is not None:
            body["answer"] = answer
        if given := allowance.facts():
            body["allowance"] = given
        return await self._note(place, "run", "resumed", body, f"resumed.{times}")

    async def ended(
        self, place: Place, result: RunResult, data: JsonValue, times: int, asking: str
    ) -> str:
        """How the run ended or stopped, after `times` resumes; `asking` is the step that paused."""
        body = _body(result.text, data)
        body["times"] = times
        if asking:
            body["step"] = asking
        if result.winner is not None:
            body["winner"] = result.winner.anchor
        if result.reason:
            body["reason"] = _printable(result.reason)
        if result.error is not None:
            message = _printable(message_of(result.error))
            body["error"] = {"type": type(result.error).__name__, "message": message}
        # A run that is resumed ends once more: each end has a key of its own.
        return await self._note(place, "run", result.status, body, f"end.{times}")

    async def goal_started(self, place: Place, goal: str) -> str:
        """A sub-goal's first entry; `place` is of its own path."""
        return await self._note(place, "goal", "started", {"goal": goal}, "start")

    async def goal_ended(self, place: Place, result: GoalResult, data: JsonValue) -> str:
        """A sub-goal's last entry."""
        body = _body(result.text, data)
        for name in ("reason", "winner"):
            if getattr(result, name):
                body[name] = _printable(getattr(result, name))
        return await self._note(place, "goal", result.status, body, "end")

    async def planned(self, place: Place, plan: Plan[Any], data: JsonValue) -> str:
        """PLAN's entry: a line if it gave a key."""
        body = _body(plan.text, data)
        if plan.goals:
            body["goals"] = list(plan.goals)
        return await self._said(place, "plan", "done", plan, body)

    async def failed(self, place: Place, outcome: Failed) -> str:
        """A note of why a phase came to nothing; a race that has a winner is its own entry."""
        body: Fields = {
            "failures": [
                {name: _printable(part) for name, part in failure.model_dump().items()}
                for failure in outcome.failures
            ],
            "unfinished": list(outcome.unfinished),
        }
        return await self._note(place, outcome.stage, "failed", body, outcome.stage)

    async def reflected(
        self, place: Place, verdict: Verdict, data: JsonValue, winner: MemoryLine | None
    ) -> str:
        """REFLECT's entry: a line if it gave a key; `winner` is the goal's last one.

        It is told where later cycles may have none.
        """
        body = _body(verdict.text, data)
        if winner is not None and isinstance(verdict, Continue):
            body["winner"] = winner.anchor
        return await self._said(place, "reflect", _STATUS[type(verdict)], verdict, body)

    async def effect(self, place: Place, step: str, name: str, status: str, body: Fields) -> str:
        """An effect that has begun, or is done."""
        body = {"effect": name, "step": step, **body}
        return await self._note(place, "effect", status, body, effect_step(step, name, status))

    def candidate(self, proposed: Candidate, place: Place, name: str) -> Candidate:
        """The candidate as this run's entry; a stamp that it took over from another run goes."""
        context = {key: item for key, item in proposed.context.items() if key != STAMP}
        before = proposed.context.get(STAMP)
        taken = before if isinstance(before, Mapping) else {}
        said = {key: taken[key] for key in _SAID if key in taken}
        stamped = stamp(context, {**said, **_facts(place, "act", "done")})
        # A copy is not checked anew: what was proposed is sound, and the commit looks at it all.
        return proposed.model_copy(update={"context": stamped, "name": proposed.name or name})

    async def _said(
        self, place: Place, stage: str, status: str, said: Plan[Any] | Verdict, body: Fields
    ) -> str:
        if said.key is None:
            return await self._note(place, stage, status, body, stage)
        return await self.lattice.put(
            said.key,
            said.value,
            stamp(body, _facts(place, stage, status)),
            idempotency_key=journal_key(place.step_key(stage)),
        )

    async def _note(self, place: Place, stage: str, status: str, body: Fields, step: str) -> str:
        return await self.lattice.note(
            stamp(body, _facts(place, stage, status)),
            idempotency_key=journal_key(place.step_key(step)),
        )


def effect_step(step: str, name: str, status: str) -> str:
    """What an effect's entry is called in its idempotency key."""
    return f"{step}.{status}/{name}"


def _facts(place: Place, stage: str, status: str) -> Fields:
    facts: Fields = {
        "run": place.run_id,
        "cycle": place.cycle,
        "attempt": place.attempt,
        "stage": stage,
        "status": status,
        "cycles": place.cycles,
    }
    # Most entries have neither, and every byte of an entry is kept for good.
    if place.path:
        facts["path"] = place.path
    if place.usage:
        facts["usage"] = {name: count for name, count in asdict(place.usage).items() if count}
    return facts


def _body(text: str, data: JsonValue) -> Fields:
    body: Fields = {"text": text} if text else {}
    if data is not None:
        body["data"] = data
    return body


def _printable(text: str) -> str:
    # A lone surrogate, as in an undecodable file name, would make the entry itself fail.
    return text[:_LONGEST_MESSAGE].encode("utf-8", "backslashreplace").decode()
