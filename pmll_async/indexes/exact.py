"""The exact index: every live key is looked at, in one matrix product for all waiting queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.indexes.codes import PRODUCTS
from pmll_async.indexes.keys import (
    GATHER_SHARE,
    NO_ROWS,
    NOT_A_COSINE,
    KeyMatrix,
    unit_rows,
)
from pmll_async.indexes.rows import Rows
from pmll_async.indexes.selection import Best, Terms, best_hits
from pmll_async.loop.breathing import Breather
from pmll_async.protocols import SMALL_PRODUCT, Columns, Hit, RankQuery
from pmll_async.values.concert import Float64

_FEW_ROWS: Final = 64
"""Rows that float64 decides at once; of more, float32 chooses first."""
_READ_SHARE: Final = 512
"""To read a key again takes as long as to look at the codes of so many."""


class ExactIndex(KeyMatrix):
    """Ranks by the full weight over all keys; the oracle's order at the speed of one product.

    With the extra `fast` it looks at keys of 8 bits a number first, which reads a quarter of the
    bytes and gives the same answers. `resident="mmap"`, which needs it, has nothing but codes in
    memory, `dim + 16` bytes a line: the keys that matter to an answer are read from the store.
    """

    def open(self, dim: int) -> None:
        """See `Index.open`."""
        super().open(dim)
        self._terms: Terms | None = None

    def quick(self, count: int) -> bool:
        """See `QuickIndex.quick`."""
        # Codes of four times as many rows are looked at in the time of a small product.
        is_small = count * self._dim <= 4 * SMALL_PRODUCT and self._rows.in_memory
        return is_small and PRODUCTS.library is not None and self.are_coded(count)

    def rank(self, columns: Columns, queries: Sequence[RankQuery]) -> list[list[Hit]]:
        """See `Index.rank`."""
        if not queries:
            return []
        chosen, wide = [NO_ROWS] * len(queries), []
        share = GATHER_SHARE if self._rows.in_memory else _READ_SHARE
        for i, query in enumerate(queries):
            if query.rows is not None and len(query.rows) * share < columns.count:
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
        look = self._look(units, columns.count) if in_codes else None
        margin = look.margin if look else 0.0
        found = [self._best(query, columns.count, margin) for query in queries]
        masks = [
            None if query.rows is None else row_mask(query.rows, columns.count) for query in queries
        ]
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
        if not self._rows.in_memory:
            self._sharpen(queries, found, terms)
        chosen = [best.chosen() for best in found]
        if look is None:
            return chosen
        return [self._narrowed(columns, *each) for each in zip(queries, chosen, strict=True)]

    def _sharpen(
        self, queries: Sequence[RankQuery], found: Sequence[Best], terms: Sequence[Terms]
    ) -> None:
        """Read the likely best of each query: what they weigh leaves fewer to be read."""
        leads = [best.leading() for best in found]
        for query, best, own, rows, cosines in zip(
            queries, found, terms, leads, self._cosines_to(queries, leads), strict=True
        ):
            weights = own.slope[rows] * cosines + own.base(query, rows)
            weights[cosines < query.floor] = -np.inf
            best.sharpen(weights, self._margin * query.concert.margin)

    def _narrowed(self, columns: Columns, query: RankQuery, rows: Rows) -> Rows:
        """Those that float32 leaves of the rows that codes have left."""
        # What is read again is read once, and then float64 may as well decide.
        if len(rows) <= _FEW_ROWS or not self._rows.in_memory:
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
        taken = self._rows.take(rows)
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
        hits, breathe = [], Breather()
        for query, rows, cosines in zip(
            queries, chosen, self._cosines_to(queries, chosen), strict=True
        ):
            if len(queries) > 1:
                breathe()
            hits.append(best_hits(columns, query, rows, cosines))
        return hits

    def _cosines_to(self, queries: Sequence[RankQuery], chosen: Sequence[Rows]) -> list[Float64]:
        """The exact cosines of rows to their query."""
        if len(queries) == 1:
            [query], [rows] = queries, chosen
            return [self._exact_cosines(rows, query.vector, np.array(query.norm))]
        # All at once: the few rows of one query take longer to make arrays of than to compute.
        counts = [len(rows) for rows in chosen]
        cosines = self._exact_cosines(
            np.concatenate(chosen),
            np.array([query.vector for query in queries]),
            np.array([query.norm for query in queries]),
            np.repeat(np.arange(len(queries)), counts),
        )
        return np.split(cosines, np.cumsum(counts)[:-1])


def _within(rows: Rows, count: int) -> Rows:
    """Those of an older state."""
    return rows[: int(np.searchsorted(rows, count))]


def row_mask(rows: Rows, count: int) -> NDArray[np.bool_]:
    """Which of so many rows these are."""
    mask = np.zeros(count, dtype=np.bool_)
    mask[_within(rows, count)] = True
    return mask
