"""Selection: which rows may be among the best, from scores that are nearly right."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.indexes.keys import NO_ROWS
from pmll_async.indexes.rows import Rows
from pmll_async.protocols import Columns, Hit, RankQuery
from pmll_async.values.concert import Concert, Float32, Float64

_CHUNK: Final = 64
_ROOM: Final = 64
_EPOCH: Final = 40.0
"""Terms are made anew where lines are so many τ behind their epoch: exp of 88 is float32's last."""
_MANY_TIES: Final = 256
_MORE: Final = 16
"""So many rows more than are wanted are sooner scored one by one than looked at together."""
_FILLED: Final = 16384


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

    def leading(self) -> Rows:
        """The `k` rows that are the best as far as is known, or all there are."""
        if not self.rows or not self.k:
            return NO_ROWS
        rows, weights = np.concatenate(self.rows), np.concatenate(self.weights)
        place = max(0, len(rows) - self.k)
        best: Rows = rows[np.argpartition(weights, place)[place:]]
        return best

    def sharpen(self, weights: Float64, wrong: float) -> None:
        """Take note of what `k` rows weigh; those weights may be wrong by `wrong` alone."""
        if len(weights) == self.k > 0:
            # Of what is offered only half of the slack is in question then.
            known = float(weights.min()) - wrong + self.slack / 2
            self.threshold = max(self.threshold, known)

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
    if len(rows) > query.k + _MORE:
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

    Recencies are computed once, as of an epoch: exp(-(now - t)/τ) is exp((epoch - now)/τ) ·
    exp((t - epoch)/τ), and a later `now` changes the first factor only. So the terms of a state
    that has some more rows are those of the one before and theirs.
    """

    def __init__(self, columns: Columns, concert: Concert, *, branches: bool) -> None:
        self._columns, self._concert, self._branches = columns, concert, branches
        self._latest = self._epoch = float(columns.timestamps.max(initial=-math.inf))
        room = columns.count + columns.count // 8 + _ROOM
        self._slope, self._faded, self._fixed = (np.empty(room, np.float32) for _ in range(3))
        self._fill(slice(0, columns.count))

    def of(self, columns: Columns, concert: Concert, *, branches: bool) -> Terms:
        """Those of another state, made of these where that has the same rows and more."""
        mine, first = self._columns, self._columns.count
        if columns is mine and self._is_of(concert, branches):
            return self
        latest = max(self._latest, float(columns.timestamps[first:].max(initial=-math.inf)))
        if (
            self._is_of(concert, branches)
            and _goes_on(mine.strengths, columns.strengths)
            and _goes_on(mine.live, columns.live)
            and columns.count <= len(self._slope)
            and latest - self._epoch <= _EPOCH * concert.tau
        ):
            return copy(self)._grow(columns, latest)  # noqa: SLF001  # one of its own
        return Terms(columns, concert, branches=branches)

    def goes_on(self, before: Terms) -> bool:
        """Whether these are the others and those of more rows."""
        return self._slope is before._slope

    def _is_of(self, concert: Concert, branches: bool) -> bool:
        return self._concert is concert and self._branches == branches

    def _grow(self, columns: Columns, latest: float) -> Terms:
        first = self._columns.count
        self._columns, self._latest = columns, latest
        self._fill(slice(first, columns.count))
        return self

    def _fill(self, rows: slice) -> None:
        """Some at a time, so that what is needed in between stays small."""
        for start in range(rows.start, rows.stop, _FILLED):
            self._fill_some(slice(start, min(start + _FILLED, rows.stop)))

    def _fill_some(self, rows: slice) -> None:
        columns, concert = self._columns, self._concert
        strengths = columns.strengths[rows].astype(np.float32)
        live = columns.live[rows] if self._branches else columns.live[rows] & columns.chain[rows]
        fixed = strengths * columns.novelties[rows].astype(np.float32) * np.float32(concert.gamma)
        # Ages of any size are fine: they end as a recency of 0.
        with np.errstate(over="ignore"):
            ages = (columns.timestamps[rows] - self._epoch) * (1.0 / concert.tau)
            faded = strengths * np.float32(concert.alpha) * np.exp(ages.astype(np.float32))
        # At once, because another thread may read what this one makes a second time.
        self._slope[rows] = strengths * np.float32(concert.beta)
        self._faded[rows] = faded
        self._fixed[rows] = np.where(live, fixed, np.float32(-np.inf))

    @property
    def count(self) -> int:
        """How many rows it has."""
        return self._columns.count

    @property
    def latest(self) -> float:
        """When the latest line happened."""
        return self._latest

    @property
    def slope(self) -> Float32:
        """What a cosine is multiplied with, by row."""
        return self._slope[: self._columns.count]

    def base(self, query: RankQuery, rows: Any) -> Float32:
        """The bases of rows, a slice or an index array."""
        if query.now < self._latest:
            return self._from_the_future(query, rows)
        return self._base_at(query.now, rows)

    def peaks(self, first: int) -> Float32:
        """The most that bases from row `first` on are for a query after the latest line."""
        # Recencies only fall: they were largest when that line was new.
        return self._base_at(self._latest, slice(first, None))

    def scale(self, now: float) -> float:
        """What recencies of the epoch are multiplied with, for a query after the latest line."""
        return math.exp((self._epoch - now) / self._concert.tau)

    def parts(self, first: int) -> tuple[Float32, Float32, Float32]:
        """From row `first` on the slope, and of the base what fades and what does not."""
        span = slice(first, self._columns.count)
        return self._slope[span], self._faded[span], self._fixed[span]

    def _base_at(self, now: float, rows: Any) -> Float32:
        count = self._columns.count
        bases: Float32 = self._faded[:count][rows] * np.float32(self.scale(now))
        bases += self._fixed[:count][rows]
        return bases

    def _from_the_future(self, query: RankQuery, rows: Any) -> Float32:
        """The bases where some lines are later than the query's `now`: their recency is 1."""
        columns, concert = self._columns, self._concert
        with np.errstate(over="ignore"):
            ages = np.maximum(query.now - columns.timestamps[rows], 0.0)
            recencies = np.exp((ages * (-1.0 / concert.tau)).astype(np.float32))
        bases: Float32 = columns.strengths[rows].astype(np.float32) * np.float32(concert.alpha)
        bases *= recencies
        bases += self._fixed[: columns.count][rows]
        return bases


def _goes_on(before: NDArray[Any], after: NDArray[Any]) -> bool:
    """Whether one column is the other with more rows: a ledger changes none in its place."""
    return before.base is not None and before.base is after.base and len(before) <= len(after)


def _lower_bound(weights: Float32, k: int) -> float:
    """A number that at least k weights reach, -inf if there are not so many chunks.

    The k-th largest of the maxima of chunks is one, and costs a third of a partition.
    """
    chunks = len(weights) // _CHUNK
    if not 0 < k <= chunks:
        return -math.inf
    tops = weights[: chunks * _CHUNK].reshape(chunks, _CHUNK).max(axis=1)
    return float(np.partition(tops, chunks - k)[chunks - k])
