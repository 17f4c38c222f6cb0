"""Snapshots: one state of the lattice, immutable, read without a lock."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.engine.ledger.arrays import AnchorMap
from pmll_async.errors import InvalidInputError, LineNotFoundError
from pmll_async.protocols import Columns
from pmll_async.records.blocks import BRANCH, LINE, NOTE, KeyUse
from pmll_async.values.anchors import ROOT_ANCHOR, is_anchor
from pmll_async.values.checks import shown
from pmll_async.values.concert import Float64
from pmll_async.values.lines import Kind

Ints = NDArray[np.int32]
Point = str | int | datetime
"""Names a state: an anchor (just after its record), a revision, or a moment."""

DORMANT_BELOW: Final = 0.05
_STEP: Final = 4096
"""Rows looked at once, in some µs, where forgotten lines and branches lie within a window."""
_KINDS: Final[dict[int, Kind]] = {LINE: "line", NOTE: "note", BRANCH: "branch"}


class Erasures:
    """Which lines of a ledger are erased, in whatever state; each set is replaced, never changed.

    `withheld` are those of them that were hidden then.
    """

    __slots__ = ("lines", "withheld")

    def __init__(self) -> None:
        self.lines: frozenset[int] = frozenset()
        self.withheld: frozenset[int] = frozenset()

    def add(self, lines: Collection[int], withheld: Collection[int]) -> None:
        """These, too."""
        self.withheld = self.withheld.union(withheld)
        self.lines = self.lines.union(lines)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Snapshot:
    """A state: which lines are on the chain, how strong each is, and what may be ranked.

    By revision: `times` float64, when its record was committed, and `line_starts` int32, how many
    lines there were then. By line, branches and what is off the chain included: `anchors`; `kinds`
    uint8; `ranked` int32, its row in the index or -1; `strengths` float64; `present` bool, False
    for what a rollback took off; `alive` bool, False for what was forgotten, too; `revised` bool,
    True for what a newer line replaced. `chain` int32: line numbers by position. `columns` are by
    index row, and `ranked_lines` int32 gives each row's line. `erasures` are the ledger's of now,
    of which it was drawn with so many as `erased`. With a `novelty_window` novelty is of so many
    lines.
    """

    revision: int
    digest: bytes
    head: str
    times: Float64
    line_starts: Ints
    anchors: NDArray[np.uint64]
    by_anchor: AnchorMap
    kinds: NDArray[np.uint8]
    ranked: Ints
    strengths: Float64
    present: NDArray[np.bool_]
    alive: NDArray[np.bool_]
    revised: NDArray[np.bool_]
    chain: Ints
    columns: Columns
    ranked_lines: Ints
    keys: Mapping[str, KeyUse]
    erasures: Erasures
    erased: int
    novelty_window: int | None = None

    @property
    def is_outdated(self) -> bool:
        """Whether lines were erased since it was drawn, which no state has any more."""
        return len(self.erasures.lines) != self.erased

    def lacks(self, line: int) -> bool:
        """Whether the line is erased."""
        return line in self.erasures.lines

    def lacks_all(self, anchor: str) -> bool:
        """Whether every line of this anchor is erased."""
        return all(map(self.lacks, self._lines_of(anchor)))

    @property
    def committed_at(self) -> float:
        """The commit time of the newest record; 0 before the first."""
        return float(self.times[-1])

    def find(self, anchor: str) -> int:
        """The line that this anchor names; `LineNotFoundError` without one.

        Of several the one that this state has, else the newest.
        """
        lines = self._lines_of(anchor)
        if not lines:
            raise LineNotFoundError(str(anchor))
        return next((line for line in lines if self.has(line)), lines[0])

    def find_all(self, anchors: Sequence[str]) -> list[list[int]]:
        """The lines that each of these anchors names, the newest first."""
        return self.by_anchor.find_all(anchors, len(self.anchors))

    def has(self, line: int) -> bool:
        """Whether the line is part of this state, if only as a forgotten one."""
        return bool(self.present[line])

    def is_forgotten(self, line: int) -> bool:
        """Whether the line is part of this state, as one that was forgotten."""
        return bool(self.present[line]) and not self.alive[line]

    def revision_at(self, point: Point) -> int:
        """The revision that `point` names: the state just after that record."""
        if isinstance(point, str):
            if point == ROOT_ANCHOR:
                return 0
            return self.record_of(self.find(point)) + 1
        if isinstance(point, datetime):
            return self._revision_by(point)
        if isinstance(point, bool) or not isinstance(point, int):
            what = shown(point)
            raise InvalidInputError(f"a point is an anchor, a revision or a datetime, not {what}")
        if not 0 <= point <= self.revision:
            raise InvalidInputError(f"there is no revision {point}; the newest is {self.revision}")
        return point

    def position(self, line: int) -> int | None:
        """The line's place on the chain, None off it."""
        # A number of another type would have the whole chain copied to compare it.
        place = int(self.chain.searchsorted(np.int32(line)))
        return place if place < len(self.chain) and self.chain[place] == line else None

    def kind(self, line: int) -> Kind:
        """What the line is."""
        return _KINDS[int(self.kinds[line])]

    def anchor(self, line: int) -> str:
        """The line's anchor."""
        return f"{int(self.anchors[line]):016x}"

    def holds(self, anchor: object) -> bool:
        """Whether the anchor is on the chain."""
        return any(self.position(line) is not None for line in self._lines_of(anchor))

    def _lines_of(self, anchor: object) -> list[int]:
        return self.by_anchor.find(str(anchor), len(self.anchors)) if is_anchor(anchor) else []

    def key_use(self, key: str) -> KeyUse:
        """Who holds the idempotency key in this state."""
        use = self.keys.get(key)
        if use is None or use.n >= self.revision:
            raise LineNotFoundError(key, "idempotency key")
        return use

    def losers(self, line: int) -> range:
        """The branches of the race that the line won; empty for any other line."""
        record = self.record_of(line)
        first, stop = self.line_starts[record : record + 2].tolist()
        return range(line + 1, stop) if line == first else range(0)

    def record_of(self, line: int) -> int:
        """The number of the line's record."""
        return record_of(self.line_starts, line)

    def _revision_by(self, moment: datetime) -> int:
        """The revision after the newest record committed at or before the moment."""
        if moment.tzinfo is None:
            raise InvalidInputError(f"{moment!r} has no time zone; give one, such as timezone.utc")
        # A datetime is whole microseconds: a time that rounds to it is of its moment. Clocks may
        # go back, so that the times are in no order.
        by_then = np.flatnonzero(self.times[1:] <= moment.timestamp() + 5e-7)
        return int(by_then[-1]) + 1 if len(by_then) else 0


def dead_lines(snapshot: Snapshot, over: Collection[int], kept: Collection[int]) -> tuple[str, ...]:
    """The anchors of what can go: dormant branches, what a rollback took off, lines that are over.

    An anchor that is also that of a line that stays is not among them, and nothing `kept` is.
    """
    dormant = (snapshot.kinds == BRANCH) & (snapshot.strengths < DORMANT_BELOW)
    dead = dormant | ~snapshot.present
    dead[list(over)] = True
    dead[[line for line in kept if line < len(dead)]] = False
    stay = snapshot.anchors[~dead]
    dead[list(snapshot.erasures.lines)] = False
    # Without the interpreter lock, which sets of all lines would hold for long.
    found = snapshot.anchors[dead]
    found = found[~np.isin(found, stay)]
    return tuple([f"{anchor:016x}" for anchor in dict.fromkeys(found.tolist())])


def window_start(columns: Columns, window: int | None) -> int:
    """An index row from which on `window` rows are live and on the chain.

    0 if fewer are, or without a window.
    """
    if window is None:
        return 0
    first, missing = columns.count, window
    while first and missing:
        # From the newest on, so that it takes no longer with more rows before them.
        stop, first = first, max(0, first - max(missing, _STEP))
        eligible = columns.live[first:stop] & columns.chain[first:stop]
        found = int(np.count_nonzero(eligible))
        if found > missing:
            return first + int(np.flatnonzero(eligible)[-missing])
        missing -= found
    return first


def record_of(line_starts: Ints, line: int) -> int:
    """The number of the record that brought the line."""
    # A number of another type would have the whole column copied to compare it.
    return int(np.searchsorted(line_starts, np.int32(line), side="right")) - 1
