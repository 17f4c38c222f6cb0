"""The measures against numbers worked out by hand, and the bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pmll_async.evaluation.measures import (
    MEASURES,
    estimates,
    measure,
    ndcg,
    recall,
    reciprocal_rank,
)

FOUND = list("abcdefghijklmnopqrst")


@pytest.mark.parametrize(
    ("evidence", "k", "expected"),
    [("a", 5, 1.0), ("f", 5, 0.0), ("f", 10, 1.0), ("afz", 5, 1 / 3), ("afz", 10, 2 / 3)],
)
def test_recall_is_the_share_of_the_evidence_among_the_first(
    evidence: str, k: int, expected: float
) -> None:
    assert recall(FOUND, frozenset(evidence), k) == pytest.approx(expected)


@pytest.mark.parametrize(("evidence", "expected"), [("a", 1.0), ("cd", 1 / 3), ("z", 0.0)])
def test_the_reciprocal_rank_is_that_of_the_first_evidence(evidence: str, expected: float) -> None:
    assert reciprocal_rank(FOUND, frozenset(evidence)) == pytest.approx(expected)


def test_ndcg_is_the_gain_over_the_greatest_gain() -> None:
    third = 1 / math.log2(4)
    assert ndcg(FOUND, frozenset("a"), 10) == 1.0
    assert ndcg(FOUND, frozenset("c"), 10) == pytest.approx(third)
    assert ndcg(FOUND, frozenset("az"), 10) == pytest.approx(1 / (1 + 1 / math.log2(3)))
    assert ndcg(FOUND, frozenset("k"), 10) == 0.0


def test_ndcg_is_1_when_the_first_are_all_evidence_and_there_is_more() -> None:
    assert ndcg(FOUND, frozenset(FOUND), 10) == pytest.approx(1.0)


def test_a_question_is_measured_in_every_way() -> None:
    measured = dict(zip(MEASURES, measure(FOUND, frozenset("bfz")), strict=True))
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert measured == pytest.approx(
        {
            "recall@5": 1 / 3,
            "recall@10": 2 / 3,
            "recall@20": 2 / 3,
            "mrr": 1 / 2,
            "ndcg@10": (1 / math.log2(3) + 1 / math.log2(7)) / ideal,
        }
    )


def test_nothing_found_is_0_in_every_way() -> None:
    assert measure([], frozenset("a")) == (0.0,) * len(MEASURES)


def test_one_seed_gives_one_interval() -> None:
    values = np.random.default_rng(7).random((50, 3))
    assert estimates(values, 1) == estimates(values, 1)
    assert estimates(values, 1) != estimates(values, 2)


def test_an_interval_is_around_its_mean_and_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(7).random((400, 1))
    found = estimates(values, 0)[0]
    assert found.mean == pytest.approx(values.mean())
    assert found.low < found.mean < found.high
    error = values.std() / math.sqrt(len(values))
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_values_that_are_all_equal_leave_no_doubt() -> None:
    found = estimates(np.full((9, 1), 0.5), 0)[0]
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
