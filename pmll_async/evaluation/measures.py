"""Measures of a ranking against the evidence that it should find, and how sure their means are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from pmll_async.values.concert import Float64

MEASURES: Final = ("recall@5", "recall@10", "recall@20", "mrr", "ndcg@10")
DEPTH: Final = 20
"""How much of a ranking is looked at."""
# With so many the ends of an interval move by less than what is printed of them.
_RESAMPLES: Final = 2000
_COVERED: Final = 95.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over questions, and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def measure(found: Sequence[str], evidence: frozenset[str]) -> tuple[float, ...]:
    """`MEASURES` of one question, from the ids found, best first."""
    return (
        *(recall(found, evidence, k) for k in (5, 10, 20)),
        reciprocal_rank(found, evidence),
        ndcg(found, evidence, 10),
    )


def recall(found: Sequence[str], evidence: frozenset[str], k: int) -> float:
    """The share of the evidence among the first k."""
    return len(evidence.intersection(found[:k])) / len(evidence)


def reciprocal_rank(found: Sequence[str], evidence: frozenset[str]) -> float:
    """One over the rank of the first evidence; 0 if none was found."""
    ranks = (rank for rank, each in enumerate(found, 1) if each in evidence)
    return 1 / next(ranks, math.inf)


def ndcg(found: Sequence[str], evidence: frozenset[str], k: int) -> float:
    """Discounted cumulative gain of the first k, each evidence gaining 1, over the greatest."""
    gains = sum(_discount(rank) for rank, each in enumerate(found[:k], 1) if each in evidence)
    return gains / sum(map(_discount, range(1, min(k, len(evidence)) + 1)))


def _discount(rank: int) -> float:
    return 1 / math.log2(rank + 1)


def estimates(values: Float64, seed: int) -> list[Estimate]:
    """The means of values (questions, measures) with percentile bootstrap intervals.

    Questions are resampled, so that an interval speaks of other questions about the same
    conversations. One seed resamples alike for every method.
    """
    count = len(values)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), _RESAMPLES)
    means = draws @ values / count
    outside = (100 - _COVERED) / 2
    low, high = np.percentile(means, [outside, 100 - outside], axis=0)
    return [
        Estimate(*map(float, estimate))
        for estimate in zip(values.mean(axis=0), low, high, strict=True)
    ]
