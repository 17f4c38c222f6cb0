"""Rows: the columns of a run of records, so that opening need not decode the records.

A row saves time and nothing else: what does not hold is derived from the records again. It has no
keys but those of records that are written as JSON; the others are taken from the frames. Its root
covers the store, its place, the digest before it, the columns and the roots of keys and contexts:
a row that holds proves them all, with the key where there is one.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final

import numpy as np

from pmll_async.protocols import StoreHeader
from pmll_async.records.blocks import Block, have_vectors
from pmll_async.records.chain import NOT_OURS
from pmll_async.stores.jsonl.keys import PackedKeys
from pmll_async.stores.jsonl.pieces import Piece, Sizes, decode_columns, encode_columns, join_blocks
from pmll_async.stores.lmdb.frames import KEY_START, Bytes, context_of, is_put
from pmll_async.values.anchors import DIGEST_BYTES, ROOT_DIGEST, Hasher

# format, records, lines, vectors, bytes of the columns, digest before the records and after them,
# roots of the keys and of the contexts of puts
_HEAD: Final = struct.Struct("<B3xIIII32s32s32s32s")
_FORMAT: Final = 1
_BODY: Final = _HEAD.size + DIGEST_BYTES


ROW_RECORDS: Final = 512
"""A row of so many records is made in 1 ms, within the put that completes it."""
_ROW_BYTES: Final = 1 << 22
# Joining a thousand runs of one record takes 5 ms in which no other thread runs; by dozens, less.
_TOGETHER: Final = 32


@dataclass(frozen=True, slots=True, eq=False)
class FrameRun:
    """A block and the frames that it was made of."""

    block: Block
    frames: Sequence[bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """The records behind the last row, which follow the digest `before`.

    `loose` runs come after the others and were not joined yet.
    """

    before: bytes
    runs: tuple[FrameRun, ...] = ()
    loose: tuple[FrameRun, ...] = ()
    records: int = 0
    size: int = 0

    @property
    def is_full(self) -> bool:
        """Whether it is to become a row."""
        return self.records >= ROW_RECORDS or self.size >= _ROW_BYTES

    def plus(self, run: FrameRun) -> Tail:
        """With more records."""
        runs, loose = self.runs, (*self.loose, run)
        if len(loose) == _TOGETHER:
            runs, loose = (*runs, _join(loose)), ()
        records = self.records + len(run.frames)
        return Tail(self.before, runs, loose, records, self.size + sum(map(len, run.frames)))

    def joined(self) -> FrameRun | None:
        """All of it as one run, None where nothing is."""
        runs = self.runs + self.loose
        return _join(runs) if runs else None


def _join(runs: Sequence[FrameRun]) -> FrameRun:
    if len(runs) == 1:
        return runs[0]
    frames = [frame for run in runs for frame in run.frames]
    return FrameRun(join_blocks([run.block for run in runs]), frames)


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """The block of a row, the digest before it, and the root that its keys must have."""

    before: bytes
    block: Block
    root: bytes


class RowForm:
    """Writes and reads the rows of one store."""

    def __init__(self, header: StoreHeader, hasher: Hasher) -> None:
        self._store, self._dim, self._hasher = bytes.fromhex(header.store_id), header.dim, hasher

    def encode(self, run: FrameRun, before: bytes) -> bytes:
        """The row of a run that follows the digest `before`."""
        block = run.block
        columns = encode_columns(Piece(block, _ends(run.frames), (), PackedKeys(), 0, b""))
        head = _HEAD.pack(
            _FORMAT,
            *(len(block.times), len(block.anchors), len(block.norms), len(columns)),
            *(before, block.digest),
            self._hasher.section(block.keys.astype("<f4", copy=False).tobytes()),
            self._root_of_contexts(put_contexts(run.frames)),
        )
        body = columns + self._loose_keys(run)
        return head + self._root(block.first, head + body) + body

    def decode(self, row: Bytes, first: int, frames: Sequence[Bytes]) -> Decoded | None:
        """What a row says of records from `first` on; None unless it holds, keys apart."""
        if not 0 < records_in(row) == len(frames) or not self._holds(row, first):
            return None
        _, *sizes, width, before, digest, root, _ = _HEAD.unpack_from(row)
        try:
            rough = np.empty((sizes[2], 0), dtype="<f4")
            columns = bytes(row[_BODY : _BODY + width])
            block, ends = decode_columns(columns, Sizes(*sizes), first, digest, rough)
            keys = b"".join(self._keys(block, frames, bytes(row[_BODY + width :])))
            shaped = np.frombuffer(keys, dtype="<f4").reshape(sizes[2], self._dim)
        except NOT_OURS:
            return None
        return Decoded(before, replace(block, keys=shaped), root) if ends == _ends(frames) else None

    def keys_hold(self, decoded: Decoded) -> bool:
        """Whether the keys are those that the row was made with; holds no interpreter lock."""
        return self._hasher.section(decoded.block.keys.data.cast("B")) == decoded.root

    def contexts(self, row: Bytes, first: int, frames: Sequence[Bytes]) -> list[bytes] | None:
        """The contexts of the puts of a row; None unless they hold."""
        if not self._holds(row, first):
            return None
        contexts = put_contexts(frames)
        root = _HEAD.unpack_from(row)[-1]
        return contexts if self._root_of_contexts(contexts) == root else None

    def _holds(self, row: Bytes, first: int) -> bool:
        root = self._root(first, bytes(row[: _HEAD.size]) + bytes(row[_BODY:]))
        return root == row[_HEAD.size : _BODY]

    def _root(self, first: int, row: bytes) -> bytes:
        return self._hasher.section(self._store + first.to_bytes(8, "little") + row)

    def _root_of_contexts(self, contexts: Sequence[bytes]) -> bytes:
        lengths = np.array([len(context) for context in contexts], dtype="<u4")
        return self._hasher.section(b"".join([lengths.tobytes(), *contexts]))

    def _loose_keys(self, run: FrameRun) -> bytes:
        """The keys of the vectors whose records are no puts."""
        block = run.block
        puts = np.array([is_put(frame) for frame in run.frames])
        if puts.all():
            return b""
        of_puts = np.repeat(puts, block.line_counts)[have_vectors(block.kinds)]
        loose: bytes = block.keys[~of_puts].astype("<f4", copy=False).tobytes()
        return loose

    def _keys(self, block: Block, frames: Sequence[Bytes], loose: bytes) -> Sequence[Bytes]:
        if loose or len(block.norms) != len(frames):
            return self._mixed_keys(block, frames, loose)
        stop = KEY_START + self._dim * 4
        return [frame[KEY_START:stop] for frame in frames]

    def _mixed_keys(self, block: Block, frames: Sequence[Bytes], loose: bytes) -> list[Bytes]:
        parts: list[Bytes] = []
        size, line, taken = self._dim * 4, 0, 0
        ranked = have_vectors(block.kinds).tolist()
        for frame, count in zip(frames, block.line_counts.tolist(), strict=True):
            vectors = sum(ranked[line : line + count])
            if not is_put(frame):
                parts.append(loose[taken : taken + vectors * size])
                taken += vectors * size
            elif vectors:
                parts.append(frame[KEY_START : KEY_START + size])
            line += count
        return parts


class GatheredRows:
    """What loading found without a row: rows to be written, and the tail that fills none."""

    def __init__(self, form: RowForm) -> None:
        self._form = form
        self.lost: list[tuple[int, int, bytes]] = []
        """The first record, that behind the last, and the row."""
        self.tail = Tail(ROOT_DIGEST)

    def take(self, run: FrameRun) -> None:
        """One more run; what is before a row that holds, or long enough, is to have its own."""
        if run.frames:
            self.tail = self.tail.plus(run)
        if self.tail.is_full or not run.frames:
            joined = self.tail.joined()
            if joined is not None:
                row = self._form.encode(joined, self.tail.before)
                self.lost.append((joined.block.first, joined.block.stop, row))
            self.tail = Tail(run.block.digest)


def records_in(row: Bytes) -> int:
    """How many records a row is about; 0 of what is no row of ours."""
    if len(row) < _BODY or row[0] != _FORMAT:
        return 0
    return int(_HEAD.unpack_from(row)[1])


def put_contexts(frames: Sequence[Bytes]) -> list[bytes]:
    """The contexts of the puts among these records."""
    return [context_of(frame) for frame in frames if is_put(frame)]


def _ends(frames: Sequence[Bytes]) -> array[int]:
    return array("q", accumulate(map(len, frames)))
