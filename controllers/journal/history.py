"""The runs that a lattice holds, and what each of them told, read back from the chain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, cast

from pmll_async import Lattice, MemoryLine

from ..events import (
    Acted,
    EffectBegun,
    EffectDone,
    Event,
    GoalEnded,
    GoalStarted,
    PlanFailed,
    Planned,
    Reflected,
    RunEnded,
    RunInfo,
    RunResult,
    RunResumed,
    RunStarted,
    Status,
)
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
from .journal import run_lock
from .resume_point import RUNNING, RunNotFoundError
from .stamps import find_start, is_entry

_JSON: Final = Forms("the journal")


async def runs(lattice: Lattice, *, limit: int | None = None) -> list[RunInfo]:
    """The runs on the chain, those that changed last first; at most `limit`."""
    newest: dict[str, MemoryLine] = {}
    starts: dict[str, MemoryLine] = {}
    async for entry in lattice.rewind(where={"pmll.stage": "run"}):
        if len(starts) == limit:
            break
        if not is_entry(entry):
            continue
        facts = facts_of(entry)
        if facts["run"] not in newest and len(newest) == limit:
            continue
        newest.setdefault(facts["run"], entry)
        if facts["status"] == "started":
            starts[facts["run"]] = entry
    return [_info(lattice, starts[run], entry) for run, entry in newest.items() if run in starts]


def _info(lattice: Lattice, start: MemoryLine, newest: MemoryLine) -> RunInfo:
    facts = facts_of(newest)
    status: Any = "interrupted" if facts["status"] in RUNNING else facts["status"]
    if lattice.lock(run_lock(facts["run"])).locked():
        status = "running"
    return RunInfo(
        run_id=facts["run"],
        goal=text_of(start, "goal"),
        status=status,
        started_at=start.committed_at,
        changed_at=newest.committed_at,
        text=text_of(newest),
        resumed=cast(int, newest.context.get("times", 0)),
    )


async def replay(lattice: Lattice, run_id: str) -> AsyncIterator[Event]:
    """What the run told, from its journal alone: `RunNotFoundError` if there is none.

    The events that are not on the chain are missing; data is plain JSON. A run under way ends with
    its newest entry.
    """
    if await find_start(lattice, run_id) is None:
        raise RunNotFoundError(run_id)
    entries = lattice.rewind(where={"pmll.run": run_id})
    anchors = [entry.anchor async for entry in entries if is_entry(entry)]
    teller = _Teller(lattice, run_id)
    for anchor in reversed(anchors):
        for event in await teller.told(await lattice.get(anchor)):
            yield event


@dataclass(slots=True)
class _Teller:
    """Turns entries into events; keeps what the next ones need of the earlier ones."""

    lattice: Lattice
    run_id: str
    goals: list[str] = field(default_factory=list)
    winner: MemoryLine | None = None

    async def told(self, entry: MemoryLine) -> list[Event]:
        """The entry's events."""
        facts = facts_of(entry)
        stage = facts["stage"]
        if stage == "act" and facts["status"] == "done":
            outcome = await self.lattice.outcome(entry.anchor)
            if "path" not in facts:
                self.winner = outcome.winner
            return [Acted(**self._common(entry), attempt=facts["attempt"], outcome=outcome)]
        told = {"run": self._run, "goal": self._goal, "effect": self._effect}
        return list(told.get(stage, self._phase)(entry))

    def _run(self, entry: MemoryLine) -> Iterator[Event]:
        status = facts_of(entry)["status"]
        if status == "started":
            self.goals = [text_of(entry, "goal")]
            yield RunStarted(**self._common(entry), goal=self.goals[0])
        elif status == "resumed":
            times, answer = cast(int, entry.context["times"]), data_of(entry, "answer")
            common = self._common(entry)
            yield RunResumed(**common, goal=self.goals[0], times=times, answer=answer)
        else:
            result = self._result(entry, status)
            yield RunEnded(**self._common(entry, self.goals[:1]), result=result)

    def _result(self, entry: MemoryLine, status: Status) -> RunResult:
        facts = facts_of(entry)
        return RunResult(
            run_id=self.run_id,
            goal=self.goals[0],
            status=status,
            cycles=facts.get("cycles", 0),
            text=text_of(entry),
            data=data_of(entry),
            winner=self.winner,
            reason=text_of(entry, "reason"),
            anchor=entry.anchor,
            usage=usage_of(entry),
        )

    def _goal(self, entry: MemoryLine) -> Iterator[Event]:
        if facts_of(entry)["status"] == "started":
            self.goals.append(text_of(entry, "goal"))
            yield GoalStarted(**self._common(entry), goal=self.goals[-1])
        else:
            common = self._common(entry)
            result = goal_result_of(entry, self.goals.pop(), data_of(entry))
            yield GoalEnded(**common, result=result)

    def _effect(self, entry: MemoryLine) -> Iterator[Event]:
        name = text_of(entry, "effect")
        if facts_of(entry)["status"] == "begun":
            yield EffectBegun(**self._common(entry), name=name)
        else:
            yield EffectDone(**self._common(entry), name=name)

    def _phase(self, entry: MemoryLine) -> Iterator[Event]:
        facts, common = facts_of(entry), self._common(entry)
        attempt = facts["attempt"]
        if facts["stage"] == "reflect":
            yield Reflected(**common, attempt=attempt, verdict=verdict_of(entry, _JSON))
        elif facts["status"] != "failed":
            yield Planned(**common, attempt=attempt, plan=plan_of(entry, _JSON))
        elif facts["stage"] == "plan":
            yield PlanFailed(**common, attempt=attempt, outcome=failed_of(entry))
        else:
            yield Acted(**common, attempt=attempt, outcome=failed_of(entry))

    def _common(self, entry: MemoryLine, goals: list[str] | None = None) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "cycle": facts_of(entry)["cycle"],
            "anchor": entry.anchor,
            "goals": tuple(self.goals if goals is None else goals),
            "usage": usage_of(entry),
        }
