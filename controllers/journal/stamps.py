"""What makes a line an entry of a run's journal: its stamp, and the key that it is found by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pmll_async import Lattice, LineNotFoundError, MemoryLine, journal_key

from ..goals import Place

STAMP: Final = "pmll"
_STATUSES: Final[Mapping[str, tuple[str, ...]]] = {
    "run": ("started", "resumed", "done", "exhausted", "failed", "cancelled", "paused"),
    "goal": ("started", "done", "exhausted"),
    "plan": ("done", "failed"),
    "act": ("done", "failed"),
    "reflect": ("continue", "retry", "done"),
    "effect": ("begun", "done"),
}


def is_entry(line: MemoryLine) -> bool:
    """Whether the line is stamped as an entry of some run's journal."""
    facts = line.context.get(STAMP)
    if not isinstance(facts, Mapping):
        return False
    # Anybody may stamp a line: nothing of it is believed before its types are.
    names: list[Any] = [facts.get(name) for name in ("run", "stage", "status")]
    counts: list[Any] = [facts.get(name) for name in ("cycle", "attempt")]
    # `isinstance` would take True for a number.
    if any(type(name) is not str for name in names) or any(type(n) is not int for n in counts):
        return False
    return names[2] in _STATUSES.get(names[1], ())


def is_entry_of(line: MemoryLine, place: Place, stage: str, status: str) -> bool:
    """Whether the line is the entry that this phase of this run is journaled as."""
    if not is_entry(line):
        return False
    facts = line.context[STAMP]
    here = (facts["run"], facts.get("path", ""), facts["cycle"], facts["attempt"])
    return (*here, facts["stage"], facts["status"]) == (
        *(place.run_id, place.path, place.cycle, place.attempt),
        *(stage, status),
    )


async def find_entry(
    lattice: Lattice, place: Place, step: str, stage: str, status: str
) -> MemoryLine | None:
    """The entry that was journaled under the step's key, if there is one."""
    key = place.step_key(step)
    # Versions without a namespace of their own took plain keys, under which anybody can write, and
    # which therefore prove nothing: what is found is an entry only by its stamp.
    for name in (journal_key(key), key):
        try:
            line = await lattice.find(name)
        except LineNotFoundError:
            continue
        if is_entry_of(line, place, stage, status):
            return line
    return None


async def find_start(lattice: Lattice, run_id: str) -> MemoryLine | None:
    """The run's first entry, if there is such a run."""
    return await find_entry(lattice, Place(run_id, "", 0, 0), "start", "run", "started")
