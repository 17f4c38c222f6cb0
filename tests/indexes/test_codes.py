"""Codes select and never decide: what they leave out is proven, and answers are as without them."""

from __future__ import annotations

import threading
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmll_async.indexes import codes, exact, keys
from pmll_async.indexes.codes import Codes, encode
from pmll_async.indexes.exact import ExactIndex
from pmll_async.indexes.keys import KeyMatrix
from pmll_async.protocols import Index, RankQuery
from pmll_async.testing import IndexSuite, oracle
from pmll_async.testing.oracle import landscape
from pmll_async.values.concert import Concert, Float32, exact_norm

pytest.importorskip("numkong", reason="numkong missing: pip install 'pmll-async[fast]'")
codes.PRODUCTS.load()

shapes = st.sampled_from(["gaussian", "spiky", "sparse", "one", "tiny"])


@pytest.fixture
def coded_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked is asked of codes, in chunks of eight rows."""
    monkeypatch.setattr(keys, "SMALL_PRODUCT", 0)
    monkeypatch.setattr(keys, "CHUNK_ROWS", 8)
    monkeypatch.setattr(codes, "CHUNK_ROWS", 8)
    monkeypatch.setattr(codes, "_PACK_ROWS", (128, 32, 8))
    monkeypatch.setattr(exact, "_FEW_ROWS", 2)


def some_keys(shape: str, seed: int, count: int, dim: int) -> Float32:
    random = np.random.default_rng(seed)
    rows = random.standard_normal((count, dim)).astype(np.float32)
    match shape:
        case "spiky":
            rows[:, 0] += 40.0
        case "sparse":
            rows *= random.random(rows.shape) < 0.05
            rows[:, 0] += 1.0
        case "one":
            rows[:] = rows[0]
        case "tiny":
            rows *= np.float32(1e-12)
    return rows


def norms_of(keys: Float32) -> Any:
    return np.array([exact_norm(key) for key in keys])


@pytest.mark.usefixtures("coded_early")
class TestCodedIndex(IndexSuite):
    def make_index(self) -> Index:
        return ExactIndex()


@given(shapes, shapes, st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 384, 1024]))
@settings(deadline=None)
def test_no_product_is_further_off_than_the_margin(
    shape: str, other: str, seed: int, dim: int
) -> None:
    rows = some_keys(shape, seed, codes.CHUNK_ROWS, dim)
    queries = some_keys(other, seed + 1, 3, dim)
    norms, lengths = norms_of(rows), norms_of(queries)
    coded = Codes(dim)
    coded.add(rows, (1.0 / norms).astype(np.float32))
    look = coded.look((queries / lengths[:, None]).astype(np.float32))
    cosines = np.empty((3, 100), dtype=np.float32)
    look.fill(cosines, 0)
    true = queries.astype(np.float64) @ rows.astype(np.float64).T / np.outer(lengths, norms)
    assert np.abs(cosines - true[:, :100]).max() <= look.margin


@pytest.mark.usefixtures("coded_early")
def test_many_rows_without_codes_are_coded_in_the_background(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keys, "_MANY_ROWS", 1000)
    monkeypatch.setattr(keys, "_CHUNKS_A_CALL", 2)
    done, more = threading.Event(), KeyMatrix.code_more

    def noting(index: KeyMatrix) -> bool:
        is_more = more(index)
        if not is_more:
            done.set()
        return is_more

    monkeypatch.setattr(KeyMatrix, "code_more", noting)
    land = landscape(3, 2004, 5)
    index = ExactIndex()
    index.open(5)
    index.add(land.keys, land.norms)
    query = land.query(land.keys[7], 5)
    expected = [oracle.rank(land.keys, land.columns, query)]
    assert index.rank(land.columns, [query]) == expected
    assert done.wait(30)
    assert index._codes.count == 2000
    assert index.rank(land.columns, [query]) == expected
    index.open(5)
    assert index._codes.count == 0


def test_the_margin_is_worth_looking_at_codes_for() -> None:
    rows = some_keys("gaussian", 1, codes.CHUNK_ROWS, 384)
    coded = Codes(384)
    coded.add(rows, (1.0 / norms_of(rows)).astype(np.float32))
    assert coded.look(rows[:1] / np.float32(exact_norm(rows[0]))).margin < 0.02


def test_a_key_of_zeros_has_a_code() -> None:
    coded = encode(np.zeros((2, 5), dtype=np.float32), np.ones(2, dtype=np.float32))
    assert not coded.codes.any()
    assert np.isfinite(coded.steps).all()


@pytest.mark.usefixtures("coded_early")
@pytest.mark.parametrize("count", [7, 8, 9, 63, 64, 65, 200])
@pytest.mark.parametrize("seed", range(4))
def test_answers_are_those_of_brute_force(count: int, seed: int) -> None:
    land = landscape(seed, count, 5)
    index = ExactIndex()
    index.open(5)
    index.add(land.keys, land.norms)
    concert = Concert(floor=0.1)
    vectors = np.random.default_rng(seed).standard_normal((12, 5)).astype(np.float32)
    queries = [
        RankQuery(
            vector=vector,
            norm=exact_norm(vector),
            k=1 + number % 7,
            now=float(land.columns.timestamps.max()) + 10.0 * number,
            concert=concert,
            floor=concert.floor,
        )
        for number, vector in enumerate(vectors)
    ]
    # Few are put to the codes, many to a product; chunks are coded a few at each call.
    for asked in (slice(1), slice(5), slice(12), slice(5, 8)):
        assert index.rank(land.columns, queries[asked]) == [
            oracle.rank(land.keys, land.columns, query) for query in queries[asked]
        ]
        assert index.nearest(land.columns, vectors[asked], norms_of(vectors[asked])) == [
            oracle.nearest(land.keys, land.columns, vector) for vector in vectors[asked]
        ]


def test_nobody_waits_for_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def slow(name: str) -> Any:
        begun.set()
        assert goes_on.wait(30)
        return import_module(name)

    monkeypatch.setattr(codes, "import_module", slow)
    fresh = codes.ProductLibrary()
    assert fresh.library is None
    assert begun.wait(30)
    assert fresh.library is None
    goes_on.set()
    while fresh.library is None:
        pass


def test_a_broken_library_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> Any:
        raise ImportError("for another machine")

    monkeypatch.setattr(codes, "import_module", broken)
    fresh = codes.ProductLibrary()
    fresh.load()
    assert fresh.library is None


@pytest.mark.usefixtures("coded_early")
def test_without_the_library_nothing_is_coded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "find_spec", lambda name: None)
    without = codes.ProductLibrary()
    without.load()
    monkeypatch.setattr(codes, "PRODUCTS", without)
    monkeypatch.setattr(keys, "PRODUCTS", without)
    test_answers_are_those_of_brute_force(65, 0)
    assert without.library is None
