"""The keys of an index in blocks, and their cosines to vectors: all that knows of no weights.

A product of codes or of float32 only selects. Whatever lies within its margin of error is computed
again row by row in float64 (`concert.exact_dots`), so that neither batching nor a library for codes
can change a bit of a result.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.indexes.codes import CHUNK_ROWS, PRODUCTS, Codes, Look
from pmll_async.protocols import SMALL_PRODUCT, Columns
from pmll_async.values.concert import Float32, Float64, clamp_cosine, exact_dots
from pmll_async.values.vectors import own_product

Rows = NDArray[np.int64]

BLOCK_ROWS: Final = 8192
"""So many keys are allocated at once: at 384 dimensions 12 MiB, of which the last block has some
that nobody has filled yet."""
GATHER_SHARE: Final = 8
"""Fewer than 1/8 of the rows are gathered; beyond that a product over all of them is quicker."""
NOT_A_COSINE: Final = np.float32(-2.0)
NO_ROWS: Final[Rows] = np.empty(0, dtype=np.int64)
_EXACT_ROWS: Final = 2048
"""Rows in float64 at once: 6 MiB at 384 dimensions."""
_CHUNKS_A_CALL: Final = 64
"""Chunks that one call codes, in 10 ms, while some are missing: after opening a large lattice."""
_SAFE_NORM: Final = 2.0**40
"""Beyond this length, or below its reciprocal, a key is not left to float32 products."""
OUT_OF_CACHE: Final = 1 << 23
"""Multiplications whose keys, 32 MiB, come from memory: one thread then takes in all it gives."""


@dataclass(slots=True, eq=False)
class _Block:
    """Up to BLOCK_ROWS keys (n, dim), their lengths and float32 reciprocals of those."""

    keys: Float32
    norms: Float64
    reciprocals: Float32


class KeyMatrix:
    """Every key in memory; says exactly which is nearest, and the cosines of all.

    An index inherits this and adds how it ranks. Keys of extreme length, whose float32 products
    would overflow or vanish, are zeros in their blocks: they are kept apart and scored exactly.
    """

    def __init__(self) -> None:
        self.open(0)
        self._coding = threading.Lock()

    def open(self, dim: int) -> None:
        """See `Index.open`."""
        self._dim, self._count = dim, 0
        self._blocks: list[_Block] = []
        self._extreme: dict[int, Float32] = {}
        self._codes = Codes(dim)
        # The error of a float32 dot product grows with its length; 1e-5 is ample up to 1024.
        self._margin = 1e-5 * max(1.0, dim / 1024)

    def add(self, keys: Float32, norms: Float64) -> None:
        """See `Index.add`."""
        done = 0
        while done < len(keys):
            start = self._count % BLOCK_ROWS
            if start == 0:
                self._blocks.append(self._new_block())
            stop = min(BLOCK_ROWS, start + len(keys) - done)
            step = slice(done, done + stop - start)
            self._fill(slice(start, stop), keys[step], norms[step])
            done += stop - start
            self._count += stop - start

    def nearest(
        self, columns: Columns, keys: Float32, norms: Float64, start: int = 0
    ) -> list[tuple[float, int] | None]:
        """See `Index.nearest`."""
        if start >= columns.count:
            return [None] * len(keys)
        eligible, units = columns.live[start:] & columns.chain[start:], unit_rows(keys, norms)
        look = self._look(units, columns.count, start)
        # The largest may be wrong, and so may the one that is the largest indeed.
        margin = self._margin + (2 * look.margin if look else 0.0)
        if len(keys) == 1 and not self._extreme:
            [(_, [cosines])] = self._products(columns.count, units, look, start)
            return [self._nearest_one(cosines, margin, eligible, keys, norms, start)]
        highest = np.full(len(keys), -np.inf, dtype=np.float32)
        near = [(NO_ROWS, NO_ROWS, highest[:0])]
        for first, cosines in self._products(columns.count, units, look, start):
            place = first - start
            cosines[:, ~eligible[place : place + cosines.shape[1]]] = -np.inf
            np.maximum(highest, cosines.max(axis=1), out=highest)
            # What is within the margin of the largest so far may be within that of the largest.
            cuts = np.maximum(highest - margin, NOT_A_COSINE)
            found = np.flatnonzero(cosines >= cuts[:, None])
            owners, rows = np.divmod(found, cosines.shape[1])
            near.append((owners, rows + first, cosines.ravel()[found]))
        owners, rows, selecting = map(np.concatenate, zip(*near, strict=True))
        reach = selecting >= (highest - margin)[owners]
        owners, rows = owners[reach], rows[reach]
        if self._extreme:
            forced = self._forced(eligible, start)
            owners = np.append(owners, np.repeat(np.arange(len(keys)), len(forced)))
            rows = np.append(rows, np.tile(forced, len(keys)))
        exact = self._exact_cosines(rows, keys, norms, owners)
        return _first_largest(len(keys), owners, rows, exact)

    def _nearest_one(
        self,
        cosines: Float32,
        margin: float,
        eligible: NDArray[np.bool_],
        keys: Float32,
        norms: Float64,
        start: int,
    ) -> tuple[float, int] | None:
        """What `nearest` does, for one key at half its cost: a lone put waits for this."""
        if not eligible.all():
            cosines[~eligible] = -np.inf
        top = cosines.max()
        if top == -np.inf:
            return None
        rows = np.flatnonzero(cosines >= top - margin) + start
        if len(rows) > 1:
            exact = self._exact_cosines(rows, keys[0], norms[0])
            first = int(exact.argmax())
            return float(exact[first]), int(rows[first])
        # One row, as nearly always: its numbers are taken without arrays of them being made.
        row = int(rows[0])
        block, place = self._blocks[row // BLOCK_ROWS], row % BLOCK_ROWS
        dot = float(exact_dots(block.keys[place], keys[0]))
        return min(max(dot / (float(block.norms[place]) * float(norms[0])), -1.0), 1.0), row

    def cosines(
        self, count: int, vector: Float32, norm: float, rows: Rows | None = None
    ) -> Float32:
        """See `SupportsCosines.cosines`."""
        # Row by row, here and nowhere else, because a row's bits must depend on the row alone.
        # Measured with every kernel of OpenBLAS for x86-64, at any alignment. Both operands must
        # be contiguous: a step between numbers is another order of additions.
        [unit] = unit_rows(np.ascontiguousarray(vector)[None], np.array([norm]))
        cosines = np.empty(count if rows is None else len(rows), dtype=np.float32)
        if rows is None:
            for first, block in self._upto(count):
                part = cosines[first : first + len(block.norms)]
                np.vecdot(block.keys, unit, out=part)
                part *= block.reciprocals
        elif len(rows) * GATHER_SHARE >= count:
            return self.cosines(count, vector, norm)[rows]
        else:
            for start in range(0, len(rows), _EXACT_ROWS):
                part = cosines[start : start + _EXACT_ROWS]
                taken = self._take(rows[start : start + _EXACT_ROWS])
                np.vecdot(taken.keys, unit, out=part)
                part *= taken.reciprocals
        np.clip(cosines, -1.0, 1.0, out=cosines)
        if self._extreme:
            self._tell_extreme(cosines, rows, vector, norm)
        return cosines

    def units(self, rows: Rows) -> Float32:
        """The keys of rows at length 1 (m, dim), for an index that codes them."""
        taken = self._take(rows)
        for place, row in enumerate(rows.tolist()) if self._extreme else ():
            taken.keys[place] = self._extreme.get(row, taken.keys[place])
        return unit_rows(taken.keys, taken.norms)

    # --- keys of extreme length ----------------------------------------------------------------

    def _tell_extreme(
        self, cosines: Float32, rows: Rows | None, vector: Float32, norm: float
    ) -> None:
        """Give rows of extreme length their cosines, from float64."""
        every = np.arange(len(cosines)) if rows is None else rows
        places = np.flatnonzero(np.isin(every, list(self._extreme)))
        cosines[places] = self._exact_cosines(every[places], vector, np.array(norm))

    def _forced(self, eligible: NDArray[np.bool_], start: int = 0) -> Rows:
        """The eligible rows of extreme length: few, and always scored exactly.

        `eligible` is of the rows from `start` on.
        """
        rows = np.array(list(self._extreme), dtype=np.int64) - start
        rows = rows[(rows >= 0) & (rows < len(eligible))]
        return rows[eligible[rows]] + start

    def _hide_extreme(self, cosines: Float32, first: int) -> None:
        """Give rows of extreme length a cosine under every floor."""
        for row in list(self._extreme):
            if first <= row < first + cosines.shape[-1]:
                cosines[..., row - first] = NOT_A_COSINE

    # --- blocks --------------------------------------------------------------------------------

    def _new_block(self) -> _Block:
        return _Block(
            keys=np.empty((BLOCK_ROWS, self._dim), dtype=np.float32),
            norms=np.empty(BLOCK_ROWS, dtype=np.float64),
            reciprocals=np.empty(BLOCK_ROWS, dtype=np.float32),
        )

    def _fill(self, span: slice, keys: Float32, norms: Float64) -> None:
        """Rows of the newest block."""
        block = self._blocks[-1]
        block.keys[span], block.norms[span] = keys, norms
        if not _are_safe(norms):
            extreme = (norms > _SAFE_NORM) | (norms < 1 / _SAFE_NORM)
            for place in np.flatnonzero(extreme).tolist():
                self._extreme[self._count + place] = keys[place].copy()
            block.keys[span][extreme] = 0.0
            norms = np.where(extreme, 1.0, norms)
        block.reciprocals[span] = 1.0 / norms

    def _upto(self, count: int, start: int = 0) -> Iterator[tuple[int, _Block]]:
        """Rows `start` … `count - 1` block by block, newest first, with their first rows."""
        while count > start:
            first = max(start, (count - 1) // BLOCK_ROWS * BLOCK_ROWS)
            yield first, self._part(first, count)
            count = first

    def _part(self, start: int, stop: int) -> _Block:
        """Rows `start` … `stop - 1`, which lie within one block."""
        number, place = divmod(start, BLOCK_ROWS)
        block, span = self._blocks[number], slice(place, place + stop - start)
        return _Block(block.keys[span], block.norms[span], block.reciprocals[span])

    # --- scanning ------------------------------------------------------------------------------

    def _look(self, units: Float32, count: int, start: int = 0) -> Look | None:
        """Ask the codes for products of rows with unit vectors, where that is quicker."""
        # The event loop asks for one small product at a time, and must not wait for codes.
        is_small = len(units) == 1 and (count - start) * self._dim <= SMALL_PRODUCT
        if is_small or PRODUCTS.library is None:
            return None
        if self._codes.count + CHUNK_ROWS <= count and self._coding.acquire(blocking=False):
            try:
                self._code_some(count)
            finally:
                self._coding.release()
        return self._codes.look(units)

    def _code_some(self, count: int) -> None:
        for _ in range(_CHUNKS_A_CALL):
            first = self._codes.count
            if first + CHUNK_ROWS > count:
                return
            block = self._part(first, first + CHUNK_ROWS)
            self._codes.add(block.keys, block.reciprocals)

    def _products(
        self, count: int, units: Float32, look: Look | None, start: int = 0
    ) -> Iterator[tuple[int, Float32]]:
        """Nearly the cosines (queries, rows) of rows `start` … `count - 1`, in pieces.

        Each with its first row; of one query all at once.
        """
        coded = max(start, min(look.coded, count)) if look else start
        if len(units) == 1:
            whole = np.empty((1, count - start), dtype=np.float32)
            for first, [cosines] in look.products(coded, start) if look else ():
                whole[0, first - start : first - start + len(cosines)] = cosines
            for first, block in self._upto(count, coded):
                part = whole[0, first - start : first - start + len(block.norms)]
                _product(block.keys, units[0], out=part, whole=(count - coded) * self._dim)
                part *= block.reciprocals
            if self._extreme:
                self._hide_extreme(whole, start)
            yield start, whole
            return
        # Newest first: with a weight on recency the threshold is then high from the start.
        for first, block in self._upto(count, coded):
            # Beside codes there are few rows.
            cosines = own_product(units, block.keys) if look else units @ block.keys.T
            cosines *= block.reciprocals
            self._hide_extreme(cosines, first)
            yield first, cosines
        for first, cosines in look.products(coded, start) if look else ():
            self._hide_extreme(cosines, first)
            yield first, cosines

    def _exact_cosines(
        self,
        rows: Rows,
        vectors: Float32,
        norms: Float64,
        owners: Rows | None = None,
    ) -> Float64:
        """The cosine of each row (m,) with one vector, or its owner's, some megabytes at a time."""
        parts = []
        for start in range(0, len(rows), _EXACT_ROWS):
            span = slice(start, start + _EXACT_ROWS)
            taken, extreme = self._take(rows[span]), self._extreme
            if extreme:
                for place, row in enumerate(rows[span].tolist()):
                    taken.keys[place] = extreme.get(row, taken.keys[place])
            if owners is None:
                parts.append(clamp_cosine(exact_dots(taken.keys, vectors), taken.norms, norms))
            else:
                mine = owners[span]
                parts.append(
                    clamp_cosine(exact_dots(taken.keys, vectors[mine]), taken.norms, norms[mine])
                )
        return np.concatenate(parts) if parts else np.empty(0)

    def _take(self, rows: Rows) -> _Block:
        """Copies of the rows, in their order."""
        if not len(rows) or rows.max() < BLOCK_ROWS:
            block = self._blocks[0] if self._blocks else self._new_block()
            return _Block(block.keys[rows], block.norms[rows], block.reciprocals[rows])
        taken = _Block(
            keys=np.empty((len(rows), self._dim), dtype=np.float32),
            norms=np.empty(len(rows), dtype=np.float64),
            reciprocals=np.empty(len(rows), dtype=np.float32),
        )
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


def unit_rows(vectors: Float32, norms: Float64) -> Float32:
    """Vectors (m, dim) at length 1; lengths that float32 cannot carry are divided in float64."""
    if _are_safe(norms):
        return vectors * (1.0 / norms).astype(np.float32)[:, None]
    return (vectors / norms[:, None]).astype(np.float32)


def _are_safe(norms: Float64) -> bool:
    """Whether keys of these lengths can be left to float32 products."""
    # One number is a lone put's or query's: its extremes would take 6 µs, twice a put.
    if len(norms) == 1:
        return bool(1 / _SAFE_NORM <= norms[0] <= _SAFE_NORM)
    return bool(norms.max(initial=1.0) <= _SAFE_NORM and norms.min(initial=1.0) >= 1 / _SAFE_NORM)


def _product(keys: Float32, unit: Float32, out: Float32, whole: int) -> None:
    """Dot products of keys (n, dim) with one vector; `whole` is how many multiplications in all.

    A small one is not shared between the threads of the linear algebra library: on a busy machine
    waiting for those takes a hundred times as long as the product. Nor is a large one, which row by
    row is bound by memory alone: 5.2 ms against 7.5 in two threads and 13 in one for 38 million.
    """
    if SMALL_PRODUCT < whole <= OUT_OF_CACHE:
        np.dot(keys, unit, out=out)
    else:
        np.vecdot(keys, unit, out=out)


def _first_largest(
    count: int, owners: Rows, rows: Rows, cosines: Float64
) -> list[tuple[float, int] | None]:
    """For each owner its largest cosine and the first row that has it."""
    answers: list[tuple[float, int] | None] = [None] * count
    order = np.lexsort((rows, -cosines, owners))
    heads = order[np.flatnonzero(np.diff(owners[order], prepend=-1))]
    best = zip(owners[heads].tolist(), cosines[heads].tolist(), rows[heads].tolist(), strict=True)
    for owner, cosine, row in best:
        answers[owner] = (cosine, row)
    return answers
