"""Pieces: runs of records as the cache keeps them, and their bytes.

Arrays are little-endian and raw. The columns section holds, in this order, what is counted in
float64 and 64-bit integers, then bytes, then marks and uses of idempotency keys as JSON. The
contexts section is the number of lines of each record and the length of each context, both uint32,
and then the contexts. The keys section has a module of its own.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate, chain, islice
from operator import attrgetter
from typing import Any, Final, NamedTuple, Self, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from pmll_async.loop.breathing import Breather
from pmll_async.records.blocks import (
    BRANCH,
    ERASED,
    Block,
    KeyUse,
    Mark,
    MarkKind,
    RecordBlock,
    have_vectors,
)
from pmll_async.records.record import Record
from pmll_async.stores.jsonl.frames import CHECKSUM
from pmll_async.stores.jsonl.keys import PackedKeys
from pmll_async.values.anchors import is_anchor

T = TypeVar("T")
_BY_RECORD: Final = (("times", "<f8"), ("line_counts", "<i8"))
_BY_LINE: Final = (("anchors", "<u8"), ("strengths", "<f8"))
_BY_VECTOR: Final = (("norms", "<f8"), ("timestamps", "<f8"), ("novelties", "<f8"))
_MARK_FIELDS: Final = tuple([each.name for each in fields(Mark)])
_USE_FIELDS: Final = tuple([each.name for each in fields(KeyUse)])
_MARK: Final = attrgetter(*_MARK_FIELDS)
_AT_ONCE: Final = 64
_JSON: Final = json.JSONEncoder(separators=(",", ":")).encode
_ARRAYS: Final = (*_BY_RECORD, *_BY_LINE, *_BY_VECTOR, ("kinds", "|u1"), ("keys", "<f4"))


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many records, lines and lines with vectors there are."""

    records: int
    lines: int
    vectors: int


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A block with what else is kept of its records: where each ends in the log, its contexts.

    `packed` are the packed forms of its keys; the last record begins at `last`, and `checksum` is
    the text of its `c`.
    """

    block: Block
    ends: array[int]
    contexts: Sequence[bytes]
    packed: PackedKeys
    last: int
    checksum: bytes

    @property
    def sizes(self) -> Sizes:
        """How much it holds."""
        block = self.block
        return Sizes(len(block.times), len(block.anchors), len(block.norms))

    def moved(self, by: int) -> Self:
        """The same where the log before it has become so much longer."""
        ends = array("q", (np.array(self.ends) + by).tobytes())
        return replace(self, ends=ends, last=self.last + by)

    def contexts_of(self, first: int, stop: int) -> list[bytes]:
        """The contexts of the lines of its records `first` … `stop - 1`."""
        counts = self.block.line_counts
        start, size = first - self.block.first, stop - first
        skipped = int(counts[:start].sum())
        return list(self.contexts[skipped : skipped + int(counts[start : start + size].sum())])


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Records just written, from a place in the log on.

    What a piece has besides is made of dozens of runs together: a lone put does not wait for it.
    """

    records: Sequence[Record]
    block: Block
    lines: Sequence[bytes]
    place: int

    @classmethod
    def joined(cls, runs: Sequence[Run]) -> Run:
        """One run of several that follow each other."""
        return cls(
            list(chain.from_iterable(run.records for run in runs)),
            join_blocks([run.block for run in runs]),
            list(chain.from_iterable(run.lines for run in runs)),
            runs[0].place,
        )

    def moved(self, by: int) -> Self:
        """The same where the log before it has become so much longer."""
        return replace(self, place=self.place + by)

    @property
    def ends(self) -> array[int]:
        """Where each record ends."""
        return array("q", accumulate(map(len, self.lines), initial=self.place))[1:]

    def contexts_of(self, first: int, stop: int) -> list[bytes]:
        """The contexts of the lines of its records `first` … `stop - 1`."""
        start = self.block.first
        chosen = self.records[first - start : stop - start]
        return [line.content.context for record in chosen for line in record.lines]

    def piece(self, *, packed: bool) -> Piece:
        """All that the cache keeps of it; `packed` says whether its keys are written so."""
        ends, last = self.ends, self.lines[-1]
        contexts = self.contexts_of(self.block.first, self.block.stop)
        keys = PackedKeys.written(self.records, self.lines) if packed else PackedKeys()
        return Piece(self.block, ends, contexts, keys, ends[-1] - len(last), last[CHECKSUM])


def join(pieces: Sequence[Piece]) -> Piece:
    """One piece of several that follow each other."""
    if len(pieces) == 1:
        return pieces[0]
    return Piece(
        join_blocks([piece.block for piece in pieces]),
        array("q", chain.from_iterable(piece.ends for piece in pieces)),
        list(chain.from_iterable(piece.contexts for piece in pieces)),
        PackedKeys.joined(piece.packed for piece in pieces),
        pieces[-1].last,
        pieces[-1].checksum,
    )


def join_blocks(blocks: Sequence[Block]) -> Block:
    """One block of several that follow each other."""
    known = [block for block in blocks if isinstance(block, RecordBlock)]
    if len(known) == len(blocks):
        return RecordBlock.joined(known)
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(block, name) for block in blocks]) for name, _ in _ARRAYS
    }
    return Block(
        first=blocks[0].first,
        digest=blocks[-1].digest,
        marks=tuple(chain.from_iterable(block.marks for block in blocks)),
        key_uses=tuple(chain.from_iterable(block.key_uses for block in blocks)),
        **arrays,
    )


class Redacted(NamedTuple):
    """What is erased of a record: lines, by their places in it, and perhaps its idempotency key.

    `checksum` is the text of its `c` since then.
    """

    places: tuple[int, ...]
    keyless: bool
    checksum: bytes


def without_erased(piece: Piece, redacted: Mapping[int, Redacted]) -> Piece:
    """The piece once something of these records is erased; its places are as before."""
    block = piece.block
    starts = np.append(0, np.cumsum(block.line_counts))
    own = [
        int(starts[n - block.first]) + place
        for n, gone in redacted.items()
        for place in gone.places
    ]
    kinds = block.kinds.copy()
    kinds[own] |= ERASED
    stays = have_vectors(kinds)[have_vectors(block.kinds)]
    contexts = list(piece.contexts)
    for line in own:
        contexts[line] = b"{}"
    made = Block(
        first=block.first,
        digest=block.digest,
        times=block.times,
        line_counts=block.line_counts,
        anchors=block.anchors,
        kinds=kinds,
        strengths=block.strengths,
        keys=block.keys[stays],
        norms=block.norms[stays],
        timestamps=block.timestamps[stays],
        novelties=block.novelties[stays],
        marks=block.marks,
        key_uses=tuple(
            [use for use in block.key_uses if use.n not in redacted or not redacted[use.n].keyless]
        ),
    )
    last = redacted.get(block.stop - 1)
    checksum = piece.checksum if last is None else last.checksum
    return Piece(made, piece.ends, contexts, piece.packed.where(stays), piece.last, checksum)


def difference(one: Piece, other: Piece) -> str:
    """The name of the first thing in which two pieces differ; empty when they are equal."""
    for name, kind in _ARRAYS:
        mine, others = (_bytes(getattr(piece.block, name), kind) for piece in (one, other))
        if not np.array_equal(mine, others):
            return name
    for name in ("first", "digest", "marks", "key_uses"):
        if getattr(one.block, name) != getattr(other.block, name):
            return name
    if one.ends != other.ends or one.last != other.last:
        return "places"
    if one.checksum != other.checksum:
        return "checksum"
    if one.packed != other.packed:
        return "packed keys"
    return "" if list(one.contexts) == list(other.contexts) else "contexts"


# --- bytes -------------------------------------------------------------------------------------


def encode_columns(piece: Piece) -> bytes:
    """The columns section."""
    block = piece.block
    parts = [_raw(getattr(block, name), kind) for name, kind in (*_BY_RECORD, *_BY_LINE)]
    parts += [_raw(getattr(block, name), kind) for name, kind in _BY_VECTOR]
    parts += [_raw(np.array(piece.ends), "<i8"), _raw(block.kinds, "|u1")]
    marks = _json_array(map(_MARK, block.marks), _MARK_FIELDS)
    rows = ((use.n, use.key, use.anchor, use.content.hex(), use.race) for use in block.key_uses)
    uses = _json_array(rows, _USE_FIELDS)
    return b"".join([*parts, f'{{"marks":{marks},"key_uses":{uses}}}'.encode()])


def _json_array(rows: Iterable[Sequence[Any]], names: Sequence[str]) -> str:
    """The JSON of objects; an erasure has thousands, and within one call no other thread runs."""
    texts, breathe, left = list[str](), Breather(), iter(rows)
    while some := [dict(zip(names, row, strict=True)) for row in islice(left, _AT_ONCE)]:
        breathe()
        texts.append(_JSON(some)[1:-1])
    return f"[{','.join(texts)}]"


def encode_contexts(piece: Piece) -> bytes:
    """The contexts section."""
    lengths = np.array([len(context) for context in piece.contexts], dtype="<u4")
    counts = _raw(piece.block.line_counts, "<u4")
    return b"".join([counts, lengths.tobytes(), *piece.contexts])


def decode_columns(
    section: bytes, sizes: Sizes, first: int, digest: bytes, keys: NDArray[Any]
) -> tuple[Block, array[int]]:
    """The block and where its records end; `ValueError` for what is no such section."""
    reader = _Reader(section)
    columns = {name: reader.take(kind, sizes.records) for name, kind in _BY_RECORD}
    columns |= {name: reader.take(kind, sizes.lines) for name, kind in _BY_LINE}
    columns |= {name: reader.take(kind, sizes.vectors) for name, kind in _BY_VECTOR}
    ends = array("q", reader.take("<i8", sizes.records).astype(np.int64).tobytes())
    columns["kinds"] = reader.take("|u1", sizes.lines)
    extra = json.loads(reader.rest())
    marks = tuple([Mark(**mark) for mark in _in_steps(extra["marks"])])
    uses = tuple(
        KeyUse(**use | {"content": bytes.fromhex(use["content"])}) for use in extra["key_uses"]
    )
    block = Block(first=first, digest=digest, keys=keys, marks=marks, key_uses=uses, **columns)
    if not _is_coherent(block, sizes, ends):
        raise ValueError("the columns do not belong together")
    return block, ends


def _is_coherent(block: Block, sizes: Sizes, ends: array[int]) -> bool:
    """Whether columns can be those of records; without a key anybody may have written them."""
    counts, own = block.line_counts, range(block.first, block.stop)
    return (
        bool((counts >= 0).all() and counts.sum() == sizes.lines)
        and bool(((block.kinds & ~np.uint8(ERASED)) <= BRANCH).all())
        and int(have_vectors(block.kinds).sum()) == sizes.vectors
        and bool((np.diff(ends) > 0).all())
        and all(mark.n in own and _is_mark(mark) for mark in _in_steps(block.marks))
        and all(use.n in own and is_anchor(use.anchor) for use in block.key_uses)
        and all(isinstance(use.key, str) for use in block.key_uses)
    )


def _in_steps(items: Iterable[T]) -> Iterator[T]:
    """They, so that other threads run in between."""
    breathe = Breather()
    for item in items:
        breathe()
        yield item


def _is_mark(mark: Mark) -> bool:
    if mark.kind == "rollback":
        return type(mark.revision) is int and 0 <= mark.revision <= mark.n
    known = mark.kind in get_args(MarkKind)
    return known and is_anchor(mark.anchor) and type(mark.factor) in (int, float)


def decode_contexts(section: bytes, sizes: Sizes, first: int, stop: int) -> list[bytes]:
    """The contexts of the lines of a piece's records `first` … `stop - 1`, counted within it."""
    reader = _Reader(section)
    counts = reader.take("<u4", sizes.records)
    ends = np.cumsum(reader.take("<u4", sizes.lines), dtype=np.int64)
    texts = reader.rest()
    bounds = [0, *ends.tolist()]
    lines = range(int(counts[:first].sum()), int(counts[:stop].sum()))
    return [texts[bounds[i] : bounds[i + 1]] for i in lines]


def _bytes(values: NDArray[Any], kind: str) -> NDArray[np.uint8]:
    """An array's own bytes, as the section has them."""
    return np.ascontiguousarray(values, kind).reshape(-1).view(np.uint8)


def _raw(values: NDArray[Any], kind: str) -> bytes:
    return values.astype(kind, copy=False).tobytes()


class _Reader:
    """Takes arrays off the front of a section."""

    def __init__(self, section: bytes) -> None:
        self._section, self._offset = section, 0

    def take(self, kind: str, count: int) -> NDArray[Any]:
        array = np.frombuffer(self._section, dtype=kind, count=count, offset=self._offset)
        self._offset += array.nbytes
        return array

    def rest(self) -> bytes:
        return self._section[self._offset :]
