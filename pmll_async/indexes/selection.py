"""Selection: which rows may be among the best, from scores that are nearly right."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from pmll_async.indexes.keys import NO_ROWS, Rows
from pmll_async.protocols import Columns, Hit, RankQuery
from pmll_async.values.concert import Concert, Float32, Float64

_CHUNK: Final = 64
_MANY_TIES: Final = 256


@dataclass(slots=True, eq=False)
class Best:
    """The rows that may be among one query's `k` best so far.

    `floor` is None where every cosine passes. Cosines may be wrong by `margin`, weights by half of
    `slack`.
    """

    k: int
    floor: float | None
    margin: float
    slack: float
    rows: list[Rows] = field(default_factory=list)
    weights: list[Float32] = field(default_factory=list)
    borderline: list[tuple[Rows, Float32]] = field(default_factory=list)
    """Rows that may or may not reach the floor, and their weights."""
    forced: Rows = field(default_factory=NO_ROWS.copy)
    """Rows of which no score is known."""
    threshold: float = -math.inf

    def offer(self, weights: Float32, cosines: Float32, first: int) -> None:
        """Take what may be among the best of the rows from `first` on; changes `weights`."""
        rows = self._promising(weights)
        if self.floor is not None and not (cosines[rows] >= self.floor + self.margin).all():
            # What may or may not reach the floor neither sets the threshold nor gets lost.
            out = cosines < self.floor + self.margin
            maybe = np.flatnonzero(out & (cosines >= self.floor - self.margin))
            maybe = maybe[weights[maybe] > -np.inf]
            self.borderline.append((maybe + first, weights[maybe]))
            np.putmask(weights, out, -np.inf)
            rows = self._promising(weights)
        if not len(rows):
            return
        self.rows.append(rows + first)
        self.weights.append(weights[rows])
        known = np.concatenate(self.weights)
        if len(known) >= self.k > 0:
            self.threshold = float(np.partition(known, len(known) - self.k)[len(known) - self.k])

    def _promising(self, weights: Float32) -> Rows:
        if self.threshold > -math.inf:
            # Most blocks have little to offer beside what is known, which one look tells.
            rows = np.flatnonzero(weights >= self.threshold - self.slack)
            if len(rows) <= _MANY_TIES:
                return rows
        cut = max(self.threshold, _lower_bound(weights, self.k)) - self.slack
        return np.flatnonzero(weights >= cut if cut > -np.inf else weights > -np.inf)

    def chosen(self) -> Rows:
        """The rows that may be among the best, each once."""
        if not self.k:
            return NO_ROWS
        pieces = [*zip(self.rows, self.weights, strict=True), *self.borderline]
        rows = [rows[weights >= self.threshold - self.slack] for rows, weights in pieces]
        return np.concatenate([*rows, self.forced])


def best_hits(columns: Columns, query: RankQuery, rows: Rows, cosines: Float64) -> list[Hit]:
    """The best k of the rows, in order, by their exact weights."""
    concert = query.concert
    if len(rows) > _MANY_TIES:
        rows, cosines = _surely_best(columns, query, rows, cosines)
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


def _surely_best(
    columns: Columns, query: RankQuery, rows: Rows, cosines: Float64
) -> tuple[Rows, Float64]:
    """Fewer of many rows: those whose weights, right but for the last bits, may be the best."""
    concert = query.concert
    with np.errstate(over="ignore"):
        ages = np.maximum(query.now - columns.timestamps[rows], 0.0)
    parts = concert.alpha * np.exp(-ages / concert.tau) + concert.beta * cosines
    weights = columns.strengths[rows] * (parts + concert.gamma * columns.novelties[rows])
    weights[cosines < query.floor] = -np.inf
    k = min(query.k, len(rows))
    cut = float(np.partition(weights, len(rows) - k)[len(rows) - k])
    keep = weights >= cut - 1e-9 * concert.margin
    return rows[keep], cosines[keep]


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


def _lower_bound(weights: Float32, k: int) -> float:
    """A number that at least k weights reach, -inf if there are not so many chunks.

    The k-th largest of the maxima of chunks is one, and costs a third of a partition.
    """
    chunks = len(weights) // _CHUNK
    if not 0 < k <= chunks:
        return -math.inf
    tops = weights[: chunks * _CHUNK].reshape(chunks, _CHUNK).max(axis=1)
    return float(np.partition(tops, chunks - k)[chunks - k])
