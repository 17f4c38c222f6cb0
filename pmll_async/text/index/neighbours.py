"""Neighbours: which turn of a session was said before which, by event time, then by position.

Turns mostly come in the order in which they were said, and then each is linked to the one before. A
turn that comes late, as in an import that begins with the newest, has its session sorted anew, in
fresh arrays: who reads an older state goes on with those that it has.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pmll_async.text.index.postings import Int32s, Int64s
from pmll_async.values.arrays import GrowingArray
from pmll_async.values.concert import Float64

NONE: Final = -1
"""No speaker, no neighbour; of a session: the row has no text at all."""


class Neighbours(NamedTuple):
    """The row before and after each within its session, or NONE; from a state's count on: none."""

    before: Int32s
    after: Int32s


@dataclass(slots=True)
class _Links:
    """Grows in place while turns come in order; `late` is the last row that did not."""

    before: GrowingArray[np.int32] = field(default_factory=lambda: GrowingArray(np.int32))
    after: GrowingArray[np.int32] = field(default_factory=lambda: GrowingArray(np.int32))
    late: int = NONE


class SessionOrder:
    """Links rows as they are added; by one thread at a time, any may read."""

    def __init__(self) -> None:
        self._links = _Links()
        self._last: dict[int, int] = {}
        """The last turn of each session."""

    @property
    def newest(self) -> Neighbours:
        """Of all rows so far."""
        return Neighbours(self._links.before.view(), self._links.after.view())

    def of(self, session: Int32s, chain: NDArray[np.bool_], times: Float64) -> Neighbours:
        """Of the state that has only these rows; the columns are by row."""
        links = self._links
        if links.late < len(session):
            return Neighbours(links.before.view(), links.after.view())
        found = Neighbours(_nothing(len(session)), _nothing(len(session)))
        _sort(np.flatnonzero(session >= 0), session, chain, times, found)
        return found

    def add(self, session: Int32s, chain: NDArray[np.bool_], times: Float64) -> None:
        """Link the rows that are new; the columns are of all rows."""
        first = len(self._links.before)
        late = self._append(first, session[first:].tolist(), chain[first:].tolist(), times)
        if not late:
            return
        old, fresh = self._links, _Links(late=len(session) - 1)
        fresh.before.extend(old.before.view())
        fresh.after.extend(old.after.view())
        rows = np.flatnonzero(np.isin(session, list(late)))
        found = Neighbours(fresh.before.view(), fresh.after.view())
        _sort(rows, session, chain, times, found)
        # At once: nobody sees some of it.
        self._links = fresh

    def _append(
        self, first: int, sessions: Sequence[int], chain: Sequence[bool], times: Float64
    ) -> Collection[int]:
        """Link the rows that come in order; the sessions of those that do not."""
        self._links.after.extend(_nothing(len(sessions)))
        after, before = self._links.after.view(), [NONE] * len(sessions)
        winner, late = NONE, set[int]()
        for row, (session, is_on_chain) in enumerate(zip(sessions, chain, strict=True), first):
            if not is_on_chain:
                # A branch stands beside the line that won, and not behind it.
                if session >= 0 and winner >= first and sessions[winner - first] == session:
                    before[row - first] = before[winner - first]
                continue
            winner = row
            if session < 0:
                continue
            previous = self._last.get(session, NONE)
            if previous != NONE and times[row] < times[previous]:
                late.add(session)
                continue
            if previous != NONE and session not in late:
                # Where readers may look: who asks for an older state ignores later rows.
                after[previous] = row
                before[row - first] = previous
            self._last[session] = row
        self._links.before.extend(np.array(before, np.int32))
        return late


def _nothing(count: int) -> Int32s:
    return np.full(count, NONE, np.int32)


def _sort(
    rows: Int64s, session: Int32s, chain: NDArray[np.bool_], times: Float64, found: Neighbours
) -> None:
    """Write the neighbours of all rows of some sessions."""
    before, after = found
    turns = rows[chain[rows]]
    turns = turns[np.lexsort((turns, times[turns], session[turns]))]
    before[turns], after[turns] = NONE, NONE
    together = session[turns[1:]] == session[turns[:-1]]
    earlier, later = turns[:-1][together], turns[1:][together]
    before[later], after[earlier] = earlier, later
    branches = rows[~chain[rows]]
    if len(branches):
        every = np.flatnonzero(chain)
        winners = every[np.searchsorted(every, branches) - 1]
        beside = session[winners] == session[branches]
        before[branches] = np.where(beside, before[winners], NONE)
