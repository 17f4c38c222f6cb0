"""The journal's entries as the values that were journaled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pmll_async import CandidateFailure, MemoryLine, thaw

from ..policies import Usage
from ..steps import Failed, GoalResult, Plan, Verdict
from .forms import Forms
from .journal import VERDICTS
from .stamps import STAMP


def facts_of(entry: MemoryLine) -> Mapping[str, Any]:
    """Which phase of which run it is."""
    return cast(Mapping[str, Any], entry.context[STAMP])


def text_of(entry: MemoryLine, name: str = "text") -> str:
    """A text of the entry's, or an empty one."""
    return str(entry.context.get(name, ""))


def usage_of(entry: MemoryLine) -> Usage:
    """What the run had spent by then."""
    return Usage(**facts_of(entry).get("usage", {}))


def plan_of(entry: MemoryLine, forms: Forms) -> Plan[Any]:
    """What PLAN said."""
    goals = cast(tuple[str, ...], tuple(cast(Any, entry.context.get("goals", ()))))
    data = forms.of(Plan).from_json(entry.context.get("data"))
    return Plan(text_of(entry), data, goals=goals, **_vectors(entry))


def verdict_of(entry: MemoryLine, forms: Forms) -> Verdict:
    """What REFLECT said."""
    kind = VERDICTS[facts_of(entry)["status"]]
    data = forms.of(kind).from_json(entry.context.get("data"))
    return kind(text_of(entry), data, **_vectors(entry))


def failed_of(entry: MemoryLine) -> Failed:
    """Why a phase came to nothing; the exception itself is gone."""
    told = cast(Any, entry.context)
    failures = tuple(CandidateFailure(**failure) for failure in told["failures"])
    return Failed(facts_of(entry)["stage"], failures, tuple(told["unfinished"]))


def goal_result_of(entry: MemoryLine, goal: str, data: Any) -> GoalResult:
    """How a sub-goal ended; `data` is that of its last verdict."""
    reason, winner = text_of(entry, "reason"), text_of(entry, "winner")
    return GoalResult(goal, facts_of(entry)["status"], text_of(entry), data, reason, winner)


def data_of(entry: MemoryLine, name: str = "data") -> Any:
    """The entry's data as plain JSON."""
    return thaw(entry.context.get(name))


def _vectors(entry: MemoryLine) -> dict[str, Any]:
    """An entry that is no note was given a key."""
    return {} if entry.kind == "note" else {"key": entry.key, "value": entry.value}
