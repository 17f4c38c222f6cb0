"""Where the float32 rows of an index are: all in memory, or in the store, which reads some again.

Keys of extreme length, whose float32 products would overflow or vanish, are zeros here: the index
keeps them apart. Rows are appended in one thread and taken in any.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pmll_async.indexes.codes import CHUNK_ROWS, Codes
from pmll_async.protocols import KeyReader
from pmll_async.values.arrays import GrowingArray
from pmll_async.values.concert import Float32, Float64, exact_norms

Rows = NDArray[np.int64]

BLOCK_ROWS: Final = 8192
"""So many keys are allocated at once: at 384 dimensions 12 MiB."""
_READ_ROWS: Final = 1024
"""So many are read at once, where all are wanted: with the bytes they are read from 6 MiB."""
_SAFE_NORM: Final = 2.0**40
"""Beyond this length, or below its reciprocal, a key is not left to float32 products."""


@dataclass(slots=True, eq=False)
class KeyBlock:
    """Keys (n, dim), their lengths and float32 reciprocals of those."""

    keys: Float32
    norms: Float64
    reciprocals: Float32


class KeyRows(Protocol):
    """The rows of an index."""

    @property
    def in_memory(self) -> bool:
        """Whether a row is taken in less time than it takes to compute with it."""

    @property
    def step(self) -> int:
        """How many rows `part` gives at most; where they begin is a multiple of it."""

    def add(self, keys: Float32, norms: Float64) -> None:
        """Append keys (m, dim) with their lengths (m,)."""

    def part(self, start: int, stop: int) -> KeyBlock:
        """Rows `start` … `stop - 1`, all of one step; for reading only."""

    def take(self, rows: Rows) -> KeyBlock:
        """Copies of the rows, in their order."""


def upto(rows: KeyRows, count: int, start: int = 0) -> Iterator[tuple[int, KeyBlock]]:
    """Rows `start` … `count - 1` block by block, newest first, with their first rows."""
    while count > start:
        first = max(start, (count - 1) // rows.step * rows.step)
        yield first, rows.part(first, count)
        count = first


class HeldRows:
    """Every row in memory, in blocks of which the last has some that nobody has filled yet."""

    in_memory, step = True, BLOCK_ROWS

    def __init__(self, dim: int) -> None:
        self._dim, self._count = dim, 0
        self._blocks: list[KeyBlock] = []

    def add(self, keys: Float32, norms: Float64) -> None:
        """See `KeyRows.add`."""
        done = 0
        while done < len(keys):
            start = self._count % BLOCK_ROWS
            if start == 0:
                self._blocks.append(self._new_block(BLOCK_ROWS))
            stop = min(BLOCK_ROWS, start + len(keys) - done)
            block, span = self._blocks[-1], slice(start, stop)
            step = slice(done, done + stop - start)
            block.keys[span], block.norms[span] = keys[step], norms[step]
            block.reciprocals[span] = reciprocals_of(norms[step], block.keys[span])
            done += stop - start
            self._count += stop - start

    def part(self, start: int, stop: int) -> KeyBlock:
        """See `KeyRows.part`."""
        number, place = divmod(start, BLOCK_ROWS)
        block, span = self._blocks[number], slice(place, place + stop - start)
        return KeyBlock(block.keys[span], block.norms[span], block.reciprocals[span])

    def take(self, rows: Rows) -> KeyBlock:
        """See `KeyRows.take`."""
        if not len(rows) or rows.max() < BLOCK_ROWS:
            block = self._blocks[0] if self._blocks else self._new_block(0)
            return KeyBlock(block.keys[rows], block.norms[rows], block.reciprocals[rows])
        taken = self._new_block(len(rows))
        numbers, places = np.divmod(rows, BLOCK_ROWS)
        # Ascending rows, as nearly all are, lie in runs: without masks, and without another copy.
        if (numbers[1:] >= numbers[:-1]).all():
            starts = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
            for start, stop in pairwise([0, *starts.tolist(), len(rows)]):
                block, at = self._blocks[numbers[start]], places[start:stop]
                # No place is out of bounds, and "raise" would copy once more.
                block.keys.take(at, 0, taken.keys[start:stop], "clip")
                block.norms.take(at, 0, taken.norms[start:stop], "clip")
                block.reciprocals.take(at, 0, taken.reciprocals[start:stop], "clip")
            return taken
        for number in set(numbers.tolist()):
            here = numbers == number
            block, at = self._blocks[number], places[here]
            taken.keys[here] = block.keys[at]
            taken.norms[here] = block.norms[at]
            taken.reciprocals[here] = block.reciprocals[at]
        return taken

    def _new_block(self, room: int) -> KeyBlock:
        return KeyBlock(
            keys=np.empty((room, self._dim), dtype=np.float32),
            norms=np.empty(room, dtype=np.float64),
            reciprocals=np.empty(room, dtype=np.float32),
        )


class _Newest(NamedTuple):
    """The rows from `first` on, which have no code yet; what is behind the last is anything."""

    first: int
    keys: Float32
    norms: Float64

    @classmethod
    def empty(cls, first: int, dim: int) -> _Newest:
        """Room for a chunk."""
        return cls(first, np.empty((CHUNK_ROWS, dim), np.float32), np.empty(CHUNK_ROWS))


class StoredRows:
    """Codes alone in memory; keys are asked of `reader` again, but for the newest.

    Lengths are kept as float32, by which `reader` sees that a key is the one that was added.
    """

    in_memory, step = False, _READ_ROWS

    def __init__(self, dim: int, codes: Codes) -> None:
        self._dim, self._codes, self._count = dim, codes, 0
        self._lengths = GrowingArray(np.float32)
        # One value, so that other threads see it whole.
        self._newest = _Newest.empty(0, dim)
        self.reader: KeyReader | None = None

    def add(self, keys: Float32, norms: Float64) -> None:
        """See `KeyRows.add`."""
        if not are_safe(norms):
            keys = keys.copy()
            keys[extremes(norms)] = 0.0
        done = 0
        while done < len(keys):
            start, left = self._count - self._newest.first, len(keys) - done
            size = min(left, CHUNK_ROWS - start) if start else left // CHUNK_ROWS * CHUNK_ROWS
            span = slice(done, done + (size or left))
            self._count, done = self._count + span.stop - done, span.stop
            if start or not size:
                self._keep(start, keys[span], norms[span])
            else:
                self._code(keys[span], norms[span])

    def _keep(self, start: int, keys: Float32, norms: Float64) -> None:
        newest, stop = self._newest, start + len(keys)
        newest.keys[start:stop], newest.norms[start:stop] = keys, norms
        if stop == CHUNK_ROWS:
            self._code(newest.keys, newest.norms)

    def _code(self, keys: Float32, norms: Float64) -> None:
        # In this order: whoever looks meanwhile finds every row here or there.
        self._codes.add(keys, reciprocals_of(norms))
        self._lengths.extend(_rounded(norms))
        self._newest = _Newest.empty(self._count, self._dim)

    def part(self, start: int, stop: int) -> KeyBlock:
        """See `KeyRows.part`."""
        first, keys, norms = self._newest
        if start < first:
            return self.take(np.arange(start, stop))
        span = slice(start - first, stop - first)
        return KeyBlock(keys[span], norms[span], reciprocals_of(norms[span]))

    def take(self, rows: Rows) -> KeyBlock:
        """See `KeyRows.take`."""
        first, newest, lengths = self._newest
        keys, norms = np.empty((len(rows), self._dim), np.float32), np.empty(len(rows))
        coded = rows < first
        places = rows[~coded] - first
        keys[~coded], norms[~coded] = newest[places], lengths[places]
        if coded.any():
            asked, places = np.unique(rows[coded], return_inverse=True)
            found = self._read(asked)
            keys[coded], norms[coded] = found[0][places], found[1][places]
        return KeyBlock(keys, norms, reciprocals_of(norms, keys))

    def _read(self, rows: Rows) -> tuple[Float32, Float64]:
        if self.reader is None:
            raise RuntimeError("keys are asked for before it is known where they are")
        keys = self.reader(rows)
        norms = exact_norms(keys)
        wrong = np.flatnonzero(_rounded(norms) != self._lengths.view()[rows])
        if len(wrong):
            self.reader.refuse(int(rows[wrong[0]]))
        return keys, norms


def _rounded(norms: Float64) -> Float32:
    # Beyond float32's range a length is infinite, and then only that is known of it.
    with np.errstate(over="ignore"):
        return norms.astype(np.float32)


def reciprocals_of(norms: Float64, keys: Float32 | None = None) -> Float32:
    """One over lengths, float32; those that float32 cannot carry get 1, and their `keys` zeros."""
    if are_safe(norms):
        return (1.0 / norms).astype(np.float32)
    extreme = extremes(norms)
    if keys is not None:
        keys[extreme] = 0.0
    return (1.0 / np.where(extreme, 1.0, norms)).astype(np.float32)


def extremes(norms: Float64) -> NDArray[np.bool_]:
    """Which keys are not left to float32 products."""
    return (norms > _SAFE_NORM) | (norms < 1 / _SAFE_NORM)


def are_safe(norms: Float64) -> bool:
    """Whether keys of these lengths can be left to float32 products."""
    # One number is a lone put's or query's: its extremes would take 6 µs, twice a put.
    if len(norms) == 1:
        return bool(1 / _SAFE_NORM <= norms[0] <= _SAFE_NORM)
    return bool(norms.max(initial=1.0) <= _SAFE_NORM and norms.min(initial=1.0) >= 1 / _SAFE_NORM)
