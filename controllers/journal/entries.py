"""The journal's entries as the values that were journaled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import JsonValue

from pmll_async import CandidateFailure, Lattice, MemoryLine, thaw

from ..events import RunResult
from ..policies import Usage
from ..steps import Failed, GoalResult, Plan, Verdict
from .forms import Forms
from .journal import VERDICTS
from .stamps import STAMP, is_entry


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A line that is stamped as a journal's entry, read back as what it says."""

    line: MemoryLine

    @property
    def facts(self) -> Mapping[str, Any]:
        """Which phase of which run it is."""
        return cast(Mapping[str, Any], self.line.context[STAMP])

    @property
    def kind(self) -> tuple[str, str]:
        """Its stage and its status."""
        return self.facts["stage"], self.facts["status"]

    @property
    def is_of_a_sub_goal(self) -> bool:
        """Whether another goal than the run's own is at hand."""
        return "path" in self.facts

    @property
    def usage(self) -> Usage:
        """What the run had spent by then."""
        # Only what is not zero was written.
        return Usage(**self.facts.get("usage", {}))

    def text(self, name: str = "text") -> str:
        """A text of the entry's, or an empty one."""
        return str(self.line.context.get(name, ""))

    def data(self, name: str = "data") -> Any:
        """The entry's data as plain JSON."""
        return thaw(self.line.context.get(name))

    def plan(self, forms: Forms) -> Plan[Any]:
        """What PLAN said."""
        context = self.line.context
        goals = cast(tuple[str, ...], tuple(cast(Any, context.get("goals", ()))))
        data = forms.of(Plan).from_json(context.get("data"))
        return Plan(self.text(), data, goals=goals, **self._vectors())

    def verdict(self, forms: Forms) -> Verdict:
        """What REFLECT said."""
        kind = VERDICTS[self.facts["status"]]
        data = forms.of(kind).from_json(self.line.context.get("data"))
        return kind(self.text(), data, **self._vectors())

    def failed(self) -> Failed:
        """Why a phase came to nothing; the exception itself is gone."""
        context = cast(Any, self.line.context)
        failures = tuple(CandidateFailure(**failure) for failure in context["failures"])
        return Failed(self.facts["stage"], failures, tuple(context["unfinished"]))

    def goal_result(self, goal: str, data: Any) -> GoalResult:
        """How a sub-goal ended; `data` is that of its last verdict."""
        reason, winner = self.text("reason"), self.text("winner")
        return GoalResult(goal, self.facts["status"], self.text(), data, reason, winner)

    def run_result(self, goal: str, data: Any, winner: MemoryLine | None) -> RunResult:
        """How the run ended or stopped."""
        return RunResult(
            run_id=self.facts["run"],
            goal=goal,
            status=self.facts["status"],
            cycles=self.facts.get("cycles", 0),
            text=self.text(),
            data=data,
            winner=winner,
            reason=self.text("reason"),
            anchor=self.line.anchor,
            usage=self.usage,
        )

    def _vectors(self) -> dict[str, Any]:
        """What is no note was given a key."""
        line = self.line
        return {} if line.kind == "note" else {"key": line.key, "value": line.value}


async def entries(lattice: Lattice, where: Mapping[str, JsonValue]) -> AsyncIterator[JournalEntry]:
    """The entries that a filter fits, newest first; lines that only look like some are left out."""
    async for line in lattice.rewind(where=where):
        if is_entry(line):
            yield JournalEntry(line)
