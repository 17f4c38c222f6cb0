"""States under construction: what a ledger changes from record to record, shown as snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pmll_async.engine.ledger.arrays import GrowingArray
from pmll_async.engine.ledger.snapshot import DORMANT_BELOW, Ints, Snapshot, Timeline
from pmll_async.protocols import Columns
from pmll_async.records.blocks import BRANCH, KeyUse, Mark
from pmll_async.values.anchors import ROOT_ANCHOR
from pmll_async.values.concert import Float64

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class RankedLines:
    """The unchanging columns of the index rows; see `protocols.Columns`."""

    lines: Ints
    timestamps: Float64
    novelties: Float64
    chain: Bools
    order: Ints
    anchors: NDArray[np.uint64]


class State:
    """What differs between states; effects work on fresh copies, so that snapshots stay as shown.

    By line `strengths`, `present`, `alive` (not forgotten) and `revised`; by index row
    `row_strengths` and `live`; `chain` line numbers by position; `keys` in use.
    """

    def __init__(self) -> None:
        self.chain = GrowingArray(np.int32)
        self.strengths, self.row_strengths = GrowingArray(np.float64), GrowingArray(np.float64)
        self.present, self.alive = GrowingArray(np.bool_), GrowingArray(np.bool_)
        self.revised, self.live = GrowingArray(np.bool_), GrowingArray(np.bool_)
        self.keys: dict[str, KeyUse] = {}

    def add_line(self, line: int, *, is_ranked: bool) -> None:
        """Append one line to the chain, at full strength."""
        self.chain.append(line)
        self.strengths.append(1.0)
        self.present.append(True)
        self.alive.append(True)
        self.revised.append(False)
        if is_ranked:
            self.row_strengths.append(1.0)
            self.live.append(True)

    def add_lines(
        self,
        *,
        chain: NDArray[np.integer[Any]],
        strengths: Float64,
        ranked: NDArray[np.integer[Any]],
        kinds: NDArray[np.uint8],
        alive: Bools,
    ) -> None:
        """Append lines; `ranked` are the places among them that have vectors."""
        self.chain.extend(chain)
        self.strengths.extend(strengths)
        self.present.extend(alive)
        self.alive.extend(alive)
        self.revised.extend(np.zeros(len(alive), dtype=np.bool_))
        self.row_strengths.extend(strengths[ranked])
        dormant = (kinds[ranked] == BRANCH) & (strengths[ranked] < DORMANT_BELOW)
        self.live.extend(alive[ranked] & ~dormant)

    def has(self, line: int) -> bool:
        """Whether the line is part of this state, if only as a forgotten one."""
        return bool(self.present.view()[line])

    def apply(self, marks: Sequence[tuple[Mark, int]], timeline: Timeline) -> None:
        """The effects of marks on their lines, in order."""
        if not marks:
            return
        strengths, row_strengths = self.strengths.own(), self.row_strengths.own()
        alive, live = self.alive.own(), self.live.own()
        revised = [line for mark, line in marks if mark.kind == "revise"]
        if revised:
            self.revised.own()[revised] = True
        for mark, line in marks:
            if mark.kind == "forget":
                alive[line] = False
            else:
                strengths[line] = min(1.0, max(0.0, float(strengths[line]) * mark.factor))
            row = timeline.ranked[line]
            if row >= 0:
                dormant = timeline.kinds[line] == BRANCH and strengths[line] < DORMANT_BELOW
                row_strengths[row], live[row] = strengths[line], alive[line] and not dormant

    def claim(self, uses: Sequence[KeyUse]) -> None:
        """Take keys into use, in order."""
        # An older snapshot looks away from uses that are newer than itself, but would miss one of
        # its own that a newer one took the place of.
        if any(use.key in self.keys for use in uses):
            self.keys = dict(self.keys)
        self.keys.update((use.key, use) for use in uses)

    def free(self, uses: Sequence[KeyUse]) -> None:
        """End these uses of keys, unless a newer one has taken the key over."""
        ended = {use.key for use in uses if self.keys.get(use.key) is use}
        if ended:
            self.keys = dict(self.keys)
        for key in ended:
            del self.keys[key]

    def show(self, timeline: Timeline, ranked: RankedLines, digest: bytes) -> Snapshot:
        """The state as an immutable snapshot."""
        chain = self.chain.view()
        head = f"{int(timeline.anchors[chain[-1]]):016x}" if len(chain) else ROOT_ANCHOR
        columns = Columns(
            count=len(ranked.lines),
            timestamps=ranked.timestamps,
            novelties=ranked.novelties,
            strengths=self.row_strengths.view(),
            live=self.live.view(),
            chain=ranked.chain,
            order=ranked.order,
            anchors=ranked.anchors,
        )
        return Snapshot(
            timeline=timeline,
            digest=digest,
            head=head,
            chain=chain,
            strengths=self.strengths.view(),
            present=self.present.view(),
            alive=self.alive.view(),
            revised=self.revised.view(),
            columns=columns,
            ranked_lines=ranked.lines,
            keys=self.keys,
        )
