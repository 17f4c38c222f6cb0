"""Approximate selection: codes propose rows, exact weights decide among them.

The best by weight need not be among the most similar: a line may be new, novel or strong instead.
All of a weight but the similarity is known of every row, and whatever the codes do not propose is
hardly more similar than the last that they do. That bounds its weight, as in Fagin's threshold
algorithm, and the rows that could still be among the best are looked at, too: the newest, the most
novel and the strongest, as many as it takes. So a row is missed only where its code says much less
of its similarity than the codes of the last ones proposed say of theirs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.errors import InvalidInputError
from pmll_async.indexes.coder import Coder, Kernel, Rows
from pmll_async.indexes.exact import ExactIndex
from pmll_async.indexes.keys import GATHER_SHARE, unit_rows
from pmll_async.indexes.selection import Terms
from pmll_async.loop.breathing import Breather
from pmll_async.protocols import SMALL_PRODUCT, Columns, Hit, RankQuery
from pmll_async.values.concert import Float32, Float64

SHORTLIST: Final = 1024
"""Finds 999 of the best 1000 among embeddings of sentences; a tenth of them need be looked at."""
_FIRST: Final = 128
"""So many rows set a threshold, and show how far codes err."""
_DOUBT: Final = 1.5
"""Other codes may err so many times as far. Measured on hashed texts: with 1 and 64 first rows 5 to
13 of 1000 are missed, with these less than one."""
_PER_HIT: Final = 4
"""Both are at least so many for each row that is wanted."""
_WIDER: Final = 4
"""If a shortlist does not settle it, the next one is so many times as long."""
_SEARCH: Final = 2
"""To look at so many rows for each that codes propose takes less than to have them propose more."""
_MOST: Final = 8
"""With a shortlist of more than 1/8 of the rows the work is as much as that of a scan."""
_MARGIN: Final = 1e-5
"""How far a float32 cosine may be from the exact one, up to 1024 dimensions; then it grows."""


class ApproximateIndex(ABC):
    """Finds the best by codes of the keys, and scores and orders them as `ExactIndex` does.

    `nearest`, `cosines`, narrow filters and small lattices are exact. So is everything until codes
    are there, which are made in the background, and with `exact=True`. Codes propose `shortlist`
    rows at first.
    """

    def __init__(self, *, exact: bool = False, shortlist: int = SHORTLIST) -> None:
        if shortlist < 1:
            raise InvalidInputError(f"a shortlist has at least one row, not {shortlist}")
        self._is_exact, self._shortlist = exact, shortlist
        self.open(0)

    @abstractmethod
    def _kernel(self, dim: int) -> Kernel:
        """A new kernel, for keys of `dim` dimensions."""

    def open(self, dim: int) -> None:
        """See `Index.open`."""
        # New ones, because the background may still be coding keys of the old.
        self._exact, self._dim = ExactIndex(), dim
        self._exact.open(dim)
        self._coder = Coder(lambda: self._kernel(dim), self._exact.units)
        self._standing: Standing | None = None

    def add(self, keys: Float32, norms: Float64) -> None:
        """See `Index.add`."""
        self._exact.add(keys, norms)
        self._coder.count += len(keys)

    def nearest(
        self, columns: Columns, keys: Float32, norms: Float64, start: int = 0
    ) -> list[tuple[float, int] | None]:
        """See `Index.nearest`; exact, because a line's novelty is a fact of the chain."""
        return self._exact.nearest(columns, keys, norms, start)

    def cosines(
        self, count: int, vector: Float32, norm: float, rows: NDArray[np.int64] | None = None
    ) -> Float32:
        """See `SupportsCosines.cosines`."""
        return self._exact.cosines(count, vector, norm, rows)

    def build(self) -> None:
        """Train and code in this thread what the background would after a question; blocks."""
        if not self._is_exact:
            self._coder.build()

    def rank(self, columns: Columns, queries: Sequence[RankQuery]) -> list[list[Hit]]:
        """See `Index.rank`."""
        found = self._found(columns, queries)
        if not found:
            return self._exact.rank(columns, queries)
        others = [place for place in range(len(queries)) if place not in found]
        hits = [
            *self._exact.rescore(columns, [queries[i] for i in found], list(found.values())),
            *self._exact.rank(columns, [queries[i] for i in others]),
        ]
        return [each for _, each in sorted(zip([*found, *others], hits, strict=True))]

    def _found(self, columns: Columns, queries: Sequence[RankQuery]) -> dict[int, Rows]:
        """What may be among the best of each query that codes can answer, by its place."""
        settled: dict[int, Rows] = {}
        lengths: dict[int, list[int]] = {}
        for place, query in enumerate(queries):
            length = max(self._shortlist, _PER_HIT * query.k)
            if length * _MOST <= columns.count and self._suits(columns, query):
                lengths.setdefault(length, []).append(place)
        breathe = Breather()
        for length, places in lengths.items():
            units = unit_rows(
                np.array([queries[place].vector for place in places]),
                np.array([queries[place].norm for place in places]),
            )
            found = self._coder.search(columns.count, units, length)
            if found is None:
                continue
            coded, products, proposed = found
            for i, place in enumerate(places):
                if len(places) > 1:
                    breathe()
                first = (coded, products[i], proposed[i])
                rows = self._candidates(columns, queries[place], units[i : i + 1], first)
                if rows is not None:
                    settled[place] = rows
        return settled

    def _suits(self, columns: Columns, query: RankQuery) -> bool:
        """Whether codes may answer this query, and sooner than an exact scan."""
        concert = query.concert
        return (
            not self._is_exact
            and query.k > 0
            # A small product runs on the event loop, where nothing may be coded.
            and columns.count * self._dim > SMALL_PRODUCT
            # Else less similar or older lines could weigh more, and nothing would be a bound.
            and min(concert.alpha, concert.beta, concert.gamma) >= 0
            and (query.rows is None or len(query.rows) * GATHER_SHARE >= columns.count)
        )

    def _candidates(
        self,
        columns: Columns,
        query: RankQuery,
        unit: Float32,
        found: tuple[int, Float32, Rows] | None,
    ) -> Rows | None:
        """The rows that may be among the best; None where only a scan can tell."""
        standing = self._standing_of(columns, query)
        while found is not None:
            coded, products, proposed = found
            pick = Pick(self._exact, columns, query, standing)
            if pick.settle(products, proposed, np.arange(coded, columns.count)):
                return pick.chosen()
            length = _WIDER * len(products)
            if length * _MOST > columns.count:
                break
            wider = self._coder.search(columns.count, unit, length)
            found = wider and (wider[0], wider[1][0], wider[2][0])
        return None

    def _standing_of(self, columns: Columns, query: RankQuery) -> Standing:
        """Kept from query to query while the state is the same."""
        standing = self._standing
        if standing is None:
            standing = Standing(Terms(columns, query.concert, branches=query.branches))
        self._standing = standing = standing.of(columns, query)
        return standing


class Standing:
    """What every row's weight has beside the similarity, and the most that it ever is."""

    def __init__(self, terms: Terms, peaks: Float32 | None = None, steepest: float = 0.0) -> None:
        """Of these terms; `peaks` and `steepest` are known of their first rows."""
        self.terms = terms
        known = 0 if peaks is None else len(peaks)
        self._steepest = float(terms.slope[known:].max(initial=steepest))
        more = terms.peaks(known)
        self._peaks = more if peaks is None else np.concatenate([peaks, more])

    def of(self, columns: Columns, query: RankQuery) -> Standing:
        """That of another state, made of this one where it has the same rows and more."""
        terms = self.terms.of(columns, query.concert, branches=query.branches)
        if terms is self.terms:
            return self
        if terms.goes_on(self.terms):
            return Standing(terms, self._peaks, self._steepest)
        return Standing(terms)

    def reaching(self, query: RankQuery, similarity: float, weight: float) -> tuple[Rows, Float32]:
        """The rows that would weigh so much if they were so similar, and what they would weigh."""
        bases = self._peaks
        if query.now < self.terms.latest:
            bases = self.terms.base(query, slice(None))
        rows = np.flatnonzero(bases >= weight - self._steepest * max(similarity, 0.0))
        most = self.terms.base(query, rows) + self.terms.slope[rows] * np.float32(similarity)
        reach = most >= weight
        return rows[reach], most[reach]


class Pick:
    """The rows that one query has looked at, and the weight of the k-th best of them."""

    def __init__(
        self, exact: ExactIndex, columns: Columns, query: RankQuery, standing: Standing
    ) -> None:
        self._exact, self._count = exact, columns.count
        self._query, self._standing = query, standing
        self._margin = _MARGIN * max(1.0, len(query.vector) / 1024)
        self._slack = 2 * self._margin * query.concert.margin
        self._seen = np.zeros(columns.count, dtype=np.bool_)
        """Rows that need not be looked at any more, or never."""
        self._asked: NDArray[np.bool_] | None = None
        if query.rows is not None:
            self._seen[:] = True
            self._seen[query.rows[: int(np.searchsorted(query.rows, columns.count))]] = False
            self._asked = ~self._seen
        self._rows: list[Rows] = []
        self._weights: list[Float32] = []
        self._best = np.empty(0, dtype=np.float32)
        self._threshold = -math.inf

    def look(self, rows: Rows) -> tuple[NDArray[np.bool_], Float32]:
        """Weigh rows, each once; which of them the query may return, and the cosines of those."""
        query, terms = self._query, self._standing.terms
        bases = terms.base(query, rows)
        is_open = bases > -np.inf
        if self._asked is not None:
            is_open &= self._asked[rows]
        rows, bases = rows[is_open], bases[is_open]
        cosines = self._exact.cosines(self._count, query.vector, query.norm, rows)
        weights = cosines * terms.slope[rows] + bases
        maybe = cosines >= query.floor - self._margin
        self._rows.append(rows[maybe])
        self._weights.append(weights[maybe])
        # A row that may be under the floor is kept, but pushes no other out.
        self._raise(weights[cosines >= query.floor + self._margin])
        return is_open, cosines

    def _raise(self, weights: Float32) -> None:
        self._best = np.concatenate([self._best, weights])
        place = len(self._best) - self._query.k
        if place >= 0:
            self._best = np.partition(self._best, place)[place:]
            self._threshold = float(self._best[0])

    def settle(self, products: Float32, proposed: Rows, uncoded: Rows) -> bool:
        """Look at what could be among the best; False if that is too much to look at.

        `products` are what the codes say of the similarities of the proposed rows, largest first.
        """
        likely, error = self._propose(products, proposed, uncoded)
        similarity = float(products[-1]) + error
        if self._threshold == -math.inf or similarity < self._query.floor - self._margin:
            self.look(likely)
            return similarity < self._query.floor - self._margin
        for _ in range(2):
            rows, most = self._unseen(similarity)
            is_enough = len(rows) <= _SEARCH * len(products)
            # The best of many raise the threshold: those that are new where most are old, say.
            rows = rows if is_enough else rows[_largest(most, _FIRST)]
            self.look(np.sort(np.concatenate([likely, rows])))
            if is_enough:
                return True
            self._seen[rows], likely = True, rows[:0]
        return False

    def _propose(self, products: Float32, proposed: Rows, uncoded: Rows) -> tuple[Rows, float]:
        """Look at the first proposals; the others that could be good, and how far codes err."""
        # Which of equal last ones are there is chance, so that none of them is taken.
        taken = np.flatnonzero(products > products[-1])
        taken = taken[np.argsort(proposed[taken])]
        products, rows = products[taken], proposed[taken]
        terms = self._standing.terms
        slopes = terms.slope[rows]
        weights = terms.base(self._query, rows) + slopes * products
        # Ascending, because rows of one block are gathered together.
        first = np.sort(_largest(weights, max(_FIRST, _PER_HIT * self._query.k)))
        is_open, cosines = self.look(np.concatenate([rows[first], uncoded]))
        coded = is_open[: len(first)]
        errors = cosines[: int(coded.sum())] - products[first][coded]
        error = float(errors.max(initial=0.0))
        likely = weights + slopes * np.float32(_DOUBT * error) >= self._threshold - self._slack
        likely[first] = False
        self._seen[rows] = self._seen[uncoded] = True
        return rows[likely], error

    def _unseen(self, similarity: float) -> tuple[Rows, Float32]:
        cut = self._threshold - self._slack
        rows, most = self._standing.reaching(self._query, similarity, cut)
        unseen = ~self._seen[rows]
        return rows[unseen], most[unseen]

    def chosen(self) -> Rows:
        """The rows that may be among the best, ascending."""
        rows, weights = np.concatenate(self._rows), np.concatenate(self._weights)
        chosen: Rows = np.sort(rows[weights >= self._threshold - self._slack])
        return chosen


def _largest(weights: Float32, many: int) -> Rows:
    """The places of the largest of the weights, `many` of them or all there are."""
    if len(weights) <= many:
        return np.arange(len(weights))
    return np.argpartition(-weights, many)[:many]
