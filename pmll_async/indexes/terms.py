"""What a weight has beside the similarity, as float32 columns that one state's queries share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pmll_async.protocols import Columns, RankQuery
from pmll_async.values.concert import Concert, Float32


class Terms:
    """weight = slope · cosine + base, for selecting rows; rows out of the question have base -inf.

    The recencies of a state are computed once, as of its latest timestamp: exp(-(now - t)/τ) is
    exp(-(now - latest)/τ) · exp(-(latest - t)/τ), and a later `now` changes the first factor only.
    """

    def __init__(self, columns: Columns, concert: Concert, *, branches: bool) -> None:
        self._columns, self._concert, self._branches = columns, concert, branches
        strengths = columns.strengths.astype(np.float32)
        live = columns.live if branches else columns.live & columns.chain
        self.slope: Float32 = strengths * np.float32(concert.beta)
        self._latest = float(columns.timestamps.max(initial=-math.inf))
        self._faded = strengths * np.float32(concert.alpha) * self._recencies(self._latest)
        self._fixed = strengths * columns.novelties.astype(np.float32) * np.float32(concert.gamma)
        if not live.all():
            np.putmask(self._fixed, ~live, -np.inf)

    def are_of(self, columns: Columns, query: RankQuery) -> bool:
        """Whether they serve this query on these columns."""
        mine = (self._columns, self._concert, self._branches)
        return mine[0] is columns and mine[1] is query.concert and mine[2] == query.branches

    def base(self, query: RankQuery, rows: Any) -> Float32:
        """The bases of rows, a slice or an index array."""
        if query.now < self._latest:
            bases: Float32 = self._from_the_future(query)[rows]
            return bases
        scale = np.float32(math.exp((self._latest - query.now) / self._concert.tau))
        bases = self._faded[rows] * scale
        bases += self._fixed[rows]
        return bases

    def _from_the_future(self, query: RankQuery) -> Float32:
        """The bases where some lines are later than the query's `now`: their recency is 1."""
        strengths = self._columns.strengths.astype(np.float32)
        recencies = self._recencies(query.now)
        return self._fixed + strengths * np.float32(self._concert.alpha) * recencies

    def _recencies(self, now: float) -> Float32:
        # Ages of any size are fine: they end as a recency of 0.
        with np.errstate(over="ignore"):
            ages = np.maximum(now - self._columns.timestamps, 0.0)
            return np.exp((ages * (-1.0 / self._concert.tau)).astype(np.float32))
