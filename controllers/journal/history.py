"""The runs that a lattice holds, and what each of them told, read back from the chain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from pmll_async import Lattice, MemoryLine

from .. import events
from ..events import Event, RunInfo
from ..policies import Allowance
from .entries import JournalEntry, entries
from .forms import Forms
from .journal import run_lock
from .resume_point import RUNNING, RunNotFoundError
from .stamps import find_start

_JSON: Final = Forms("the journal")


async def runs(lattice: Lattice, *, limit: int | None = None) -> list[RunInfo]:
    """The runs on the chain, those that changed last first; at most `limit`."""
    newest: dict[str, JournalEntry] = {}
    starts: dict[str, JournalEntry] = {}
    async for entry in entries(lattice, {"pmll.stage": "run"}):
        if len(starts) == limit:
            break
        run = entry.facts["run"]
        if run not in newest and len(newest) == limit:
            continue
        newest.setdefault(run, entry)
        if entry.facts["status"] == "started":
            starts[run] = entry
    return [_info(lattice, starts[run], entry) for run, entry in newest.items() if run in starts]


def _info(lattice: Lattice, start: JournalEntry, newest: JournalEntry) -> RunInfo:
    run = newest.facts["run"]
    status: Any = newest.facts["status"]
    # Nobody has written down an end: whether somebody runs it here, the lock tells.
    if status in RUNNING:
        status = "interrupted"
    return RunInfo(
        run_id=run,
        goal=start.text("goal"),
        status="running" if lattice.lock(run_lock(run)).locked() else status,
        started_at=start.line.committed_at,
        changed_at=newest.line.committed_at,
        text=newest.text(),
        resumed=newest.data("times") or 0,
    )


async def replay(lattice: Lattice, run_id: str) -> AsyncIterator[Event]:
    """What the run told, from its journal alone: `RunNotFoundError` if there is none.

    The events that are not on the chain are missing; data is plain JSON. A run under way ends with
    its newest entry.
    """
    if await find_start(lattice, run_id) is None:
        raise RunNotFoundError(run_id)
    # Anchors and not entries: a long run's need not fit into memory.
    anchors = [entry.line.anchor async for entry in entries(lattice, {"pmll.run": run_id})]
    teller = _Teller(lattice, run_id)
    for anchor in reversed(anchors):
        yield await teller.event(JournalEntry(await lattice.get(anchor)))


@dataclass(slots=True)
class _Teller:
    """Turns entries into events; keeps what the next ones need of the earlier ones."""

    lattice: Lattice
    run_id: str
    goals: list[str] = field(default_factory=list)
    winner: MemoryLine | None = None

    async def event(self, entry: JournalEntry) -> Event:
        """The entry's event."""
        if entry.kind == ("run", "started"):
            self.goals = [entry.text("goal")]
        elif entry.kind == ("goal", "started"):
            self.goals.append(entry.text("goal"))
        fields = self._fields(entry)
        match entry.kind:
            case "run", "started":
                return events.RunStarted(**fields, goal=self.goals[0])
            case "run", "resumed":
                fields |= {"times": entry.data("times"), "answer": entry.data("answer")}
                fields["allowance"] = Allowance(**(entry.data("allowance") or {}))
                return events.RunResumed(**fields, goal=self.goals[0])
            case "run", _:
                result = entry.run_result(self.goals[0], entry.data(), self.winner)
                return events.RunEnded(**{**fields, "goals": (result.goal,)}, result=result)
            case "goal", "started":
                return events.GoalStarted(**fields, goal=self.goals[-1])
            case "goal", _:
                ended = entry.goal_result(self.goals.pop(), entry.data())
                return events.GoalEnded(**fields, result=ended)
            case "effect", "begun":
                return events.EffectBegun(**fields, name=entry.text("effect"))
            case "effect", _:
                return events.EffectDone(**fields, name=entry.text("effect"))
        return await self._phase(entry, fields | {"attempt": entry.facts["attempt"]})

    async def _phase(self, entry: JournalEntry, fields: dict[str, Any]) -> Event:
        match entry.kind:
            case "plan", "failed":
                return events.PlanFailed(**fields, outcome=entry.failed())
            case "plan", _:
                return events.Planned(**fields, plan=entry.plan(_JSON))
            case "act", "failed":
                return events.Acted(**fields, outcome=entry.failed())
            case "act", _:
                outcome = await self.lattice.outcome(entry.line.anchor)
                # A run's result has the winner of its own goal.
                if not entry.is_of_a_sub_goal:
                    self.winner = outcome.winner
                return events.Acted(**fields, outcome=outcome)
        return events.Reflected(**fields, verdict=entry.verdict(_JSON))

    def _fields(self, entry: JournalEntry) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "cycle": entry.facts["cycle"],
            "anchor": entry.line.anchor,
            "goals": tuple(self.goals),
            "usage": entry.usage,
        }
