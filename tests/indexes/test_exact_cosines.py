"""The cosines of all rows: one row's bits know of no other row, no block and no thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from pmll_async.indexes.exact import ExactIndex
from pmll_async.indexes.keys import GATHER_SHARE
from pmll_async.indexes.rows import BLOCK_ROWS
from pmll_async.testing.oracle import cosines, norms_of
from pmll_async.values.concert import Float32, exact_norm

COUNT = BLOCK_ROWS + 700
EDGES = [0, 1, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1, COUNT - 1]

places = st.one_of(st.sampled_from(EDGES), st.integers(0, COUNT - 1))


def matrix(seed: int, count: int, dim: int) -> Float32:
    """Keys of many lengths; one in fifty is longer or shorter than float32 products can take."""
    random = np.random.default_rng(seed)
    exponents = random.integers(-8, 9, (count, 1))
    extreme = random.random((count, 1)) < 1 / 50
    scales = 10.0 ** np.where(extreme, random.choice([-30, 30], (count, 1)), exponents)
    return (random.standard_normal((count, dim)) * scales).astype(np.float32)


def filled(keys: Float32, step: int) -> ExactIndex:
    index = ExactIndex()
    index.open(keys.shape[1])
    for first in range(0, len(keys), step):
        part = keys[first : first + step]
        index.add(part, norms_of(part))
    return index


@pytest.fixture(scope="module", params=[1, 3, 16, 33, 100])
def land(request: pytest.FixtureRequest) -> tuple[Float32, ExactIndex]:
    keys = matrix(request.param, COUNT, request.param)
    return keys, filled(keys, 3000)


@settings(max_examples=examples(30), deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.one_of(st.sampled_from([BLOCK_ROWS, COUNT]), st.integers(1, COUNT)),
    rows=st.lists(places, max_size=40),
    repeats=st.sampled_from([1, 60]),
)
def test_the_same_bits_under_any_count_and_rows(
    land: tuple[Float32, ExactIndex], seed: int, count: int, rows: list[int], repeats: int
) -> None:
    keys, index = land
    vector = matrix(seed, 1, keys.shape[1])[0]
    norm = exact_norm(vector)
    every = index.cosines(COUNT, vector, norm)
    assert index.cosines(count, vector, norm).tobytes() == every[:count].tobytes()
    wanted = np.array([row for row in rows if row < count] * repeats, dtype=np.int64)
    assert index.cosines(count, vector, norm, wanted).tobytes() == every[wanted].tobytes()


@pytest.mark.parametrize("step", [1, 100, 8191])
def test_the_same_bits_however_keys_came(step: int) -> None:
    keys = matrix(0, COUNT, 7)
    vector = matrix(1, 1, 7)[0]
    together = filled(keys, COUNT).cosines(COUNT, vector, exact_norm(vector))
    found = filled(keys, step).cosines(COUNT, vector, exact_norm(vector))
    assert found.tobytes() == together.tobytes()


def test_near_the_exact_ones(land: tuple[Float32, ExactIndex]) -> None:
    keys, index = land
    for vector in (keys[5], -keys[5], matrix(7, 1, keys.shape[1])[0]):
        exact = cosines(keys, vector)
        found = index.cosines(COUNT, vector, exact_norm(vector))
        assert np.abs(found - exact).max() < 2e-6
        rows = np.arange(3, COUNT, GATHER_SHARE + 1, dtype=np.int64)
        some = index.cosines(COUNT, vector, exact_norm(vector), rows)
        assert np.abs(some - exact[rows]).max() < 2e-6


def test_the_same_bits_in_several_threads_while_keys_are_added() -> None:
    dim, count = 64, 20_000
    keys = matrix(2, count, dim)
    index, more = filled(keys, count), matrix(3, 300, dim)
    vector = matrix(4, 1, dim)[0]
    norm = exact_norm(vector)
    alone = index.cosines(count, vector, norm).tobytes()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(index.cosines, count, vector, norm) for _ in range(12)]
        for key in more:
            index.add(key[None], norms_of(key[None]))
        assert all(job.result().tobytes() == alone for job in asked)
    assert len(index.cosines(count + 300, vector, norm)) == count + 300
