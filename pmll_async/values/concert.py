"""The concert: the weights and mathematics of ranking (design, section 3)."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict

from pmll_async.errors import InvalidInputError
from pmll_async.values.exact import (
    Float32,
    Float64,
    clamp_cosine,
    exact_dots,
    exact_norm,
    exact_norms,
    weighted_bias,
)

__all__ = [
    "Concert",
    "Float32",
    "Float64",
    "clamp_cosine",
    "exact_dots",
    "exact_norm",
    "exact_norms",
    "novelty_of",
    "weighted_bias",
]

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
    # Two calls of builtins would take three times as long, at every line.
    if similarity <= 0.0:
        return 1.0
    return 0.0 if similarity >= 1.0 else 1.0 - similarity
