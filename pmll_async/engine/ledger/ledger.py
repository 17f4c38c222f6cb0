"""The ledger: the growing columns of a lattice, fed block by block, and the states drawn from it.

One thread extends it. What it hands out (`Snapshot`) never changes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from pmll_async.engine.ledger.arrays import AnchorMap, GrowingColumns
from pmll_async.engine.ledger.snapshot import DORMANT_BELOW, Ints, Snapshot, record_of
from pmll_async.protocols import Columns, Index
from pmll_async.records.blocks import BRANCH, NOTE, Block, KeyUse, Mark
from pmll_async.records.chain import lineage
from pmll_async.values.anchors import ROOT_ANCHOR, ROOT_DIGEST
from pmll_async.values.concert import Float64

Kinds = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Numbered = TypeVar("Numbered", Mark, KeyUse)
_NUMBER: Final = attrgetter("n")
_COLUMNS: Final = {
    "times": np.float64,
    "line_counts": np.int64,
    "anchors": np.uint64,
    "kinds": np.uint8,
    "strengths": np.float64,
    "timestamps": np.float64,
    "novelties": np.float64,
}
"""What a ledger takes from blocks, in the order that `_begin` has."""


class State:
    """What differs between states; effects work on fresh copies, so that snapshots stay as shown.

    `chain` is by position; `lines` has strength, and whether it is present, alive and revised;
    `rows`, by index row, strength and whether it is live. `keys` are in use.
    """

    def __init__(self, kinds: Kinds, births: Float64, present: Bools) -> None:
        """Lines as they were born; `present` is False for what a rollback took off."""
        is_ranked = kinds != NOTE
        row_strengths = births[is_ranked]
        chain = np.flatnonzero(present & (kinds != BRANCH))
        self.chain = GrowingColumns(chain.astype(np.int32))
        self.lines = GrowingColumns(births, present, present, np.zeros_like(present))
        # Only a branch is born weaker than a line.
        self.rows = GrowingColumns(
            row_strengths, present[is_ranked] & (row_strengths >= DORMANT_BELOW)
        )
        self.keys: dict[str, KeyUse] = {}

    def add(self, line: int, kind: int, strength: float) -> None:
        """The next line, as it was born."""
        self.lines.append(strength, True, True, False)
        if kind != BRANCH:
            self.chain.append(line)
        if kind != NOTE:
            self.rows.append(strength, strength >= DORMANT_BELOW)

    def apply(self, marks: Sequence[tuple[Mark, int]], kinds: Kinds, ranked: Ints) -> None:
        """The effects of marks on their lines, in order; both columns are by line."""
        strengths, _, alive, revised = self.lines.own()
        row_strengths, live = self.rows.own()
        for mark, line in marks:
            if mark.kind == "forget":
                alive[line] = False
            else:
                revised[line] |= mark.kind == "revise"
                strengths[line] = min(1.0, max(0.0, float(strengths[line]) * mark.factor))
            row = ranked[line]
            if row >= 0:
                dormant = kinds[line] == BRANCH and strengths[line] < DORMANT_BELOW
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
            self.keys = {key: use for key, use in self.keys.items() if key not in ended}


class Ledger:
    """Every record's columns, the newest state, and on demand any older one.

    It begins with the arrays of the blocks that a store has, and grows by rows. Lines and records
    are numbered in 32 bits: 2^31 of them would be terabytes of log.
    """

    def __init__(self, index: Index, blocks: Iterable[Block] = ()) -> None:
        self._index = index
        self._marks: list[Mark] = []
        self._key_uses: list[KeyUse] = []
        digest, parts = ROOT_DIGEST, [[np.empty(0, dtype) for dtype in _COLUMNS.values()]]
        for block in blocks:
            # The keys are most of a block, and it need not stay for them.
            index.add(block.keys, block.norms)
            parts.append([getattr(block, name) for name in _COLUMNS])
            self._marks += block.marks
            self._key_uses += block.key_uses
            digest = block.digest
        self._rollbacks = _rollbacks(self._marks)
        self._begin(*map(np.concatenate, zip(*parts, strict=True)))
        revision = len(self._revisions) - 1
        self._state = self._rebuild(revision)
        self.snapshot = self._show(self._state, revision, digest)

    def _begin(
        self,
        times: Float64,
        counts: NDArray[np.int64],
        anchors: NDArray[np.uint64],
        kinds: Kinds,
        births: Float64,
        timestamps: Float64,
        novelties: Float64,
    ) -> None:
        """The columns, from those of all blocks."""
        line_starts = np.append(np.int32(0), counts.cumsum(dtype=np.int32))
        records = np.arange(len(counts), dtype=np.int32).repeat(counts)
        lines = np.flatnonzero(kinds != NOTE).astype(np.int32)
        ranked = np.full(len(kinds), -1, dtype=np.int32)
        ranked[lines] = np.arange(len(lines))
        # By revision, by line, and by index row; all but the last of lines are in snapshots.
        self._revisions = GrowingColumns(np.append(0.0, times), line_starts)
        self._lines = GrowingColumns(anchors, kinds, ranked, births)
        self._rows = GrowingColumns(
            lines, timestamps, novelties, kinds[lines] != BRANCH, records[lines], anchors[lines]
        )
        self._by_anchor = AnchorMap(anchors)

    def time_of(self, revision: int) -> float:
        """The commit time of the record that led to the revision; 0 for the empty lattice."""
        return float(self._revisions.view()[0][revision])

    def extend(self, block: Block) -> None:
        """Take in the records behind the newest and show the new state."""
        self._index.add(block.keys, block.norms)
        lines = zip(
            block.anchors.tolist(), block.kinds.tolist(), block.strengths.tolist(), strict=True
        )
        vectors = zip(block.timestamps.tolist(), block.novelties.tolist(), strict=True)
        records = zip(block.times.tolist(), block.line_counts.tolist(), strict=True)
        for n, (time, count) in enumerate(records, block.first):
            for anchor, kind, strength in islice(lines, count):
                self._add_line(n, anchor, kind, strength, vectors)
            self._revisions.append(time, len(self._lines))
        revision = len(self._revisions) - 1
        # Most blocks have neither, and looking for them costs a lone put 3 µs.
        if block.key_uses or block.marks:
            self._take_effects(block, revision)
        self.snapshot = self._show(self._state, revision, block.digest)

    def _add_line(
        self,
        n: int,
        anchor: int,
        kind: int,
        strength: float,
        vectors: Iterator[tuple[float, float]],
    ) -> None:
        line, row = len(self._lines), len(self._rows)
        self._lines.append(anchor, kind, row if kind != NOTE else -1, strength)
        self._by_anchor.add(anchor, line)
        if kind != NOTE:
            self._rows.append(line, *next(vectors), kind != BRANCH, n, anchor)
        self._state.add(line, kind, strength)

    def at(self, revision: int) -> Snapshot:
        """The state after `revision` records, drawn from the columns."""
        if revision == self.snapshot.revision:
            return self.snapshot
        return self._show(self._rebuild(revision), revision, b"")

    def _take_effects(self, block: Block, revision: int) -> None:
        self._key_uses += block.key_uses
        self._marks += block.marks
        rollbacks = _rollbacks(block.marks)
        if rollbacks:
            self._rollbacks += rollbacks
            self._state = self._rebuild(revision)
        else:
            self._state.claim(block.key_uses)
            self._apply(block.marks, self._state)

    def _rebuild(self, revision: int) -> State:
        _, starts = self._revisions.view()
        spans = lineage(self._rollbacks, revision)
        present = np.zeros(starts[revision], dtype=np.bool_)
        for first, stop in spans:
            present[starts[first] : starts[stop]] = True
        _, kinds, _, births = self._lines.view(len(present))
        state = State(kinds, births, present)
        state.claim([use for span in spans for use in _between(self._key_uses, *span)])
        self._apply([mark for span in spans for mark in _between(self._marks, *span)], state)
        return state

    def _apply(self, marks: Sequence[Mark], state: State) -> None:
        resolved = [(mark, self._line_of(mark, state)) for mark in marks if mark.kind != "rollback"]
        if resolved:
            _, kinds, ranked, _ = self._lines.view()
            state.apply(resolved, kinds, ranked)
            forgotten = [line for mark, line in resolved if mark.kind == "forget"]
            state.free([use for line in forgotten for use in self._key_uses_of(line)])

    def _line_of(self, mark: Mark, state: State) -> int:
        _, starts = self._revisions.view()
        _, present, _, _ = state.lines.view()
        for line in self._by_anchor.find(mark.anchor, int(starts[mark.n])):
            if present[line]:
                return line
        raise ValueError(f"record {mark.n} names {mark.anchor}, which no line has then")

    def _key_uses_of(self, line: int) -> list[KeyUse]:
        """The idempotency key that stands for the line: its record's, unless it is a branch."""
        _, starts = self._revisions.view()
        _, kinds, _, _ = self._lines.view()
        if kinds[line] == BRANCH:
            return []
        n = record_of(starts, line)
        return _between(self._key_uses, n, n + 1)

    def _show(self, state: State, revision: int, digest: bytes) -> Snapshot:
        line_count, row_count = len(state.lines), len(state.rows)
        times, line_starts = self._revisions.view(revision + 1)
        anchors, kinds, ranked, _ = self._lines.view(line_count)
        ranked_lines, timestamps, novelties, on_chain, order, row_anchors = self._rows.view(
            row_count
        )
        [chain] = state.chain.view()
        strengths, present, alive, revised = state.lines.view()
        row_strengths, live = state.rows.view()
        return Snapshot(
            revision=revision,
            digest=digest,
            head=f"{int(anchors[chain[-1]]):016x}" if len(chain) else ROOT_ANCHOR,
            times=times,
            line_starts=line_starts,
            anchors=anchors,
            by_anchor=self._by_anchor,
            kinds=kinds,
            ranked=ranked,
            strengths=strengths,
            present=present,
            alive=alive,
            revised=revised,
            chain=chain,
            ranked_lines=ranked_lines,
            columns=Columns(
                count=row_count,
                timestamps=timestamps,
                novelties=novelties,
                strengths=row_strengths,
                live=live,
                chain=on_chain,
                order=order,
                anchors=row_anchors,
            ),
            keys=state.keys,
        )


def _rollbacks(marks: Iterable[Mark]) -> list[tuple[int, int]]:
    return [(mark.n, mark.revision) for mark in marks if mark.kind == "rollback"]


def _between(items: list[Numbered], first: int, stop: int) -> list[Numbered]:
    """Those of the records `first` … `stop - 1`."""
    span = slice(bisect_left(items, first, key=_NUMBER), bisect_left(items, stop, key=_NUMBER))
    return items[span]
