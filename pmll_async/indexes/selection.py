"""Selection: which rows may be among the best, from float32 scores that are nearly right."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.protocols import Columns, Hit, RankQuery
from pmll_async.values.concert import Float32, Float64

Rows = NDArray[np.int64]

NOT_A_COSINE: Final = np.float32(-2.0)
NO_ROWS: Final[Rows] = np.empty(0, dtype=np.int64)
_NO_COSINES: Final[Float32] = np.empty(0, dtype=np.float32)
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
    borderline: list[Rows] = field(default_factory=list)
    threshold: float = -math.inf

    def offer(self, weights: Float32, cosines: Float32, first: int) -> None:
        """Take what may be among the best of the rows from `first` on; changes `weights`."""
        rows = self._promising(weights)
        if self.floor is not None and not (cosines[rows] >= self.floor + self.margin).all():
            # Rows that may or may not reach the floor neither set the threshold nor get lost.
            out = cosines < self.floor + self.margin
            maybe = np.flatnonzero(out & (cosines >= self.floor - self.margin))
            if len(maybe):
                self.borderline.append(maybe[weights[maybe] > -np.inf] + first)
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
        pieces = zip(self.rows, self.weights, strict=True)
        rows = [rows[weights >= self.threshold - self.slack] for rows, weights in pieces]
        rows += self.borderline
        return np.concatenate(rows) if rows and self.k else NO_ROWS


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


class Near:
    """Rows that were within the margin of the largest cosine known when they were seen."""

    def __init__(self) -> None:
        self._owners, self._rows, self._cosines = [NO_ROWS], [NO_ROWS], [_NO_COSINES]

    def add(self, cosines: Float32, cuts: Float32, first: int) -> None:
        """Those of one block (queries, rows) that reach their query's cut."""
        found = np.flatnonzero(cosines >= np.maximum(cuts, NOT_A_COSINE)[:, None])
        owners, rows = np.divmod(found, cosines.shape[1])
        self._owners.append(owners)
        self._rows.append(rows + first)
        self._cosines.append(cosines.ravel()[found])

    def within(self, cuts: Float32) -> tuple[Rows, Rows]:
        """Owners and rows of those that reach the final cuts."""
        owners, rows = np.concatenate(self._owners), np.concatenate(self._rows)
        reach = np.concatenate(self._cosines) >= cuts[owners]
        return owners[reach], rows[reach]


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


def _lower_bound(weights: Float32, k: int) -> float:
    """A number that at least k weights reach, -inf if there are not so many chunks.

    The k-th largest of the maxima of chunks is one, and costs a third of a partition.
    """
    chunks = len(weights) // _CHUNK
    if not 0 < k <= chunks:
        return -math.inf
    tops = weights[: chunks * _CHUNK].reshape(chunks, _CHUNK).max(axis=1)
    return float(np.partition(tops, chunks - k)[chunks - k])
