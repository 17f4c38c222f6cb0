"""The exact index: every live key is looked at, in one matrix product for all waiting queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.indexes.keys import (
    GATHER_SHARE,
    NO_ROWS,
    NOT_A_COSINE,
    OUT_OF_CACHE,
    KeyMatrix,
    Rows,
    unit_rows,
)
from pmll_async.indexes.selection import Best, Terms, best_hits
from pmll_async.loop.breathing import Breather
from pmll_async.protocols import Columns, Hit, RankQuery

_FEW_ROWS: Final = 64
"""Rows that float64 decides at once; of more, float32 chooses first."""


class ExactIndex(KeyMatrix):
    """Ranks by the full weight over all keys; the oracle's order at the speed of one product.

    With the extra `fast` it looks at keys of 8 bits a number first, which reads a quarter of the
    bytes and gives the same answers.
    """

    def open(self, dim: int) -> None:
        """See `Index.open`."""
        super().open(dim)
        self._terms: Terms | None = None

    def rank(self, columns: Columns, queries: Sequence[RankQuery]) -> list[list[Hit]]:
        """See `Index.rank`."""
        if not queries:
            return []
        chosen, wide = [NO_ROWS] * len(queries), []
        for i, query in enumerate(queries):
            if query.rows is not None and len(query.rows) * GATHER_SHARE < columns.count:
                chosen[i] = self._gather(columns, query, query.rows)
            elif columns.count:
                wide.append(i)
        if wide:
            found = self._scan(columns, [queries[i] for i in wide])
            for i, rows in zip(wide, found, strict=True):
                chosen[i] = rows
        return self.rescore(columns, queries, chosen)

    def _best(self, query: RankQuery, count: int, code_margin: float = 0.0) -> Best:
        concert = query.concert
        # What codes leave out of a cosine is multiplied by nothing but its weight.
        wrong = self._margin * concert.margin + code_margin * abs(concert.beta)
        return Best(
            k=min(query.k, count),
            floor=query.floor if query.floor > -1.0 or self._extreme else None,
            margin=self._margin + code_margin,
            slack=2 * wrong,
        )

    def _scan(
        self, columns: Columns, queries: Sequence[RankQuery], *, in_codes: bool = True
    ) -> list[Rows]:
        """For each query the rows that may be among its best."""
        units = unit_rows(
            np.array([query.vector for query in queries]),
            np.array([query.norm for query in queries]),
        )
        # Keys within the processor's cache are quicker by float32 in two idle threads.
        is_far = columns.count * self._dim > OUT_OF_CACHE
        look = self._look(units, columns.count) if in_codes and is_far else None
        margin = look.margin if look else 0.0
        found = [self._best(query, columns.count, margin) for query in queries]
        masks = [_mask(query.rows, columns.count) for query in queries]
        terms = [self._terms_of(columns, query) for query in queries]
        breathe = Breather()
        for first, cosines in self._products(columns.count, units, look):
            span = slice(first, first + cosines.shape[1])
            for i, query in enumerate(queries):
                if len(queries) > 1:
                    breathe()
                weights = cosines[i] * terms[i].slope[span]
                weights += terms[i].base(query, span)
                mask = masks[i]
                if mask is not None:
                    np.putmask(weights, ~mask[span], -np.inf)
                found[i].offer(weights, cosines[i], first)
        # No product selects them, and the floor may still let them through.
        if self._extreme:
            for query, best, mask in zip(queries, found, masks, strict=True):
                eligible = columns.live if query.branches else columns.live & columns.chain
                best.forced = self._forced(eligible if mask is None else eligible & mask)
        chosen = [best.chosen() for best in found]
        if look is None:
            return chosen
        return [self._narrowed(columns, *each) for each in zip(queries, chosen, strict=True)]

    def _narrowed(self, columns: Columns, query: RankQuery, rows: Rows) -> Rows:
        """Those that float32 leaves of the rows that codes have left."""
        if len(rows) <= _FEW_ROWS:
            return rows
        if len(rows) * GATHER_SHARE >= columns.count:
            return self._scan(columns, [query], in_codes=False)[0]
        return self._gather(columns, query, rows)

    def _gather(self, columns: Columns, query: RankQuery, rows: Rows) -> Rows:
        """Those of the rows that may be among the query's best, by their float32 products."""
        rows = _within(rows, columns.count)
        live = columns.live[rows]
        rows = rows[live if query.branches else live & columns.chain[rows]]
        if not len(rows):
            return rows
        taken = self._take(rows)
        [unit] = unit_rows(query.vector[None], np.array([query.norm]))
        cosines = taken.keys @ unit
        cosines *= taken.reciprocals
        extreme = np.isin(rows, list(self._extreme))
        cosines[extreme] = NOT_A_COSINE
        terms = self._terms_of(columns, query)
        best = self._best(query, columns.count)
        best.offer(cosines * terms.slope[rows] + terms.base(query, rows), cosines, 0)
        # Offered by their places among the gathered.
        return np.concatenate([rows[best.chosen()], rows[extreme]])

    def _terms_of(self, columns: Columns, query: RankQuery) -> Terms:
        """Kept from query to query while the state is the same."""
        terms, concert, branches = self._terms, query.concert, query.branches
        if terms is None:
            terms = Terms(columns, concert, branches=branches)
        self._terms = terms = terms.of(columns, concert, branches=branches)
        return terms

    def rescore(
        self, columns: Columns, queries: Sequence[RankQuery], chosen: Sequence[Rows]
    ) -> list[list[Hit]]:
        """The hits of each query, from the exact scores of all rows that may be among its best."""
        if len(queries) == 1:
            [query], [rows] = queries, chosen
            cosines = self._exact_cosines(rows, query.vector, np.array(query.norm))
            return [best_hits(columns, query, rows, cosines)]
        # All at once: the few rows of one query take longer to make arrays of than to compute.
        owners = np.repeat(np.arange(len(queries)), [len(rows) for rows in chosen])
        cosines = self._exact_cosines(
            np.concatenate(chosen),
            np.array([query.vector for query in queries]),
            np.array([query.norm for query in queries]),
            owners,
        )
        hits, start = [], 0
        breathe = Breather()
        for query, rows in zip(queries, chosen, strict=True):
            breathe()
            hits.append(best_hits(columns, query, rows, cosines[start : start + len(rows)]))
            start += len(rows)
        return hits


def _within(rows: Rows, count: int) -> Rows:
    """Those of an older state."""
    return rows[: int(np.searchsorted(rows, count))]


def _mask(rows: Rows | None, count: int) -> NDArray[np.bool_] | None:
    if rows is None:
        return None
    mask = np.zeros(count, dtype=np.bool_)
    mask[_within(rows, count)] = True
    return mask
