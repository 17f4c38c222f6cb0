"""The concert: the weights and mathematics of ranking (design, section 3)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pmll_async.errors import InvalidInputError

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

SIX_HOURS = 6 * 3600.0


class Concert(BaseModel):
    """α, β, γ, τ and the similarity floor; the defaults are the specification.

    `alpha`, `beta` and `gamma` weigh recency, similarity and novelty; `tau` is in seconds; lines
    less similar to the query than `floor` are not returned.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)

    alpha: float = 0.35
    beta: float = 0.50
    gamma: float = 0.08
    tau: float = SIX_HOURS
    floor: float = 0.15

    def model_post_init(self, _: object) -> None:
        """Refuse what ranks nothing."""
        if self.tau <= 0:
            raise InvalidInputError(f"tau must be positive seconds, not {self.tau}")
        if not -1 <= self.floor <= 1:
            raise InvalidInputError(f"floor must be a cosine, from -1 to 1, not {self.floor}")

    @classmethod
    def cosine(cls) -> Concert:
        """Plain cosine similarity: no recency, no novelty, no floor."""
        return cls(alpha=0.0, beta=1.0, gamma=0.0, floor=-1.0)

    def recency(self, timestamp: float, now: float) -> float:
        """r = exp(-(now - timestamp) / τ); 1 for a line from the future."""
        # A clock that was set back must not lift a line above those of now.
        return math.exp(-max(0.0, now - timestamp) / self.tau)

    def weight(
        self, *, strength: float, recency: float, similarity: float, novelty: float
    ) -> float:
        """w = strength · (α r + β s + γ n), in this order of additions."""
        return strength * (self.alpha * recency + self.beta * similarity + self.gamma * novelty)

    @property
    def margin(self) -> float:
        """How far a float32 weight may be from the exact one, per unit of similarity margin."""
        return 1.0 + abs(self.alpha) + abs(self.beta) + abs(self.gamma)


def novelty_of(similarity: float) -> float:
    """n = 1 - s, clamped to [0, 1]."""
    return min(1.0, max(0.0, 1.0 - similarity))


def exact_dots(rows: Float32, vectors: Float32) -> Float64:
    """Dot products (m,) of rows (m, dim) with one vector (dim,), or with one each (m, dim).

    The same bits in any batching: products of float32 numbers are exact in float64, and numpy adds
    each row pairwise in an order that depends on `dim` alone.
    """
    products = np.multiply(rows, vectors, dtype=np.float64, order="C")
    return np.add.reduce(products, axis=-1)  # type: ignore[no-any-return]  # ufunc stubs say Any


def exact_norm(vector: Float32) -> float:
    """The Euclidean length of a vector (dim,), the same bits wherever it is computed."""
    return math.sqrt(np.add.reduce(np.multiply(vector, vector, dtype=np.float64)))


def exact_norms(rows: Float32) -> Float64:
    """The lengths (m,) of rows (m, dim), each with the bits of `exact_norm`."""
    return np.sqrt(exact_dots(rows, rows))


def clamp_cosine(dots: Float64, norms: Float64, norm: float | Float64) -> Float64:
    """Cosines from dot products and lengths, within [-1, 1]."""
    return np.minimum(np.maximum(dots / (norms * norm), -1.0), 1.0)


def weighted_bias(weights: Iterable[float], values: list[Float32], dim: int) -> Float32:
    """b = Σ w v / Σ w as float32 (dim,); zeros when Σ w ≤ 0. Added in the order given."""
    total, bias = 0.0, np.zeros(dim, dtype=np.float64)
    for weight, value in zip(weights, values, strict=True):
        total += weight
        bias += weight * value.astype(np.float64)
    return (bias / total if total > 0 else np.zeros(dim)).astype(np.float32)
