"""The exact index: every live key is looked at, in one matrix product for all waiting queries.

A float32 product only selects. Whatever lies within the margin of the k-th weight is computed again
row by row in float64 (`concert.exact_dots`), so that batching cannot change a bit of a result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.indexes.products import SAFE_NORM, product, row_products, unit_rows
from pmll_async.indexes.selection import NOT_A_COSINE, Best, Near, Rows, best_hits, first_largest
from pmll_async.indexes.terms import Terms
from pmll_async.loop.breathing import Breather
from pmll_async.protocols import Columns, Hit, RankQuery
from pmll_async.values.concert import Float32, Float64, clamp_cosine, exact_dots

BLOCK_ROWS: Final = 8192
GATHER_SHARE: Final = 8
"""A filter that leaves fewer than 1/8 of the rows is answered from those rows alone."""
_EXACT_ROWS: Final = 2048


@dataclass(slots=True, eq=False)
class _Block:
    """Up to BLOCK_ROWS keys (n, dim), their lengths and float32 reciprocals of those."""

    keys: Float32
    norms: Float64
    reciprocals: Float32


class ExactIndex:
    """Ranks by the full weight over all keys; the oracle's order at the speed of one product."""

    def __init__(self) -> None:
        self._dim = 0
        self._count = 0
        self._blocks: list[_Block] = []
        self._margin = 1e-5
        self._terms: Terms | None = None
        self._extreme: dict[int, Float32] = {}

    def open(self, dim: int) -> None:
        """See `Index.open`."""
        self._dim, self._count, self._blocks, self._terms = dim, 0, [], None
        self._extreme = {}
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
            self._fill(self._blocks[-1], slice(start, stop), keys[step], norms[step])
            done += stop - start
            self._count += stop - start

    def rank(self, columns: Columns, queries: Sequence[RankQuery]) -> list[list[Hit]]:
        """See `Index.rank`."""
        if not queries:
            return []
        best = [self._best(query, columns.count) for query in queries]
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
        if len(keys) == 1 and columns.count and not self._extreme:
            return [self._nearest_one(columns, keys, norms)]
        units = unit_rows(keys, norms)
        highest = np.full(len(keys), -np.inf, dtype=np.float32)
        near = Near()
        eligible = columns.live & columns.chain
        for first, block in self._upto(columns.count):
            cosines = _cosines(block, units)
            self._hide_extreme(cosines, first)
            span = slice(first, first + len(block.norms))
            if not eligible[span].all():
                cosines[:, ~eligible[span]] = -np.inf
            np.maximum(highest, cosines.max(axis=1), out=highest)
            near.add(cosines, highest - self._margin, first)
        owners, rows = near.within(highest - self._margin)
        if self._extreme:
            forced = self._forced(eligible)
            owners = np.append(owners, np.repeat(np.arange(len(keys)), len(forced)))
            rows = np.append(rows, np.tile(forced, len(keys)))
        exact = self._exact_cosines(owners, rows, keys, norms)
        return first_largest(len(keys), owners, rows, exact)

    def cosines(
        self, count: int, vector: Float32, norm: float, rows: NDArray[np.int64] | None = None
    ) -> Float32:
        """See `SupportsCosines.cosines`."""
        [unit] = unit_rows(np.ascontiguousarray(vector)[None], np.array([norm]))
        cosines = np.empty(count if rows is None else len(rows), dtype=np.float32)
        if rows is None:
            for first, block in self._upto(count):
                part = cosines[first : first + len(block.norms)]
                row_products(block.keys, unit, out=part)
                part *= block.reciprocals
        elif len(rows) * GATHER_SHARE >= count:
            return self.cosines(count, vector, norm)[rows]
        else:
            for start in range(0, len(rows), _EXACT_ROWS):
                part = cosines[start : start + _EXACT_ROWS]
                keys, _, reciprocals = self._take_safe(rows[start : start + _EXACT_ROWS])
                row_products(keys, unit, out=part)
                part *= reciprocals
        np.clip(cosines, -1.0, 1.0, out=cosines)
        if self._extreme:
            self._tell_extreme(cosines, rows, vector, norm)
        return cosines

    def _tell_extreme(
        self, cosines: Float32, rows: Rows | None, vector: Float32, norm: float
    ) -> None:
        """Give rows of extreme length their cosines, from float64."""
        extreme = np.array(list(self._extreme), dtype=np.int64)
        if rows is None:
            places = wanted = extreme[extreme < len(cosines)]
        else:
            places = np.flatnonzero(np.isin(rows, extreme))
            wanted = rows[places]
        owners = np.zeros(len(wanted), dtype=np.int64)
        cosines[places] = self._exact_cosines(owners, wanted, vector[None], np.array([norm]))

    def _fill(self, block: _Block, span: slice, keys: Float32, norms: Float64) -> None:
        block.keys[span], block.norms[span] = keys, norms
        if len(norms) == 1 and 1 / SAFE_NORM <= norms[0] <= SAFE_NORM:
            block.reciprocals[span.start] = 1.0 / norms[0]
            return
        extreme = (norms > SAFE_NORM) | (norms < 1 / SAFE_NORM)
        if extreme.any():
            # Their float32 products overflow or vanish, so that none selects them: see `_forced`.
            for place in np.flatnonzero(extreme).tolist():
                self._extreme[self._count + place] = keys[place].copy()
            block.keys[span][extreme] = 0.0
            norms = np.where(extreme, 1.0, norms)
        block.reciprocals[span] = 1.0 / norms

    def _forced(self, eligible: NDArray[np.bool_]) -> Rows:
        """The eligible rows of extreme length: few, and always scored exactly."""
        rows = [row for row in list(self._extreme) if row < len(eligible) and eligible[row]]
        return np.array(rows, dtype=np.int64)

    def _hide_extreme(self, cosines: Float32, first: int) -> None:
        """Give rows of extreme length a cosine under every floor."""
        for row in list(self._extreme):
            if first <= row < first + cosines.shape[-1]:
                cosines[..., row - first] = NOT_A_COSINE

    def _nearest_one(
        self, columns: Columns, keys: Float32, norms: Float64
    ) -> tuple[float, int] | None:
        """What `nearest` does, for one key at half its cost: a single put's latency."""
        [(_, [cosines])] = self._products(columns.count, unit_rows(keys, norms))
        eligible = columns.live & columns.chain
        if not eligible.all():
            cosines[~eligible] = -np.inf
        top = cosines.max()
        if top == -np.inf:
            return None
        rows = np.flatnonzero(cosines >= top - self._margin)
        if len(rows) == 1:
            row = int(rows[0])
            return self._cosine(row, keys[0], float(norms[0])), row
        exact = self._exact_cosines(np.zeros(len(rows), dtype=np.int64), rows, keys, norms)
        first = int(exact.argmax())
        return float(exact[first]), int(rows[first])

    def _cosine(self, row: int, vector: Float32, norm: float) -> float:
        """What `_exact_cosines` says of one row that is not of extreme length."""
        block, place = self._blocks[row // BLOCK_ROWS], row % BLOCK_ROWS
        dot = float(exact_dots(block.keys[place], vector))
        return min(max(dot / (float(block.norms[place]) * norm), -1.0), 1.0)

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

    def _scan(self, columns: Columns, queries: list[RankQuery], best: list[Best]) -> None:
        units = unit_rows(
            np.array([query.vector for query in queries]),
            np.array([query.norm for query in queries]),
        )
        masks = [_mask(query, columns.count) for query in queries]
        terms = [self._terms_of(columns, query) for query in queries]
        breathe = Breather()
        for first, cosines in self._products(columns.count, units):
            span = slice(first, first + cosines.shape[1])
            for i, query in enumerate(queries):
                if len(queries) > 1:
                    breathe()
                weights = cosines[i] * terms[i].slope[span]
                weights += terms[i].base(query, span)
                mask = masks[i]
                if mask is not None:
                    np.putmask(weights, ~mask[span], -np.inf)
                best[i].offer(weights, cosines[i], first)
        if self._extreme:
            for query, mask, found in zip(queries, masks, best, strict=True):
                eligible = columns.live if query.branches else columns.live & columns.chain
                found.borderline.append(self._forced(eligible if mask is None else eligible & mask))

    def _products(self, count: int, units: Float32) -> Iterator[tuple[int, Float32]]:
        """Float32 cosines (queries, rows) from row `first` on: of one query all at once."""
        if len(units) > 1:
            # Newest first: with a weight on recency the threshold is then high from the start.
            for first, block in self._upto(count):
                cosines = _cosines(block, units)
                self._hide_extreme(cosines, first)
                yield first, cosines
            return
        whole = np.empty((1, count), dtype=np.float32)
        for first, block in self._upto(count):
            part = whole[0, first : first + len(block.norms)]
            product(block.keys, units[0], out=part, whole=count * self._dim)
            part *= block.reciprocals
        self._hide_extreme(whole, 0)
        yield 0, whole

    def _best(self, query: RankQuery, count: int) -> Best:
        return Best(
            k=min(query.k, count),
            floor=query.floor if query.floor > -1.0 or self._extreme else None,
            margin=self._margin,
            slack=2 * self._margin * query.concert.margin,
        )

    def _gather(self, columns: Columns, query: RankQuery, best: Best) -> None:
        rows = _known(query, columns)
        if not len(rows):
            return
        keys, _, reciprocals = self._take_safe(rows)
        extreme = np.zeros(len(rows), dtype=np.bool_)
        if self._extreme:
            extreme[:] = [row in self._extreme for row in rows.tolist()]
        [unit] = unit_rows(query.vector[None], np.array([query.norm]))
        cosines = keys @ unit
        cosines *= reciprocals
        cosines[extreme] = NOT_A_COSINE
        terms = self._terms_of(columns, query)
        weights = cosines * terms.slope[rows] + terms.base(query, rows)
        found = self._best(query, columns.count)
        found.offer(weights, cosines, 0)
        best.threshold, best.weights = found.threshold, found.weights
        best.rows = [rows[part] for part in found.rows]
        best.borderline = [rows[part] for part in found.borderline]
        best.borderline.append(rows[extreme])

    def _terms_of(self, columns: Columns, query: RankQuery) -> Terms:
        """Kept from query to query while the state is the same."""
        terms = self._terms
        if terms is None or not terms.are_of(columns, query):
            self._terms = terms = Terms(columns, query.concert, branches=query.branches)
        return terms

    # --- exact scores --------------------------------------------------------------------------

    def _rescore(
        self, columns: Columns, queries: Sequence[RankQuery], best: list[Best]
    ) -> list[list[Hit]]:
        """The hits of each query, from the exact scores of all rows that may be among its best."""
        if len(queries) == 1:
            return [self._rescore_one(columns, queries[0], best[0].chosen())]
        chosen = [found.chosen() for found in best]
        cosines = self._exact_cosines(
            np.repeat(np.arange(len(queries)), [len(rows) for rows in chosen]),
            np.concatenate(chosen),
            np.array([query.vector for query in queries]),
            np.array([query.norm for query in queries]),
        )
        hits, start = [], 0
        breathe = Breather()
        for query, rows in zip(queries, chosen, strict=True):
            if len(queries) > 1:
                breathe()
            hits.append(best_hits(columns, query, rows, cosines[start : start + len(rows)]))
            start += len(rows)
        return hits

    def _rescore_one(self, columns: Columns, query: RankQuery, rows: Rows) -> list[Hit]:
        if len(rows) > _EXACT_ROWS:
            owners = np.zeros(len(rows), dtype=np.int64)
            vectors, norms = query.vector[None], np.array([query.norm])
            return best_hits(
                columns, query, rows, self._exact_cosines(owners, rows, vectors, norms)
            )
        keys, lengths, _ = self._take(rows)
        cosines = clamp_cosine(exact_dots(keys, query.vector), lengths, query.norm)
        return best_hits(columns, query, rows, cosines)

    def _exact_cosines(self, owners: Rows, rows: Rows, vectors: Float32, norms: Float64) -> Float64:
        """The cosine of each row (m,) with its owner's vector, a few megabytes at a time."""
        parts = []
        for start in range(0, len(rows), _EXACT_ROWS):
            span = slice(start, start + _EXACT_ROWS)
            keys, lengths, _ = self._take(rows[span])
            dots = exact_dots(keys, vectors[owners[span]])
            parts.append(clamp_cosine(dots, lengths, norms[owners[span]]))
        return np.concatenate(parts) if parts else np.empty(0)

    def _take(self, rows: Rows) -> tuple[Float32, Float64, Float32]:
        """Keys (m, dim), lengths (m,) and reciprocals (m,) of the rows, in their order."""
        keys, norms, reciprocals = self._take_safe(rows)
        if self._extreme:
            for place, row in enumerate(rows.tolist()):
                keys[place] = self._extreme.get(row, keys[place])
        return keys, norms, reciprocals

    def _take_safe(self, rows: Rows) -> tuple[Float32, Float64, Float32]:
        """The same, with zeros for keys of extreme length."""
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


def _cosines(block: _Block, units: Float32) -> Float32:
    """Float32 cosines (queries, rows) of one block."""
    if len(units) > 1:
        cosines: Float32 = units @ block.keys.T
    else:
        cosines = np.empty((1, len(block.keys)), dtype=np.float32)
        product(block.keys, units[0], out=cosines[0], whole=block.keys.size)
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
