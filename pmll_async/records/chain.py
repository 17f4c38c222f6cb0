"""The chain: what a record must be, and what may follow what: for opening, verifying, importing.

A `Chain` takes the records of a log in order and knows, after any number of them, which line is the
head and which lines are there; a rollback makes an older state the newest again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.records.blocks import Block
from pmll_async.records.changes import RollbackRecord
from pmll_async.records.content import (
    PACKED,
    LineRecord,
    WriteVector,
    base64_text,
    known_texts,
    packed_text,
)
from pmll_async.records.findings import Finding
from pmll_async.records.parser import RecordFormatError, decode_record, parse_object
from pmll_async.records.record import Record, encode_record
from pmll_async.values.anchors import Hasher, is_anchor

NOT_OURS: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""Whatever a parsed object can do to code that expects one of ours."""
# One of 2**64 heads is taken for it: then its anchors go unchecked, and nothing worse.
_UNKNOWN: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Dimensions:
    """The numbers of dimensions that keys and values of a store have."""

    dim: int
    value_dim: int


class Chain:
    """Heads and lengths of the chain after every revision, 16 bytes a record, and what is on it.

    Without `dimensions` any are taken. Records that cannot be read are missed: then only what does
    not depend on them is checked.
    """

    def __init__(self, hasher: Hasher, dimensions: Dimensions | None) -> None:
        self._hasher, self._dimensions = hasher, dimensions
        self._heads = array("Q", [0])
        self._lengths = array("q", [0])
        self._lines = _Lines()
        self._rollbacks: list[tuple[int, int]] = []
        self._spans = [(0, _UNKNOWN)]
        self._has_missed = False
        # By record and anchor; and the anchors that are said to be erased before some record.
        self._bare: list[tuple[int, str]] = []
        self._erased: dict[str, int] = {}

    @property
    def revision(self) -> int:
        """How many records it has followed or missed."""
        return len(self._heads) - 1

    def head(self, revision: int) -> str | None:
        """The head after so many records; None where it is not known."""
        head = self._heads[revision]
        return None if head == _UNKNOWN else f"{head:016x}"

    def length(self, revision: int) -> int:
        """The lines on the chain after so many records."""
        return self._lengths[revision]

    # --- checking ------------------------------------------------------------------------------

    def flaw(self, record: Record) -> str:
        """Why it cannot be the next record; empty when it can."""
        return self.shape_flaw(record) or self.place_flaw(record)

    def shape_flaw(self, record: Record) -> str:
        """Why no lattice of these dimensions has this as its next record; empty when it may."""
        if isinstance(record, RollbackRecord) and not 0 <= record.revision <= self.revision:
            return f"it rolls back to revision {record.revision}"
        if record.was is not None and not record.has_erased:
            return "it says what it was, and nothing of it was erased"
        if self._dimensions is None:
            return ""
        reasons = (_line_flaw(line, self._dimensions) for line in record.lines)
        return next(filter(None, reasons), "")

    def place_flaw(self, record: Record) -> str:
        """Why the record does not follow from those before it; empty when it does."""
        head = self.head(self.revision) or (record.lines[0].prev_anchor if record.lines else "")
        if head and not anchors_hold(record, head, self._hasher):
            return "an anchor does not follow from its line and the head"
        for effect in record.effects:
            # What a rollback took off can be erased, too.
            is_there = self._knows if effect.kind == "erase" else self._has
            if not is_there(effect.anchor):
                return f"it names {effect.anchor}, which no line has then"
        return ""

    def _has(self, anchor: str) -> bool:
        """Whether the newest state has a line of this anchor, if only as a forgotten one."""
        if self._has_missed:
            return True
        return is_anchor(anchor) and any(map(self._is_followed, self._lines.records(anchor)))

    def _knows(self, anchor: str) -> bool:
        """Whether there is, or ever was, a line of this anchor."""
        return self._has_missed or (is_anchor(anchor) and bool(self._lines.records(anchor)))

    def _is_followed(self, record: int) -> bool:
        """Whether a record is one of those that the newest state is made of."""
        first, stop = self._spans[max(0, bisect_right(self._spans, (record, _UNKNOWN)) - 1)]
        return first <= record < stop

    @property
    def erased(self) -> tuple[str, ...]:
        """The anchors of lines without content, in order."""
        return tuple(dict.fromkeys(anchor for _, anchor in self._bare))

    def bare_flaws(self) -> list[tuple[int, str]]:
        """The records with lines that lack their content, and no later record says why."""
        if self._has_missed:
            return []
        unsaid = [(n, anchor) for n, anchor in self._bare if self._erased.get(anchor, -1) < n]
        return [(n, f"the content of {anchor} is gone, and not erased") for n, anchor in unsaid]

    def erasures(self, file: str) -> list[Finding]:
        """What is wrong with erased lines of the whole log, whose file this is.

        Content that is there still is torn: whoever opens the store for writing removes it.
        """
        bare = set(self._bare)
        kept = [
            (n, anchor)
            for anchor, erased in self._erased.items()
            for n in self._lines.records(anchor)
            if n < erased and (n, anchor) not in bare
        ]
        reason = "is erased, and its content is still there: opening for writing removes it"
        return [
            *(Finding("damage", file, 0, n, flaw) for n, flaw in self.bare_flaws()),
            *(Finding("torn", file, 0, n, f"{anchor} {reason}") for n, anchor in kept),
        ]

    # --- following -----------------------------------------------------------------------------

    def add(self, record: Record) -> None:
        """The next record."""
        self._lines.add(self.revision, [line.anchor for line in record.lines])
        bare = [line.anchor for line in record.lines if line.content.erased]
        self._bare += [(self.revision, anchor) for anchor in bare]
        for effect in record.effects:
            if effect.kind == "erase":
                self._erased[effect.anchor] = self.revision
        if isinstance(record, RollbackRecord):
            self._roll_back(record.revision)
        elif record.lines:
            self._step(int(record.lines[0].anchor, 16), 1)
        else:
            self._step(self._heads[-1], 0)

    def add_block(self, block: Block) -> None:
        """The next records, by their columns."""
        self._lines.add_block(block)
        rollbacks = {mark.n - block.first: mark for mark in block.marks if mark.kind == "rollback"}
        first = 0
        for i, mark in rollbacks.items():
            self._step_many(block, first, i)
            self._roll_back(mark.revision)
            first = i + 1
        self._step_many(block, first, len(block.times))

    def _step_many(self, block: Block, first: int, stop: int) -> None:
        counts = block.line_counts[first:stop]
        starts = np.cumsum(counts) - counts + int(block.line_counts[:first].sum())
        # Of each record the last one up to it that has a line, -1 before there is one.
        newest = np.maximum.accumulate(np.where(counts > 0, np.arange(len(counts)), -1))
        heads = np.full(len(counts), self._heads[-1], dtype=np.uint64)
        heads[newest >= 0] = block.anchors[starts[newest[newest >= 0]]]
        self._heads.frombytes(heads.tobytes())
        lengths = self._lengths[-1] + np.cumsum(counts > 0, dtype=np.int64)
        self._lengths.frombytes(lengths.tobytes())

    def miss(self, revision: int) -> None:
        """The records up to this revision cannot be read."""
        missed = revision - self.revision
        self._heads.extend([_UNKNOWN] * missed)
        self._lengths.extend([self._lengths[-1]] * missed)
        self._has_missed = True

    def _step(self, head: int, lines: int) -> None:
        self._heads.append(head)
        self._lengths.append(self._lengths[-1] + lines)

    def _roll_back(self, revision: int) -> None:
        self._rollbacks.append((self.revision, revision))
        self._heads.append(self._heads[revision])
        self._lengths.append(self._lengths[revision])
        self._spans = lineage(self._rollbacks, _UNKNOWN)


def lineage(rollbacks: Sequence[tuple[int, int]], revision: int) -> list[tuple[int, int]]:
    """The spans of records, oldest first, that the state after `revision` is made of.

    `rollbacks` are the records that go back, in order, and the revision to which each goes.
    """
    spans: list[tuple[int, int]] = []
    for n, target in reversed(rollbacks):
        if n < revision:
            spans.append((n + 1, revision))
            revision = target
    spans.append((0, revision))
    return spans[::-1]


class _Lines:
    """Which records have a line of an anchor. Sorted only when asked: most logs have no effects."""

    def __init__(self) -> None:
        self._waiting: list[tuple[NDArray[np.uint64], NDArray[np.int64]]] = []
        self._known: dict[int, list[int]] = {}

    def add(self, record: int, anchors: Sequence[str]) -> None:
        """A record's lines."""
        if anchors:
            numbers = np.array([int(anchor, 16) for anchor in anchors], dtype=np.uint64)
            self._waiting.append((numbers, np.full(len(anchors), record)))

    def add_block(self, block: Block) -> None:
        """Those of many records."""
        records = np.repeat(np.arange(block.first, block.stop), block.line_counts)
        self._waiting.append((block.anchors, records))

    def records(self, anchor: str) -> list[int]:
        """The records that have such a line, in order."""
        for anchors, records in self._waiting:
            for other, record in zip(anchors.tolist(), records.tolist(), strict=True):
                self._known.setdefault(other, []).append(record)
        self._waiting = []
        return self._known.get(int(anchor, 16), [])


def decode_exactly(
    text: str, frame: str, hasher: Hasher, write_vector: WriteVector = base64_text
) -> Record:
    """The record of a JSON object, which must be what we write for it, `frame` being before it.

    That refuses whatever parses to the same values: repeated keys, other spellings of a number, a
    string or base64 text, other orders. Raises one of `NOT_OURS`, or `UnknownOperationError`.
    """
    fields = parse_object(text)
    if not isinstance(fields.get("op"), str):
        raise RecordFormatError("it names no operation")
    record = decode_record(fields, hasher)
    if write_vector is packed_text:
        write_vector = _as_read(record, fields)
    if encode_record(record, frame, write_vector) + "}" != text:
        raise RecordFormatError("the line is not written as its record is")
    return record


def _as_read(record: Record, fields: Mapping[str, Any]) -> WriteVector:
    """As `packed_text`, which need not pack again what was unpacked: that has no other form."""
    known: dict[bytes, str] = {}
    for line, said in zip(record.lines, fields.get("lines", (fields,)), strict=False):
        for raw, name in ((line.content.key, "key"), (line.content.value, "value")):
            if said.get(name, "").startswith(PACKED):
                known[raw] = said[name]
    return known_texts(known)


def anchors_hold(record: Record, head: str, hasher: Hasher) -> bool:
    """Whether each line's anchor follows from `head` and the line's content."""
    return all(line.prev_anchor == head and anchor_holds(line, hasher) for line in record.lines)


def anchor_holds(line: LineRecord, hasher: Hasher) -> bool:
    """Whether it follows from the line's content and from what the line says was the head."""
    return hasher.anchor(line.prev_anchor, line.content.digests) == line.anchor


def group_flaw(following: int, due: int) -> str:
    """Why a record that `following` of its group follow cannot stand where `due` are awaited."""
    if due and following != due - 1:
        return "it breaks into a group of records that belong together"
    return ""


def _line_flaw(line: LineRecord, dimensions: Dimensions) -> str:
    content, note = line.content, line.kind == "note"
    if content.erased:
        return ""
    sizes = (0, 0) if note else (dimensions.dim * 4, dimensions.value_dim * 4)
    if (len(content.key), len(content.value)) != sizes:
        return "its vectors have other dimensions than the store"
    # Float32 squares cannot overflow in float64, so the length tells NaN and infinity.
    if not note and not 0.0 < content.norm < np.inf:
        return "its key has no direction"
    value = content.value
    if value is not content.key and not np.isfinite(np.frombuffer(value, dtype="<f4")).all():
        return "its value has NaN or infinity"
    return ""
