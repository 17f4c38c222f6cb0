"""The run's journal: every phase as an entry on the chain, from which the run can be read back.

An entry's context holds what the step said and, under ``pmll``, which phase it was::

    {"text": "…", "data": …,
     "pmll": {"run": "…", "cycle": 0, "attempt": 0, "stage": "plan", "status": "done"}}

    stage     status
    run       started, then one of done, exhausted, failed, cancelled
    plan      done
    act       done on each candidate's line; failed on a note when no act produced one
    reflect   continue, retry, done

An entry is also the intent of the phase after it: in a run without an end, the phase behind the
newest entry may have begun. Each entry has an idempotency key of its own, so that none is written
twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import JsonValue
from pydantic_core import PydanticSerializationError, to_jsonable_python

from pmll_async import Candidate, Lattice, LineNotFoundError, NoWinnerError, PmllError, stamp

from .events import RunResult
from .steps import Continue, Done, Plan, Retry, Stage, Verdict

_STAMP: Final = "pmll"
_LONGEST_MESSAGE: Final = 2_000  # characters of an error: some quote the whole reply of a service
_VERDICTS: Final[Mapping[type[Verdict], str]] = {
    Continue: "continue",
    Done: "done",
    Retry: "retry",
}


class RunExistsError(PmllError):
    """This lattice already holds a run with the id; `anchor` is its first entry."""

    def __init__(self, run_id: str, anchor: str) -> None:
        self.run_id, self.anchor = run_id, anchor
        super().__init__(
            f"run {run_id!r} is on the chain already, from {anchor} on; give another run_id"
        )


def step_key(run_id: str, cycle: int, attempt: int, step: str) -> str:
    """The idempotency key of one step of one phase."""
    return f"{run_id}/{cycle}.{attempt}/{step}"


@dataclass(frozen=True, slots=True)
class Journal:
    """Writes the entries of one run."""

    lattice: Lattice
    run_id: str

    async def started(self, goal: str) -> str:
        """The run's first entry. Of calls with one id the first has it: `RunExistsError`."""
        async with self.lattice.lock(f"pmll.run.{self.run_id}"):
            await self._refuse_known()
            return await self._note(0, 0, "run", "started", {"goal": goal}, "start")

    async def planned(self, cycle: int, plan: Plan[Any]) -> str:
        """PLAN's entry: a line if it gave a key."""
        return await self._said(cycle, 0, "plan", "done", plan)

    async def fruitless(self, cycle: int, attempt: int, error: NoWinnerError) -> str:
        """A note of why no act produced a line; a race that has a winner is its own entry."""
        told: dict[str, JsonValue] = {
            "failures": [_printable(str(failure)) for failure in error.failures],
            "unfinished": list(error.unfinished),
        }
        return await self._note(cycle, attempt, "act", "failed", told, "act")

    async def reflected(self, cycle: int, attempt: int, verdict: Verdict) -> str:
        """REFLECT's entry: a line if it gave a key."""
        return await self._said(cycle, attempt, "reflect", _VERDICTS[type(verdict)], verdict)

    async def ended(self, result: RunResult) -> str:
        """The run's last entry. A second one with another result is a `ConflictError`."""
        told = _body(result.text, result.data)
        if result.winner is not None:
            told["winner"] = result.winner.anchor
        if result.reason:
            told["reason"] = _printable(result.reason)
        if result.error is not None:
            message = _printable(str(result.error))
            told["error"] = {"type": type(result.error).__name__, "message": message}
        return await self._note(max(0, result.cycles - 1), 0, "run", result.status, told, "end")

    def candidate(self, proposed: Candidate, cycle: int, attempt: int, name: str) -> Candidate:
        """The candidate as this run's entry; a stamp that it took over from another run goes."""
        context = {key: item for key, item in proposed.context.items() if key != _STAMP}
        return Candidate(
            key=proposed.key,
            value=proposed.value,
            context=stamp(context, self._facts(cycle, attempt, "act", "done")),
            timestamp=proposed.timestamp,
            confidence=proposed.confidence,
            revises=proposed.revises,
            idempotency_key=proposed.idempotency_key,
            name=proposed.name or name,
        )

    async def _refuse_known(self) -> None:
        try:
            known = await self.lattice.find(step_key(self.run_id, 0, 0, "start"))
        except LineNotFoundError:
            return
        raise RunExistsError(self.run_id, known.anchor)

    async def _said(
        self, cycle: int, attempt: int, stage: Stage, status: str, said: Plan[Any] | Verdict
    ) -> str:
        told = _body(said.text, said.data)
        if said.key is None:
            return await self._note(cycle, attempt, stage, status, told, stage)
        return await self.lattice.put(
            said.key,
            said.value,
            stamp(told, self._facts(cycle, attempt, stage, status)),
            idempotency_key=step_key(self.run_id, cycle, attempt, stage),
        )

    async def _note(
        self,
        cycle: int,
        attempt: int,
        stage: Stage,
        status: str,
        told: Mapping[str, JsonValue],
        step: str,
    ) -> str:
        return await self.lattice.note(
            stamp(told, self._facts(cycle, attempt, stage, status)),
            idempotency_key=step_key(self.run_id, cycle, attempt, step),
        )

    def _facts(self, cycle: int, attempt: int, stage: Stage, status: str) -> dict[str, JsonValue]:
        return {
            "run": self.run_id,
            "cycle": cycle,
            "attempt": attempt,
            "stage": stage,
            "status": status,
        }


def _body(text: str, data: object) -> dict[str, JsonValue]:
    told: dict[str, JsonValue] = {"text": text} if text else {}
    if data is not None:
        told["data"] = _json(data)
    return told


def _json(data: object) -> JsonValue:
    try:
        value: JsonValue = to_jsonable_python(data)
    except PydanticSerializationError as exc:
        raise TypeError(
            f"data of type {type(data).__name__} cannot be journaled as JSON: {exc}"
        ) from exc
    return value


def _printable(text: str) -> str:
    # A lone surrogate, as in an undecodable file name, would make the entry itself fail.
    return text[:_LONGEST_MESSAGE].encode("utf-8", "backslashreplace").decode()
