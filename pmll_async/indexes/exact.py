"""The exact index: every live key is looked at, in one matrix product for all waiting queries.

A float32 product only selects. Whatever lies within the margin of the k-th weight is computed again
row by row in float64 (`concert.exact_dots`), so that batching cannot change a bit of a result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.concert import Float32, Float64, clamp_cosine, exact_dots
from pmll_async.indexes.terms import Terms
from pmll_async.protocols import SMALL_PRODUCT, Columns, Hit, RankQuery

Rows = NDArray[np.int64]

BLOCK_ROWS: Final = 8192
GATHER_SHARE: Final = 8
"""A filter that leaves fewer than 1/8 of the rows is answered from those rows alone."""
_CHUNK: Final = 64
_NO_ROWS: Final[Rows] = np.empty(0, dtype=np.int64)
_NO_COSINES: Final[Float32] = np.empty(0, dtype=np.float32)
_LEAST: Final = np.float32(-2.0)
_EXACT_ROWS: Final = 2048
_SAFE_NORM: Final = 2.0**40
"""Keys are scaled by a power of two, which loses nothing, only if their length is beyond this."""


@dataclass(slots=True, eq=False)
class _Block:
    """Up to BLOCK_ROWS keys (n, dim), their lengths and float32 reciprocals of those."""

    keys: Float32
    norms: Float64
    reciprocals: Float32


@dataclass(slots=True, eq=False)
class _Best:
    """The rows that may be among one query's best so far."""

    k: int
    rows: list[Rows] = field(default_factory=list)
    weights: list[Float32] = field(default_factory=list)
    borderline: list[Rows] = field(default_factory=list)
    threshold: float = -math.inf


class ExactIndex:
    """Ranks by the full weight over all keys; the oracle's order at the speed of one product."""

    def __init__(self) -> None:
        self._dim = 0
        self._count = 0
        self._blocks: list[_Block] = []
        self._margin = 1e-5
        self._terms: Terms | None = None

    def open(self, dim: int) -> None:
        """See `Index.open`."""
        self._dim, self._count, self._blocks, self._terms = dim, 0, [], None
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
            _fill(self._blocks[-1], slice(start, stop), keys[step], norms[step])
            done += stop - start
            self._count += stop - start

    def rank(self, columns: Columns, queries: Sequence[RankQuery]) -> list[list[Hit]]:
        """See `Index.rank`."""
        best = [_Best(min(query.k, columns.count)) for query in queries]
        narrow = [_is_narrow(query, columns.count) for query in queries]
        wide = [i for i, is_narrow in enumerate(narrow) if not is_narrow]
        if wide and columns.count:
            self._scan(columns, [queries[i] for i in wide], [best[i] for i in wide])
        for query, found, is_narrow in zip(queries, best, narrow, strict=True):
            if is_narrow:
                self._gather(columns, query, found)
        return self._rescore(columns, queries, best)

    def nearest(
        self, columns: Columns, keys: Float32, norms: Float64
    ) -> list[tuple[float, int] | None]:
        """See `Index.nearest`."""
        units = _unit_rows(keys, norms)
        highest = np.full(len(keys), -np.inf, dtype=np.float32)
        near = _Near()
        for first, block in self._upto(columns.count):
            cosines = _cosines(block, units)
            eligible = columns.live[first : first + len(block.norms)]
            eligible = eligible & columns.chain[first : first + len(block.norms)]
            if not eligible.all():
                cosines[:, ~eligible] = -np.inf
            np.maximum(highest, cosines.max(axis=1), out=highest)
            near.add(cosines, highest - self._margin, first)
        owners, rows = near.within(highest - self._margin)
        exact = self._exact_cosines(owners, rows, keys, norms)
        return _first_largest(len(keys), owners, rows, exact)

    # --- scanning ------------------------------------------------------------------------------

    def _new_block(self) -> _Block:
        return _Block(
            keys=np.empty((BLOCK_ROWS, self._dim), dtype=np.float32),
            norms=np.empty(BLOCK_ROWS, dtype=np.float64),
            reciprocals=np.empty(BLOCK_ROWS, dtype=np.float32),
        )

    def _upto(self, count: int) -> Iterator[tuple[int, _Block]]:
        """The blocks of the first `count` rows, newest first, with their first rows."""
        for number in reversed(range(-(-count // BLOCK_ROWS))):
            first = number * BLOCK_ROWS
            block, rows = self._blocks[number], min(BLOCK_ROWS, count - first)
            yield first, _Block(block.keys[:rows], block.norms[:rows], block.reciprocals[:rows])

    def _scan(self, columns: Columns, queries: list[RankQuery], best: list[_Best]) -> None:
        units = _unit_rows(
            np.array([query.vector for query in queries]),
            np.array([query.norm for query in queries]),
        )
        masks = [_mask(query, columns.count) for query in queries]
        terms = [self._terms_of(columns, query) for query in queries]
        for first, cosines in self._products(columns.count, units):
            span = slice(first, first + cosines.shape[1])
            for i, query in enumerate(queries):
                weights = cosines[i] * terms[i].slope[span]
                weights += terms[i].base(query, span)
                mask = masks[i]
                if mask is not None:
                    np.putmask(weights, ~mask[span], -np.inf)
                self._offer(best[i], weights, cosines[i], query, first)

    def _products(self, count: int, units: Float32) -> Iterator[tuple[int, Float32]]:
        """Float32 cosines (queries, rows) from row `first` on: of one query all at once."""
        if len(units) > 1:
            # Newest first: with a weight on recency the threshold is then high from the start.
            for first, block in self._upto(count):
                yield first, _cosines(block, units)
            return
        whole = np.empty((1, count), dtype=np.float32)
        for first, block in self._upto(count):
            part = whole[0, first : first + len(block.norms)]
            _product(block.keys, units[0], out=part)
            part *= block.reciprocals
        yield 0, whole

    def _gather(self, columns: Columns, query: RankQuery, best: _Best) -> None:
        rows = _known(query, columns)
        if not len(rows):
            return
        keys, _, reciprocals = self._take(rows)
        [unit] = _unit_rows(query.vector[None], np.array([query.norm]))
        cosines = keys @ unit
        cosines *= reciprocals
        terms = self._terms_of(columns, query)
        weights = cosines * terms.slope[rows] + terms.base(query, rows)
        found = _Best(best.k)
        self._offer(found, weights, cosines, query, 0)
        best.threshold, best.weights = found.threshold, found.weights
        best.rows = [rows[part] for part in found.rows]
        best.borderline = [rows[part] for part in found.borderline]

    def _terms_of(self, columns: Columns, query: RankQuery) -> Terms:
        """Kept from query to query while the state is the same."""
        terms = self._terms
        if terms is None or not terms.are_of(columns, query):
            self._terms = terms = Terms(columns, query.concert, branches=query.branches)
        return terms

    def _offer(
        self, best: _Best, weights: Float32, cosines: Float32, query: RankQuery, first: int
    ) -> None:
        if query.floor > -1.0:
            # Rows that may or may not reach the floor neither set the threshold nor get lost.
            out = cosines < query.floor + self._margin
            maybe = np.flatnonzero(out & (cosines >= query.floor - self._margin))
            if len(maybe):
                best.borderline.append(maybe[weights[maybe] > -np.inf] + first)
            np.putmask(weights, out, -np.inf)
        slack = self._slack(query)
        cut = max(best.threshold, _lower_bound(weights, best.k))
        rows = np.flatnonzero(weights >= cut - slack if cut > -np.inf else weights > -np.inf)
        if not len(rows):
            return
        best.rows.append(rows + first)
        best.weights.append(weights[rows])
        known = np.concatenate(best.weights)
        if len(known) >= best.k > 0:
            best.threshold = float(np.partition(known, len(known) - best.k)[len(known) - best.k])

    # --- exact scores --------------------------------------------------------------------------

    def _rescore(
        self, columns: Columns, queries: Sequence[RankQuery], best: list[_Best]
    ) -> list[list[Hit]]:
        """The hits of each query, from the exact scores of all rows that may be among its best."""
        chosen = [_chosen(found, self._slack(q)) for q, found in zip(queries, best, strict=True)]
        cosines = self._exact_cosines(
            np.repeat(np.arange(len(queries)), [len(rows) for rows in chosen]),
            np.concatenate(chosen),
            np.array([query.vector for query in queries]),
            np.array([query.norm for query in queries]),
        )
        hits, start = [], 0
        for query, rows in zip(queries, chosen, strict=True):
            hits.append(_hits(columns, query, rows, cosines[start : start + len(rows)]))
            start += len(rows)
        return hits

    def _exact_cosines(self, owners: Rows, rows: Rows, vectors: Float32, norms: Float64) -> Float64:
        """The cosine of each row (m,) with its owner's vector, a few megabytes at a time."""
        vectors, norms = _safe(vectors, norms)
        parts = []
        for start in range(0, len(rows), _EXACT_ROWS):
            span = slice(start, start + _EXACT_ROWS)
            keys, lengths, _ = self._take(rows[span])
            dots = exact_dots(keys, vectors[owners[span]])
            parts.append(clamp_cosine(dots, lengths, norms[owners[span]]))
        return np.concatenate(parts) if parts else np.empty(0)

    def _slack(self, query: RankQuery) -> float:
        return 2 * self._margin * query.concert.margin

    def _take(self, rows: Rows) -> tuple[Float32, Float64, Float32]:
        """Keys (m, dim), lengths (m,) and reciprocals (m,) of the rows, in their order."""
        if not len(rows) or rows.max() < BLOCK_ROWS:
            block = self._blocks[0] if self._blocks else self._new_block()
            return block.keys[rows], block.norms[rows], block.reciprocals[rows]
        keys = np.empty((len(rows), self._dim), dtype=np.float32)
        norms = np.empty(len(rows), dtype=np.float64)
        reciprocals = np.empty(len(rows), dtype=np.float32)
        numbers, places = np.divmod(rows, BLOCK_ROWS)
        for number in set(numbers.tolist()):
            here = numbers == number
            block, at = self._blocks[number], places[here]
            keys[here] = block.keys[at]
            norms[here] = block.norms[at]
            reciprocals[here] = block.reciprocals[at]
        return keys, norms, reciprocals


def _chosen(best: _Best, slack: float) -> Rows:
    """The rows that may be among the best, each once."""
    pieces = zip(best.rows, best.weights, strict=True)
    rows = [rows[weights >= best.threshold - slack] for rows, weights in pieces]
    rows += best.borderline
    return np.concatenate(rows) if rows and best.k else _NO_ROWS


def _hits(columns: Columns, query: RankQuery, rows: Rows, cosines: Float64) -> list[Hit]:
    """The best k of the rows, in order, by their exact weights."""
    concert = query.concert
    taken = zip(
        rows.tolist(),
        cosines.tolist(),
        columns.timestamps[rows].tolist(),
        columns.strengths[rows].tolist(),
        columns.novelties[rows].tolist(),
        strict=True,
    )
    hits = []
    for row, similarity, timestamp, strength, novelty in taken:
        if similarity >= query.floor:
            recency = concert.recency(timestamp, query.now)
            weight = concert.weight(
                strength=strength, recency=recency, similarity=similarity, novelty=novelty
            )
            hits.append(Hit(row, similarity, recency, weight))
    hits.sort(key=lambda hit: (-hit.weight, -columns.order[hit.row], columns.anchors[hit.row]))
    return hits[: query.k]


class _Near:
    """Rows that were within the margin of the largest cosine known when they were seen."""

    def __init__(self) -> None:
        self._owners, self._rows, self._cosines = [_NO_ROWS], [_NO_ROWS], [_NO_COSINES]

    def add(self, cosines: Float32, cuts: Float32, first: int) -> None:
        """Those of one block (queries, rows) that reach their query's cut."""
        found = np.flatnonzero(cosines >= np.maximum(cuts, _LEAST)[:, None])
        owners, rows = np.divmod(found, cosines.shape[1])
        self._owners.append(owners)
        self._rows.append(rows + first)
        self._cosines.append(cosines.ravel()[found])

    def within(self, cuts: Float32) -> tuple[Rows, Rows]:
        """Owners and rows of those that reach the final cuts."""
        owners, rows = np.concatenate(self._owners), np.concatenate(self._rows)
        reach = np.concatenate(self._cosines) >= cuts[owners]
        return owners[reach], rows[reach]


def _first_largest(
    count: int, owners: Rows, rows: Rows, cosines: Float64
) -> list[tuple[float, int] | None]:
    """For each owner its largest cosine and the first row that has it."""
    answers: list[tuple[float, int] | None] = [None] * count
    for owner, row, cosine in zip(owners.tolist(), rows.tolist(), cosines.tolist(), strict=True):
        known = answers[owner]
        if known is None or cosine > known[0] or (cosine == known[0] and row < known[1]):
            answers[owner] = (cosine, row)
    return answers


def _fill(block: _Block, span: slice, keys: Float32, norms: Float64) -> None:
    block.keys[span], block.norms[span] = _safe(keys, norms)
    block.reciprocals[span] = 1.0 / block.norms[span]


def _safe(vectors: Float32, norms: Float64) -> tuple[Float32, Float64]:
    """Vectors (m, dim) at lengths that float32 products can carry.

    Those that are too long or too short are scaled by a power of two, which changes no cosine.
    """
    extreme = (norms > _SAFE_NORM) | (norms < 1 / _SAFE_NORM)
    if not extreme.any():
        return vectors, norms
    exponents = np.where(extreme, -np.frexp(norms)[1], 0)
    return np.ldexp(vectors, exponents[:, None]), np.ldexp(norms, exponents)


def _unit_rows(vectors: Float32, norms: Float64) -> Float32:
    vectors, norms = _safe(vectors, norms)
    return vectors * (1.0 / norms).astype(np.float32)[:, None]


def _product(keys: Float32, unit: Float32, out: Float32) -> None:
    """Dot products of keys (n, dim) with one vector.

    A small one is not shared between the threads of the linear algebra library: on a busy machine
    waiting for those takes a hundred times as long as the product.
    """
    if keys.size <= SMALL_PRODUCT:
        np.vecdot(keys, unit, out=out)
    else:
        np.dot(keys, unit, out=out)


def _cosines(block: _Block, units: Float32) -> Float32:
    """Float32 cosines (queries, rows) of one block."""
    if len(units) > 1:
        cosines: Float32 = units @ block.keys.T
    else:
        cosines = np.empty((1, len(block.keys)), dtype=np.float32)
        _product(block.keys, units[0], out=cosines[0])
    cosines *= block.reciprocals
    return cosines


def _is_narrow(query: RankQuery, count: int) -> bool:
    return query.rows is not None and len(query.rows) * GATHER_SHARE < count


def _known(query: RankQuery, columns: Columns) -> Rows:
    rows = np.empty(0, dtype=np.int64) if query.rows is None else query.rows
    rows = rows[: int(np.searchsorted(rows, columns.count))]
    live = columns.live[rows]
    if not query.branches:
        live = live & columns.chain[rows]
    return rows[live]


def _mask(query: RankQuery, count: int) -> NDArray[np.bool_] | None:
    if query.rows is None:
        return None
    mask = np.zeros(count, dtype=np.bool_)
    mask[query.rows[: int(np.searchsorted(query.rows, count))]] = True
    return mask


def _lower_bound(weights: Float32, k: int) -> float:
    """A number that at least k weights reach, -inf if there are not so many chunks.

    The k-th largest of the maxima of chunks is one, and costs a third of a partition.
    """
    chunks = len(weights) // _CHUNK
    if not 0 < k <= chunks:
        return -math.inf
    tops = weights[: chunks * _CHUNK].reshape(chunks, _CHUNK).max(axis=1)
    return float(np.partition(tops, chunks - k)[chunks - k])
