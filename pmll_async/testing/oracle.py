"""Ranking and novelty by brute force, over every key in float64: what an index agrees with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmll_async.protocols import Columns, Hit, RankQuery
from pmll_async.values.concert import (
    Concert,
    Float32,
    Float64,
    clamp_cosine,
    exact_dots,
    exact_norm,
    exact_norms,
)

# Several near each other: an index that selects too tightly misses one of them.
_PER_CLUSTER = 8


def norms_of(keys: Float32) -> Float64:
    """The lengths (m,) of keys (m, dim)."""
    return exact_norms(keys)


def cosines(keys: Float32, vector: Float32) -> Float64:
    """The cosine (m,) of each key (m, dim) with a vector (dim,)."""
    return clamp_cosine(exact_dots(keys, vector), norms_of(keys), exact_norm(vector))


def rank(keys: Float32, columns: Columns, query: RankQuery) -> list[Hit]:
    """What `Index.rank` must return for one query over `keys` (count, dim)."""
    allowed = columns.live if query.branches else columns.live & columns.chain
    if query.rows is not None:
        allowed = allowed & np.isin(np.arange(columns.count), query.rows)
    rows = np.flatnonzero(allowed)
    similarities = cosines(keys[rows], query.vector).tolist()
    hits = [
        _hit(columns, query, row, similarity)
        for row, similarity in zip(rows.tolist(), similarities, strict=True)
        if similarity >= query.floor
    ]
    # Equal weights are common: duplicates, and lines that decayed to nothing.
    hits.sort(key=lambda hit: (-hit.weight, -columns.order[hit.row], columns.anchors[hit.row]))
    return hits[: query.k]


def nearest(
    keys: Float32, columns: Columns, key: Float32, start: int = 0
) -> tuple[float, int] | None:
    """What `Index.nearest` must return for one key (dim,)."""
    rows = np.flatnonzero(columns.live & columns.chain)
    rows = rows[rows >= start]
    if not len(rows):
        return None
    found = cosines(keys[rows], key)
    first = int(np.argmax(found))
    return float(found[first]), int(rows[first])


def _hit(columns: Columns, query: RankQuery, row: int, similarity: float) -> Hit:
    recency = query.concert.recency(float(columns.timestamps[row]), query.now)
    weight = query.concert.weight(
        strength=float(columns.strengths[row]),
        recency=recency,
        similarity=similarity,
        novelty=float(columns.novelties[row]),
    )
    return Hit(row, similarity, recency, weight)


# --- lattices to rank --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Landscape:
    """Keys (count, dim) and their columns, rich in ties and near ties."""

    keys: Float32
    columns: Columns
    now: float

    @property
    def norms(self) -> Float64:
        """The lengths of the keys."""
        return norms_of(self.keys)

    def query(
        self,
        vector: Float32,
        k: int = 10,
        *,
        concert: Concert | None = None,
        floor: float | None = None,
        rows: NDArray[np.int64] | None = None,
        branches: bool = True,
    ) -> RankQuery:
        """A question to this landscape."""
        concert = Concert() if concert is None else concert
        return RankQuery(
            vector=vector,
            norm=exact_norm(vector),
            k=k,
            now=self.now,
            concert=concert,
            floor=concert.floor if floor is None else floor,
            rows=rows,
            branches=branches,
        )


def landscape(seed: int, count: int, dim: int) -> Landscape:
    """Clustered keys with exact and near duplicates, few distinct times, strengths and novelties.

    About one row in eight is dead, and one in eight a branch of the record of the row before.
    """
    random = np.random.default_rng(seed)
    keys = _clustered(random, count, dim)
    chain = random.random(count) > 1 / 8
    chain[:1] = True
    now = 1_700_000_000.0
    columns = Columns(
        count=count,
        timestamps=now - random.choice([-60.0, 0.0, 1.0, 3600.0, 1e5, 1e9], count),
        novelties=random.choice([0.0, 0.25, 1.0], count),
        strengths=random.choice([0.0, 0.05, 0.5, 1.0, 1.0], count),
        live=random.random(count) > 1 / 8,
        chain=chain,
        order=np.cumsum(chain) - 1,
        anchors=random.integers(0, 2**64, count, dtype=np.uint64, endpoint=False),
    )
    return Landscape(keys, columns, now)


def vectors_near(seed: int, keys: Float32, count: int) -> Float32:
    """Vectors (count, dim) to ask with: keys themselves, almost keys, and others."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((count, keys.shape[1])).astype(np.float32)
    for number in range(0, count if len(keys) else 0, 2):
        vectors[number] = keys[random.integers(len(keys))]
        if number % 4:
            vectors[number] += 1e-7 * vectors[number - 1]
    vectors[np.all(vectors == 0, axis=1)] = 1.0
    return vectors


def _clustered(random: np.random.Generator, count: int, dim: int) -> Float32:
    centres = random.standard_normal((max(1, count // _PER_CLUSTER), dim))
    keys = centres[random.integers(len(centres), size=count)]
    # No noise at all makes exact duplicates, 1e-7 such as only float64 can tell apart.
    noise = random.choice([0.0, 1e-7, 1e-3, 0.3], (count, 1))
    clustered: Float32 = (keys + noise * random.standard_normal((count, dim))).astype(np.float32)
    clustered[np.all(clustered == 0, axis=1)] = 1.0
    return clustered
