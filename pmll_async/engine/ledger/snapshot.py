"""Snapshots: one state of the lattice, immutable, read without a lock."""

from __future__ import annotations

from collections.abc import Mapping
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
_KINDS: Final[dict[int, Kind]] = {LINE: "line", NOTE: "note", BRANCH: "branch"}


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """What every state up to one revision shares: the columns of the whole log.

    By record: `times` float64, `line_starts` int32 (first line, one entry more than records). By
    line: `kinds` uint8, `records` int32 (its record), `ranked` int32 (its row in the index, or -1).
    """

    revision: int
    times: Float64
    line_starts: Ints
    kinds: NDArray[np.uint8]
    records: Ints
    ranked: Ints
    anchors: NDArray[np.uint64]
    by_anchor: AnchorMap

    @property
    def line_count(self) -> int:
        """Lines so far, branches and what is off the chain included."""
        return len(self.kinds)

    def revision_by(self, moment: datetime) -> int:
        """The revision after the newest record committed at or before the moment."""
        if moment.tzinfo is None:
            raise InvalidInputError(f"{moment!r} has no time zone; give one, such as timezone.utc")
        # A datetime is whole microseconds: a time that rounds to it is of its moment.
        by_then = np.flatnonzero(self.times <= moment.timestamp() + 5e-7)
        return int(by_then[-1]) + 1 if len(by_then) else 0


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A state: which lines are on the chain, how strong each is, and what may be ranked.

    `chain` int32: line numbers by position. By line: `strengths` float64; `present` bool, False for
    what a rollback took off; `alive` bool, False for what was forgotten, too; `revised` bool, True
    for what a newer line replaced. `columns` are by index row, and `ranked_lines` int32 gives each
    row's line.
    """

    timeline: Timeline
    digest: bytes
    head: str
    chain: Ints
    strengths: Float64
    present: NDArray[np.bool_]
    alive: NDArray[np.bool_]
    revised: NDArray[np.bool_]
    columns: Columns
    ranked_lines: Ints
    keys: Mapping[str, KeyUse]

    @property
    def revision(self) -> int:
        """The number of records."""
        return self.timeline.revision

    @property
    def committed_at(self) -> float:
        """The commit time of the newest record; 0 before the first."""
        return float(self.timeline.times[-1]) if self.revision else 0.0

    def find(self, anchor: str) -> int:
        """The line that this anchor names; `LineNotFoundError` without one.

        Of several the one that this state has, else the newest.
        """
        timeline = self.timeline
        lines = timeline.by_anchor.find(anchor, timeline.line_count) if is_anchor(anchor) else []
        if not lines:
            raise LineNotFoundError(str(anchor))
        return next((line for line in lines if self.has(line)), lines[0])

    def has(self, line: int) -> bool:
        """Whether the line is part of this state, if only as a forgotten one."""
        return bool(self.present[line])

    def revision_at(self, point: Point) -> int:
        """The revision that `point` names: the state just after that record."""
        if isinstance(point, str):
            if point == ROOT_ANCHOR:
                return 0
            return int(self.timeline.records[self.find(point)]) + 1
        if isinstance(point, datetime):
            return self.timeline.revision_by(point)
        if isinstance(point, bool) or not isinstance(point, int):
            what = shown(point)
            raise InvalidInputError(f"a point is an anchor, a revision or a datetime, not {what}")
        if not 0 <= point <= self.revision:
            raise InvalidInputError(f"there is no revision {point}; the newest is {self.revision}")
        return point

    def position(self, line: int) -> int | None:
        """The line's place on the chain, None off it."""
        # A number of another type would have the whole chain copied to compare it.
        place = int(np.searchsorted(self.chain, np.int32(line)))
        return place if place < len(self.chain) and self.chain[place] == line else None

    def kind(self, line: int) -> Kind:
        """What the line is."""
        return _KINDS[int(self.timeline.kinds[line])]

    def anchor(self, line: int) -> str:
        """The line's anchor."""
        return f"{int(self.timeline.anchors[line]):016x}"

    def holds(self, anchor: object) -> bool:
        """Whether the anchor is on the chain."""
        if not is_anchor(anchor):
            return False
        lines = self.timeline.by_anchor.find(str(anchor), self.timeline.line_count)
        return any(self.position(line) is not None for line in lines)

    def key_use(self, key: str) -> KeyUse:
        """Who holds the idempotency key in this state."""
        use = self.keys.get(key)
        if use is None or use.n >= self.revision:
            raise LineNotFoundError(key, "idempotency key")
        return use

    def losers(self, line: int) -> range:
        """The branches of the race that the line won; empty for any other line."""
        record = int(self.timeline.records[line])
        first, stop = self.timeline.line_starts[record : record + 2].tolist()
        return range(line + 1, stop) if line == first else range(0)
