"""The arithmetic that decides: the same bits for a row, whatever is computed beside it."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from drawing import examples
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pmll_async import Concert
from pmll_async.values.concert import (
    clamp_cosine,
    exact_dots,
    exact_norm,
    exact_norms,
    novelty_of,
    weighted_bias,
)

DIMS = [*range(1, 70), 100, 127, 128, 129, 255, 256, 257, 384, 768, 1000, 1024, 1536, 1999, 2000]


def matrix(seed: int, rows: int, dim: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    scales = 10.0 ** random.integers(-6, 7, (rows, 1))
    return (random.standard_normal((rows, dim)) * scales).astype(np.float32)


@pytest.mark.parametrize("rows", [2, 3, 64, 129])
def test_a_row_alone_and_within_any_matrix(rows: int) -> None:
    for dim in DIMS:
        keys = matrix(dim, rows, dim)
        vector = matrix(dim + 1, 1, dim)[0]
        together = exact_dots(keys, vector)
        alone = [exact_dots(keys[row : row + 1], vector)[0] for row in range(rows)]
        assert together.tolist() == alone, dim
        assert exact_dots(keys[::-1], vector)[::-1].tolist() == alone, dim
        assert exact_dots(keys[::2], vector).tolist() == alone[::2], dim


@pytest.mark.parametrize("dim", [2, 9, 17, 130, 384])
def test_the_layout_of_the_matrix_does_not_matter(dim: int) -> None:
    keys = matrix(dim, 50, dim)
    vector = matrix(dim + 1, 1, dim)[0]
    expected = exact_dots(keys, vector).tolist()
    wide = np.zeros((50, dim + 3), dtype=np.float32)
    wide[:, 1 : dim + 1] = keys
    assert exact_dots(wide[:, 1 : dim + 1], vector).tolist() == expected
    assert exact_dots(np.asfortranarray(keys), vector).tolist() == expected
    read_only = np.frombuffer(keys.tobytes(), dtype="<f4").reshape(50, dim)
    assert exact_dots(read_only, vector).tolist() == expected


def test_many_rows_at_once() -> None:
    keys, vector = matrix(0, 20_000, 7), matrix(1, 1, 7)[0]
    together = exact_dots(keys, vector)
    assert all(
        together[row] == exact_dots(keys[row : row + 1], vector)[0] for row in range(0, 20_000, 97)
    )


def test_a_row_with_itself_is_the_square_of_its_length() -> None:
    for dim in DIMS:
        for key in matrix(dim, 4, dim):
            assert math.sqrt(exact_dots(key[None], key)[0]) == exact_norm(key)


floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
pairs = st.integers(1, 6).flatmap(
    lambda dim: st.tuples(*[st.lists(floats, min_size=dim, max_size=dim)] * 2)
)


@settings(max_examples=examples(100))
@given(pairs)
def test_close_to_the_true_sum(pair: tuple[list[float], list[float]]) -> None:
    row, vector = (np.array(numbers, dtype=np.float32) for numbers in pair)
    products = [Fraction(a) * Fraction(b) for a, b in zip(*pair, strict=True)]
    found = Fraction(float(exact_dots(row[None], vector)[0]))
    assert abs(found - sum(products)) <= Fraction(2) ** -50 * sum(abs(p) for p in products)


@settings(max_examples=examples(100))
@given(pairs)
def test_cosines_are_within_their_range(pair: tuple[list[float], list[float]]) -> None:
    row, vector = (np.array(numbers, dtype=np.float32) for numbers in pair)
    assume(row.any() and vector.any())
    norms = np.array([exact_norm(row)])
    [cosine] = clamp_cosine(exact_dots(row[None], vector), norms, exact_norm(vector)).tolist()
    assert -1.0 <= cosine <= 1.0
    assert 0.0 <= novelty_of(cosine) <= 1.0


def test_a_key_is_its_own_nearest() -> None:
    for dim in DIMS:
        for key in matrix(dim, 3, dim):
            norm = exact_norm(key)
            [cosine] = clamp_cosine(exact_dots(key[None], key), np.array([norm]), norm)
            assert cosine == pytest.approx(1.0, abs=1e-15)


def test_the_defaults_are_the_specification() -> None:
    concert = Concert()
    assert (concert.alpha, concert.beta, concert.gamma) == (0.35, 0.50, 0.08)
    assert (concert.tau, concert.floor) == (6 * 3600.0, 0.15)
    assert concert.weight(strength=0.5, recency=1.0, similarity=0.5, novelty=0.25) == 0.31
    assert concert.recency(100.0, 100.0 + concert.tau) == math.exp(-1)
    assert concert.recency(200.0, 100.0) == 1.0


def test_the_bias() -> None:
    values = [np.array([1, 0], np.float32), np.array([0, 1], np.float32)]
    assert weighted_bias([3.0, 1.0], values, 2).tolist() == [0.75, 0.25]
    assert weighted_bias([], [], 2).tolist() == [0.0, 0.0]
    assert weighted_bias([0.0, 0.0], values, 2).tolist() == [0.0, 0.0]
    assert weighted_bias([1.0, -2.0], values, 2).tolist() == [0.0, 0.0]
    assert weighted_bias([1.0], [np.empty(0, np.float32)], 0).shape == (0,)


def test_the_length_of_a_row_alone_and_within_a_matrix() -> None:
    for dim in DIMS:
        keys = matrix(dim, 33, dim)
        assert exact_norms(keys).tolist() == [exact_norm(key) for key in keys], dim
        assert exact_norms(keys[:1]).tolist() == [exact_norm(keys[0])], dim
