"""The keys of an index in blocks, and their cosines to vectors: all that knows of no weights.

A product of codes or of float32 only selects. Whatever lies within its margin of error is computed
again row by row in float64 (`concert.exact_dots`), so that neither batching nor a library for codes
can change a bit of a result.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.errors import InvalidInputError
from pmll_async.indexes.codes import CHUNK_ROWS, PRODUCTS, Codes, Look
from pmll_async.indexes.rows import (
    BLOCK_ROWS,
    HeldRows,
    KeyRows,
    Rows,
    StoredRows,
    are_safe,
    extremes,
    upto,
)
from pmll_async.loop.breathing import Breather
from pmll_async.loop.workers import CALLS, weak_job
from pmll_async.protocols import SMALL_PRODUCT, Columns, KeyReader, Resident
from pmll_async.values.concert import Float32, Float64, clamp_cosine, exact_dots
from pmll_async.values.extras import require
from pmll_async.values.vectors import own_product

GATHER_SHARE: Final = 8
"""Fewer than 1/8 of the rows are gathered; beyond that a product over all of them is quicker."""
NOT_A_COSINE: Final = np.float32(-2.0)
NO_ROWS: Final[Rows] = np.empty(0, dtype=np.int64)
_EXACT_ROWS: Final = 2048
"""Rows in float64 at once: 6 MiB at 384 dimensions."""
_CHUNKS_A_CALL: Final = 64
"""Chunks that one call codes, in 10 ms, while some are missing: after opening a large lattice."""
_MANY_ROWS: Final = 1 << 16
"""If so many have no codes, a worker makes them, too: calls alone would take a hundred to do so."""
_OUT_OF_CACHE: Final = 1 << 23
"""Multiplications whose keys, 32 MiB, come from memory: one thread then takes in all it gives."""


class KeyMatrix:
    """Every key in memory; says exactly which is nearest, and the cosines of all.

    An index inherits this and adds how it ranks. Keys of extreme length, whose float32 products
    would overflow or vanish, are zeros in their blocks: they are kept apart and scored exactly.
    """

    def __init__(self, *, resident: Resident = "memory") -> None:
        if resident not in ("memory", "mmap"):
            raise InvalidInputError(f'resident is "memory" or "mmap", not {resident!r}')
        self.resident: Resident = resident
        if self._reads_keys:
            require("fast", "numkong")
        self._coding = threading.Lock()
        self._is_scheduled = False
        self.open(0)

    @property
    def _reads_keys(self) -> bool:
        return self.resident == "mmap"

    def open(self, dim: int) -> None:
        """See `Index.open`."""
        if dim and self._reads_keys:
            PRODUCTS.need()
        # A worker may still be coding the rows of before.
        with self._coding:
            self._dim, self._count = dim, 0
            self._codes = Codes(dim)
            self._rows: KeyRows = (
                StoredRows(dim, self._codes) if self._reads_keys else HeldRows(dim)
            )
            self._extreme: dict[int, Float32] = {}
            # The error of a float32 dot product grows with its length; 1e-5 is ample up to 1024.
            self._margin = 1e-5 * max(1.0, dim / 1024)

    def read_keys(self, reader: KeyReader) -> None:
        """See `ReadsKeys.read_keys`."""
        if isinstance(self._rows, StoredRows):
            self._rows.reader = reader

    def add(self, keys: Float32, norms: Float64) -> None:
        """See `Index.add`."""
        if not are_safe(norms):
            for place in np.flatnonzero(extremes(norms)).tolist():
                self._extreme[self._count + place] = keys[place].copy()
        self._rows.add(keys, norms)
        self._count += len(keys)

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
        if len(keys) == 1 and self._rows.in_memory and not self._extreme:
            [(_, [cosines])] = self._products(columns.count, units, look, start)
            return [self._nearest_one(cosines, margin, eligible, keys, norms, start)]
        highest = np.full(len(keys), -np.inf, dtype=np.float32)
        near = [(NO_ROWS, NO_ROWS, highest[:0])]
        for first, cosines in self._products(columns.count, units, look, start):
            here = eligible[first - start : first - start + cosines.shape[1]]
            if not here.all():
                cosines[:, ~here] = -np.inf
            np.maximum(highest, cosines.max(axis=1), out=highest)
            # What is within the margin of the largest so far may be within that of the largest.
            cuts = np.maximum(highest - margin, NOT_A_COSINE)
            found = np.flatnonzero(cosines >= cuts[:, None])
            owners, rows = np.divmod(found, cosines.shape[1])
            near.append((owners, rows + first, cosines.ravel()[found]))
        owners, rows, selecting = map(np.concatenate, zip(*near, strict=True))
        cuts = highest - margin
        if look:
            # How near the likely nearest are leaves a third of what codes cannot tell apart.
            leads = np.flatnonzero(selecting == highest[owners])
            known = self._exact_cosines(rows[leads], keys, norms, owners[leads])
            np.maximum.at(cuts, owners[leads], known - (self._margin + look.margin))
        reach = selecting >= cuts[owners]
        owners, rows = owners[reach], rows[reach]
        if self._extreme:
            forced = self._forced(eligible, start)
            owners = np.append(owners, np.repeat(np.arange(len(keys)), len(forced)))
            rows = np.append(rows, np.tile(forced, len(keys)))
        exact = self._exact_cosines(rows, keys, norms, owners)
        return first_largest(len(keys), owners, rows, exact)

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
        rows = (cosines >= top - margin).nonzero()[0] + start
        if len(rows) > 1:
            exact = self._exact_cosines(rows, keys[0], norms[0])
            first = int(exact.argmax())
            return float(exact[first]), int(rows[first])
        # One row, as nearly always: its numbers are taken without arrays of them being made.
        row = int(rows[0])
        one = self._rows.part(row, row + 1)
        dot = float(exact_dots(one.keys[0], keys[0]))
        return min(max(dot / (float(one.norms[0]) * float(norms[0])), -1.0), 1.0), row

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
            for first, block in upto(self._rows, count):
                part = cosines[first : first + len(block.norms)]
                np.vecdot(block.keys, unit, out=part)
                part *= block.reciprocals
        elif self._rows.in_memory and len(rows) * GATHER_SHARE >= count:
            return self.cosines(count, vector, norm)[rows]
        else:
            for start in range(0, len(rows), _EXACT_ROWS):
                part = cosines[start : start + _EXACT_ROWS]
                taken = self._rows.take(rows[start : start + _EXACT_ROWS])
                np.vecdot(taken.keys, unit, out=part)
                part *= taken.reciprocals
        np.clip(cosines, -1.0, 1.0, out=cosines)
        if self._extreme:
            self._tell_extreme(cosines, rows, vector, norm)
        return cosines

    def units(self, rows: Rows) -> Float32:
        """The keys of rows at length 1 (m, dim), for an index that codes them."""
        taken = self._rows.take(rows)
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

    # --- scanning ------------------------------------------------------------------------------

    def _look(self, units: Float32, count: int, start: int = 0) -> Look | None:
        """Ask the codes for products of rows with unit vectors, where that is quicker."""
        if not self._rows.in_memory:
            return self._codes.look(units)
        # The event loop asks for one small product at a time, and must not wait for codes.
        is_small = len(units) == 1 and (count - start) * self._dim <= SMALL_PRODUCT
        if is_small or PRODUCTS.library is None:
            return None
        if not self.are_coded(count) and self._coding.acquire(blocking=False):
            try:
                self._code_some(count)
            finally:
                self._coding.release()
            if not self.are_coded(count - _MANY_ROWS) and not self._is_scheduled:
                self._is_scheduled = True
                # Where no thread can be started, calls go on alone.
                with suppress(RuntimeError):
                    CALLS.submit(weak_job(self.code_more))
        return self._codes.look(units)

    def code_more(self) -> bool:
        """Code some of the rows that have no codes; whether there are more."""
        with self._coding:
            self._code_some(self._count)
            self._is_scheduled = not self.are_coded(self._count)
            return self._is_scheduled

    def are_coded(self, count: int) -> bool:
        """Whether all of so many rows are, but for the newest few."""
        return self._codes.count + CHUNK_ROWS > count

    def _code_some(self, count: int) -> None:
        breathe = Breather()
        for _ in range(_CHUNKS_A_CALL):
            breathe()
            first = self._codes.count
            if first + CHUNK_ROWS > count:
                return
            block = self._rows.part(first, first + CHUNK_ROWS)
            self._codes.add(block.keys, block.reciprocals)

    def _products(
        self, count: int, units: Float32, look: Look | None, start: int = 0
    ) -> Iterator[tuple[int, Float32]]:
        """Nearly the cosines (queries, rows) of rows `start` … `count - 1`, in pieces.

        Each with its first row; of one query all at once, where no memory is to be saved.
        """
        coded = max(start, min(look.coded, count)) if look else start
        is_one, stop = len(units) == 1 and self._rows.in_memory, count
        # Newest first: with a weight on recency the threshold is then high from the start.
        while stop > start:
            first = start if is_one else max(start, (stop - 1) // BLOCK_ROWS * BLOCK_ROWS)
            cosines = np.empty((len(units), stop - first), dtype=np.float32)
            edge = min(max(first, coded), stop)
            self._float_products(cosines[:, edge - first :], units, edge, alone=look is not None)
            if look is not None and edge > first:
                look.fill(cosines[:, : edge - first], first)
            if self._extreme:
                self._hide_extreme(cosines, first)
            yield first, cosines
            stop = first

    def _float_products(self, cosines: Float32, units: Float32, first: int, *, alone: bool) -> None:
        """Fill in cosines (queries, rows) by float32; `alone` in no other thread, for few rows."""
        whole = cosines.shape[1] * self._dim
        for start, block in upto(self._rows, first + cosines.shape[1], first):
            part = cosines[:, start - first : start - first + len(block.norms)]
            if len(units) == 1:
                _product(block.keys, units[0], out=part[0], whole=whole)
            elif alone:
                part[...] = own_product(units, block.keys)
            else:
                np.matmul(units, block.keys.T, out=part)
            part *= block.reciprocals

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
            taken, extreme = self._rows.take(rows[span]), self._extreme
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


def unit_rows(vectors: Float32, norms: Float64) -> Float32:
    """Vectors (m, dim) at length 1; lengths that float32 cannot carry are divided in float64."""
    if are_safe(norms):
        # A lone put or query needs no arrays of its one length.
        if len(norms) == 1:
            return vectors * np.float32(1.0 / norms[0])
        return vectors * (1.0 / norms).astype(np.float32)[:, None]
    return (vectors / norms[:, None]).astype(np.float32)


def _product(keys: Float32, unit: Float32, out: Float32, whole: int) -> None:
    """Dot products of keys (n, dim) with one vector; `whole` is how many multiplications in all.

    A small one is not shared between the threads of the linear algebra library: on a busy machine
    waiting for those takes a hundred times as long as the product. Nor is a large one, which row by
    row is bound by memory alone: 5.2 ms against 7.5 in two threads and 13 in one for 38 million.
    """
    if SMALL_PRODUCT < whole <= _OUT_OF_CACHE:
        np.dot(keys, unit, out=out)
    else:
        np.vecdot(keys, unit, out=out)


def first_largest(
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
