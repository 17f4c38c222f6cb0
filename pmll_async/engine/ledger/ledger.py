"""The ledger: the growing columns of a lattice, fed block by block, and the states drawn from it.

One thread extends it. What it hands out (`Snapshot`) never changes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from operator import attrgetter

import numpy as np

from pmll_async.engine.ledger.arrays import AnchorMap, GrowingArray
from pmll_async.engine.ledger.snapshot import Snapshot, Timeline
from pmll_async.engine.ledger.state import RankedLines, State
from pmll_async.protocols import Index
from pmll_async.records.blocks import BRANCH, NOTE, Block, KeyUse, Mark
from pmll_async.records.chain import lineage
from pmll_async.values.anchors import ROOT_DIGEST
from pmll_async.values.concert import Float64


class Ledger:
    """Every record's columns, the newest state, and on demand any older one.

    Lines and records are numbered in 32 bits: 2^31 of them would be terabytes of log.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._digest = ROOT_DIGEST
        self._times = GrowingArray(np.float64)
        self._line_starts = GrowingArray(np.int32)
        self._line_starts.append(0)
        self._anchors = GrowingArray(np.uint64)
        self._kinds = GrowingArray(np.uint8)
        self._births: list[tuple[int, float]] = []
        self._records = GrowingArray(np.int32)
        self._ranked = GrowingArray(np.int32)
        self._ranked_lines = GrowingArray(np.int32)
        self._timestamps = GrowingArray(np.float64)
        self._novelties = GrowingArray(np.float64)
        self._order = GrowingArray(np.int32)
        self._ranked_anchors = GrowingArray(np.uint64)
        self._on_chain = GrowingArray(np.bool_)
        self._by_anchor = AnchorMap(self._anchors)
        self._marks: list[Mark] = []
        self._mark_numbers: list[int] = []
        self._rollbacks: list[Mark] = []
        self._key_uses: list[KeyUse] = []
        self._state = State()
        self.snapshot = self._publish()

    def settle(self) -> None:
        """Sort what loading brought, so that no later caller has to wait for it."""
        self._by_anchor.settle()

    def time_of(self, revision: int) -> float:
        """The commit time of the record that led to the revision; 0 for the empty lattice."""
        return float(self._times.view()[revision - 1]) if revision else 0.0

    def is_revised(self, line: int) -> bool:
        """Whether a line of the newest state has replaced this one."""
        return bool(self._state.revised.view()[line])

    def is_present(self, line: int) -> bool:
        """Whether the newest state has the line, if only as a forgotten one."""
        return self._state.has(line)

    def extend(self, block: Block) -> None:
        """Take in the records behind the newest and show the new state."""
        self._key_uses += block.key_uses
        if len(block.anchors) == 1 and len(block.times) == 1 and not block.marks:
            self._append_line(block)
        else:
            self._append(block)
        self._digest = block.digest
        self.snapshot = self._publish()

    def at(self, revision: int) -> Snapshot:
        """The state after `revision` records, drawn from the columns."""
        newest = self.snapshot
        if revision == newest.revision:
            return newest
        return self._rebuild(revision).show(
            self._timeline(revision), self._ranked_to(revision), b""
        )

    # --- growing -------------------------------------------------------------------------------

    def _append_line(self, block: Block) -> None:
        """What `_append` does for one line on the chain; a fifth of its time, one put's latency."""
        line, row, kind = len(self._anchors), len(self._ranked_lines), int(block.kinds[0])
        anchor = int(block.anchors[0])
        self._times.append(block.times[0])
        self._line_starts.append(line + 1)
        self._anchors.append(anchor)
        self._by_anchor.add(anchor, line)
        self._kinds.append(kind)
        self._records.append(block.first)
        self._ranked.append(row if kind != NOTE else -1)
        if kind != NOTE:
            self._index.add(block.keys, block.norms)
            self._ranked_lines.append(line)
            self._timestamps.append(block.timestamps[0])
            self._novelties.append(block.novelties[0])
            self._order.append(block.first)
            self._ranked_anchors.append(anchor)
            self._on_chain.append(True)
        self._state.add_line(line, is_ranked=kind != NOTE)
        self._state.claim(block.key_uses)

    def _append(self, block: Block) -> None:
        first_line, first_row = len(self._anchors), len(self._ranked_lines)
        self._append_columns(block, first_line, first_row)
        self._marks += block.marks
        self._mark_numbers += [mark.n for mark in block.marks]
        rollbacks = [mark for mark in block.marks if mark.kind == "rollback"]
        self._rollbacks += rollbacks
        if rollbacks:
            self._state = self._rebuild(block.stop)
        else:
            self._grow_state(block, first_line, first_row)

    def _append_columns(self, block: Block, first_line: int, first_row: int) -> None:
        numbers = np.arange(block.first, block.stop, dtype=np.int64)
        records = np.repeat(numbers, block.line_counts)
        lines = np.flatnonzero(block.kinds != NOTE)
        ranked = np.full(len(block.kinds), -1, dtype=np.int64)
        ranked[lines] = np.arange(first_row, first_row + len(lines))
        self._index.add(block.keys, block.norms)
        self._times.extend(block.times)
        self._line_starts.extend(first_line + np.cumsum(block.line_counts))
        self._anchors.extend(block.anchors)
        self._by_anchor.extend(first_line, len(self._anchors))
        self._kinds.extend(block.kinds)
        branches = np.flatnonzero(block.kinds == BRANCH)
        births = zip((branches + first_line).tolist(), block.strengths[branches], strict=True)
        self._births += births
        self._records.extend(records)
        self._ranked.extend(ranked)
        self._ranked_lines.extend(lines + first_line)
        self._timestamps.extend(block.timestamps)
        self._novelties.extend(block.novelties)
        self._order.extend(records[lines])
        self._ranked_anchors.extend(block.anchors[lines])
        self._on_chain.extend(block.kinds[lines] != BRANCH)

    def _grow_state(self, block: Block, first_line: int, first_row: int) -> None:
        state = self._state
        state.add_lines(
            chain=np.flatnonzero(block.kinds != BRANCH) + first_line,
            strengths=block.strengths,
            ranked=self._ranked_lines.view()[first_row:] - first_line,
            kinds=block.kinds,
            alive=np.ones(len(block.kinds), dtype=np.bool_),
        )
        state.claim(block.key_uses)
        self._apply(block.marks, state, self._timeline(block.stop))

    def _apply(self, marks: Iterable[Mark], state: State, timeline: Timeline) -> None:
        resolved = [(mark, self._line_of(mark, state)) for mark in marks if mark.kind != "rollback"]
        state.apply(resolved, timeline)
        forgotten = [line for mark, line in resolved if mark.kind == "forget"]
        state.free([use for line in forgotten if (use := self._key_use_of(line))])

    def _key_use_of(self, line: int) -> KeyUse | None:
        """The idempotency key that stands for the line: its record's, unless it is a branch."""
        n = int(self._records.view()[line])
        place = bisect_left(self._key_uses, n, key=attrgetter("n"))
        if self._kinds.view()[line] == BRANCH or place == len(self._key_uses):
            return None
        use = self._key_uses[place]
        return use if use.n == n else None

    def _line_of(self, mark: Mark, state: State) -> int:
        lines = self._by_anchor.find(mark.anchor, int(self._line_starts.view()[mark.n]))
        for line in lines:
            if state.has(line):
                return line
        raise ValueError(f"record {mark.n} names {mark.anchor}, which no line has then")

    # --- states --------------------------------------------------------------------------------

    def _rebuild(self, revision: int) -> State:
        spans = lineage([(mark.n, mark.revision) for mark in self._rollbacks], revision)
        timeline, ranked = self._timeline(revision), self._ranked_to(revision)
        alive = np.zeros(timeline.line_count, dtype=np.bool_)
        kept = np.zeros(revision, dtype=np.bool_)
        for first, stop in spans:
            kept[first:stop] = True
            alive[timeline.line_starts[first] : timeline.line_starts[stop]] = True
        state = State()
        state.add_lines(
            chain=np.flatnonzero(alive & (timeline.kinds != BRANCH)),
            strengths=self._strengths_at_birth(timeline.line_count),
            ranked=ranked.lines,
            kinds=timeline.kinds,
            alive=alive,
        )
        state.claim([use for use in self._key_uses if use.n < revision and kept[use.n]])
        marks = [mark for span in spans for mark in self._marks_within(*span)]
        self._apply(marks, state, timeline)
        return state

    def _strengths_at_birth(self, count: int) -> Float64:
        strengths = np.ones(count)
        for line, strength in self._births:
            if line < count:
                strengths[line] = strength
        return strengths

    def _marks_within(self, first: int, stop: int) -> list[Mark]:
        span = slice(bisect_left(self._mark_numbers, first), bisect_left(self._mark_numbers, stop))
        return self._marks[span]

    # --- showing -------------------------------------------------------------------------------

    def _publish(self) -> Snapshot:
        revision = len(self._times)
        return self._state.show(self._timeline(revision), self._ranked_to(revision), self._digest)

    def _timeline(self, revision: int) -> Timeline:
        starts = self._line_starts.view()[: revision + 1]
        lines = int(starts[-1])
        return Timeline(
            revision=revision,
            times=self._times.view()[:revision],
            line_starts=starts,
            kinds=self._kinds.view()[:lines],
            records=self._records.view()[:lines],
            ranked=self._ranked.view()[:lines],
            anchors=self._anchors.view()[:lines],
            by_anchor=self._by_anchor,
        )

    def _ranked_to(self, revision: int) -> RankedLines:
        """The columns of the index rows that the first records filled."""
        lines = self._ranked_lines.view()
        count = len(lines)
        if revision < len(self._times):
            count = int(np.searchsorted(lines, self._line_starts.view()[revision]))
        return RankedLines(
            lines=lines[:count],
            timestamps=self._timestamps.view()[:count],
            novelties=self._novelties.view()[:count],
            chain=self._on_chain.view()[:count],
            order=self._order.view()[:count],
            anchors=self._ranked_anchors.view()[:count],
        )
