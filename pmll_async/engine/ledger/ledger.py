"""The ledger: the growing columns of a lattice, fed block by block, and the states drawn from it.

One thread extends it. What it hands out (`Snapshot`) never changes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from pmll_async.engine.ledger.arrays import AnchorMap, GrowingColumns
from pmll_async.engine.ledger.snapshot import (
    DORMANT_BELOW,
    Erasures,
    Ints,
    Snapshot,
    record_of,
)
from pmll_async.integrity.leaves import Leaves
from pmll_async.loop.breathing import Breather
from pmll_async.protocols import Columns, Index
from pmll_async.records.blocks import (
    BRANCH,
    ERASED,
    KIND_CODES,
    Block,
    KeyUse,
    Mark,
    RecordBlock,
    have_vectors,
)
from pmll_async.records.chain import lineage
from pmll_async.records.record import Record
from pmll_async.values.anchors import ROOT_ANCHOR, ROOT_DIGEST
from pmll_async.values.concert import Float64

Kinds = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Arrays = tuple[NDArray[Any], ...]
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
"""What a ledger takes from blocks beside the keys."""
_FEW_RECORDS: Final = 3


class State:
    """What differs between states; effects work on fresh copies, so that snapshots stay as shown.

    `chain` is by position; `lines` has strength, and whether it is present, alive and revised;
    `rows`, by index row, strength and whether it is live. `keys` are in use.
    """

    def __init__(self, kinds: Kinds, ranked: Ints, births: Float64, present: Bools) -> None:
        """Lines as they were born; `present` is False for what a rollback took off."""
        chain, lines, rows = _born(kinds, ranked, births, present)
        self.chain = GrowingColumns(chain)
        self.lines, self.rows = GrowingColumns(*lines), GrowingColumns(*rows)
        self.keys: dict[str, KeyUse] = {}

    def extend(self, kinds: Kinds, ranked: Ints, births: Float64) -> None:
        """The next lines, as they were born."""
        chain, lines, rows = _born(kinds, ranked, births, np.ones(len(kinds), dtype=np.bool_))
        self.chain.extend(chain + len(self.lines))
        self.lines.extend(*lines)
        self.rows.extend(*rows)

    def add(self, line: int, kind: int, row: int, strength: float) -> None:
        """`extend` by one."""
        self.lines.append(strength, True, True, False)
        if kind != BRANCH:
            self.chain.append(line)
        if row >= 0:
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

    def erase(self, lines: Sequence[int], ranked: Ints) -> None:
        """These lines are not there for anybody any more."""
        if not lines:
            return
        _, _, alive, _ = self.lines.own()
        _, live = self.rows.own()
        alive[lines] = False
        rows = ranked[lines]
        live[rows[rows >= 0]] = False

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

    It begins with all blocks that a store has. Lines and records are numbered in 32 bits: 2^31 of
    them would be terabytes of log.
    """

    def __init__(
        self, index: Index, blocks: Iterable[Block] = (), novelty_window: int | None = None
    ) -> None:
        self._index, self._novelty_window = index, novelty_window
        self._marks: list[Mark] = []
        self._key_uses: list[KeyUse] = []
        self.leaves = Leaves()
        digest, parts = ROOT_DIGEST, [[np.empty(0, dtype) for dtype in _COLUMNS.values()]]
        for block in blocks:
            self.leaves.extend(block)
            # The keys are most of a block, and it need not stay for them.
            index.add(block.keys, block.norms)
            parts.append([getattr(block, name) for name in _COLUMNS])
            self._marks += block.marks
            self._key_uses += block.key_uses
            digest = block.digest
        self._rollbacks = _rollbacks(self._marks)
        columns = dict(zip(_COLUMNS, map(np.concatenate, zip(*parts, strict=True)), strict=True))
        (times, starts), lines, rows = _columns_of(columns, 0, 0, 0)
        self._revisions = GrowingColumns(np.append(0.0, times), np.append(np.int32(0), starts))
        # By line what snapshots show, and last the strength at birth; by index row the line, and
        # what an index ranks by.
        self._lines, self._rows = GrowingColumns(*lines), GrowingColumns(*rows)
        self._by_anchor = AnchorMap(self._lines.view()[0])
        self.erasures = Erasures()
        erased = self._note_erasures(self._marks)
        self._drop_keys(erased)
        self.unpurged = erased.difference(np.flatnonzero(columns["kinds"] & ERASED).tolist())
        """Lines whose content the store still has, although they are erased."""
        revision = len(self._revisions) - 1
        self._state = self._rebuild(revision)
        self.snapshot = self._show(self._state, revision, digest)

    def time_of(self, revision: int) -> float:
        """The commit time of the record that led to the revision; 0 for the empty lattice."""
        return float(self._revisions.view()[0][revision])

    def extend(self, block: Block) -> None:
        """Take in the records behind the newest and show the new state."""
        self.leaves.extend(block)
        # Columns take 80 µs for a lone put, rows 20; for 64 lines columns take 170 µs, rows 540.
        if isinstance(block, RecordBlock) and len(block.records) <= _FEW_RECORDS:
            for n, record in enumerate(block.records, block.first):
                self._add_record(n, record)
        else:
            self._index.add(block.keys, block.norms)
            self._add_columns(block)
        revision = len(self._revisions) - 1
        # Most blocks have neither, and looking for them costs a lone put 3 µs.
        if block.key_uses or block.marks:
            self._take_effects(block, revision)
        self.snapshot = self._show(self._state, revision, block.digest)

    def _add_columns(self, block: Block) -> None:
        first_line = len(self._lines)
        columns = {name: getattr(block, name) for name in _COLUMNS}
        revisions, lines, rows = _columns_of(columns, block.first, first_line, len(self._rows))
        self._revisions.extend(*revisions)
        self._lines.extend(*lines)
        self._rows.extend(*rows)
        for line, anchor in enumerate(block.anchors.tolist(), first_line):
            self._by_anchor.add(anchor, line)
        _, kinds, ranked, _ = lines
        self._state.extend(kinds, ranked, block.strengths)

    def _add_record(self, n: int, record: Record) -> None:
        for entry in record.lines:
            content, kind, strength = entry.content, KIND_CODES[entry.kind], entry.strength
            line, row, anchor = len(self._lines), -1, int(entry.anchor, 16)
            if content.key:
                row = len(self._rows)
                key = np.frombuffer(content.key, dtype="<f4")
                self._index.add(key[None], np.array([content.norm]))
                time = record.t if entry.timestamp is None else entry.timestamp
                self._rows.append(line, time, entry.novelty, kind != BRANCH, n, anchor)
            self._lines.append(anchor, kind, row, strength)
            self._by_anchor.add(anchor, line)
            self._state.add(line, kind, row, strength)
        self._revisions.append(record.t, len(self._lines))

    def at(self, revision: int) -> Snapshot:
        """The state after `revision` records, drawn from the columns."""
        if revision == self.snapshot.revision:
            return self.snapshot
        return self._show(self._rebuild(revision), revision, b"")

    def _take_effects(self, block: Block, revision: int) -> None:
        self._key_uses += block.key_uses
        self._marks += block.marks
        self._state.claim(block.key_uses)
        erased = self._note_erasures(block.marks)
        if erased:
            self.unpurged |= erased
            self._state.free(self._drop_keys(erased))
        rollbacks = _rollbacks(block.marks)
        if rollbacks:
            self._rollbacks += rollbacks
            self._state = self._rebuild(revision)
        else:
            self._apply(block.marks, self._state)
            self._state.erase(sorted(erased), self._lines.view()[2])

    @property
    def has_erased_rows(self) -> bool:
        """Whether the index has keys of erased lines."""
        ranked = self._lines.view()[2]
        return any(ranked[line] >= 0 for line in self.erasures.lines)

    def purged(self, lines: frozenset[int]) -> None:
        """The store has no content of these lines any more."""
        self.unpurged -= lines

    def _note_erasures(self, marks: Sequence[Mark]) -> frozenset[int]:
        """The lines, of every state, that these marks erase."""
        _, starts = self._revisions.view()
        lines, withheld = set[int](), set[int]()
        erasing = [mark for mark in marks if mark.kind == "erase"]
        found = self._by_anchor.find_all([mark.anchor for mark in erasing], len(self._lines))
        for mark, several in zip(erasing, found, strict=True):
            there = [line for line in several if line < starts[mark.n]]
            lines.update(there)
            withheld.update(there if not mark.factor else ())
        if lines:
            self.erasures.add(lines, withheld)
        return frozenset(lines)

    def _drop_keys(self, lines: Collection[int]) -> list[KeyUse]:
        """The uses of keys that no state has any more, since these lines are erased."""
        uses, breathe = list[KeyUse](), Breather()
        for line in lines if self._key_uses else ():
            breathe()
            uses += self._key_uses_of(line)
        gone = {use.n for use in uses}
        self._key_uses = [use for use in self._key_uses if use.n not in gone]
        return uses

    def _rebuild(self, revision: int) -> State:
        _, starts = self._revisions.view()
        spans = lineage(self._rollbacks, revision)
        present = np.zeros(starts[revision], dtype=np.bool_)
        for first, stop in spans:
            present[starts[first] : starts[stop]] = True
        _, kinds, ranked, births = self._lines.view(len(present))
        state = State(kinds, ranked, births, present)
        state.claim([use for span in spans for use in _between(self._key_uses, *span)])
        self._apply([mark for span in spans for mark in _between(self._marks, *span)], state)
        # Nothing brings them back, and no state of before has them.
        state.erase([line for line in self.erasures.lines if line < len(present)], ranked)
        return state

    def _apply(self, marks: Sequence[Mark], state: State) -> None:
        passing = [mark for mark in marks if mark.kind not in ("erase", "rollback")]
        resolved = [(mark, self._line_of(mark, state)) for mark in passing]
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
            erasures=self.erasures,
            erased=len(self.erasures.lines),
            novelty_window=self._novelty_window,
        )


def _columns_of(
    columns: Mapping[str, NDArray[Any]], first: int, first_line: int, first_row: int
) -> tuple[Arrays, Arrays, Arrays]:
    """What records, lines and index rows from these numbers on have in a ledger."""
    counts, anchors, kinds = columns["line_counts"], columns["anchors"], columns["kinds"]
    places = np.flatnonzero(have_vectors(kinds))
    kinds = kinds & ~np.uint8(ERASED)
    ranked = np.full(len(kinds), -1, dtype=np.int32)
    ranked[places] = np.arange(first_row, first_row + len(places))
    records = np.arange(first, first + len(counts), dtype=np.int32).repeat(counts)
    line_starts = (counts.cumsum() + first_line).astype(np.int32)
    return (
        (columns["times"], line_starts),
        (anchors, kinds, ranked, columns["strengths"]),
        (
            (places + first_line).astype(np.int32),
            columns["timestamps"],
            columns["novelties"],
            kinds[places] != BRANCH,
            records[places],
            anchors[places],
        ),
    )


def _born(
    kinds: Kinds, ranked: Ints, births: Float64, present: Bools
) -> tuple[Ints, Arrays, Arrays]:
    """What lines have in a state at first: places on the chain, columns by line and by row."""
    is_ranked = ranked >= 0
    row_strengths = births[is_ranked]
    # Only a branch is born weaker than a line.
    live = present[is_ranked] & (row_strengths >= DORMANT_BELOW)
    chain = np.flatnonzero(present & (kinds != BRANCH)).astype(np.int32)
    return chain, (births, present, present, np.zeros_like(present)), (row_strengths, live)


def _rollbacks(marks: Iterable[Mark]) -> list[tuple[int, int]]:
    return [(mark.n, mark.revision) for mark in marks if mark.kind == "rollback"]


def _between(items: list[Numbered], first: int, stop: int) -> list[Numbered]:
    """Those of the records `first` … `stop - 1`."""
    span = slice(bisect_left(items, first, key=_NUMBER), bisect_left(items, stop, key=_NUMBER))
    return items[span]
