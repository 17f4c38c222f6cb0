"""The exact index equals brute force, bit for bit, on whatever hypothesis thinks of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pmll_async import Concert
from pmll_async.indexes import codes, exact, keys
from pmll_async.indexes.exact import ExactIndex
from pmll_async.indexes.rows import BLOCK_ROWS
from pmll_async.indexes.selection import Terms
from pmll_async.protocols import Columns, Hit, RankQuery
from pmll_async.testing import oracle
from pmll_async.testing.oracle import Landscape, landscape, vectors_near
from pmll_async.values.concert import Float32

seeds = st.integers(0, 2**32 - 1)
counts = st.sampled_from([0, 1, 2, 63, 64, 65, 130, 400])
concerts = st.builds(
    Concert,
    alpha=st.sampled_from([0.0, 0.35, -0.5, 3.0]),
    beta=st.sampled_from([0.0, 0.5, -1.0, 1.0]),
    gamma=st.sampled_from([0.0, 0.08, -0.3]),
    tau=st.sampled_from([0.5, 21600.0, 1e12]),
    floor=st.sampled_from([-1.0, 0.0, 0.15, 1.0]),
)


@pytest.fixture(scope="module", params=["float32", "codes"], autouse=True)
def selects_with(request: pytest.FixtureRequest) -> Iterator[None]:
    """All of it by products of float32, and all of it by codes in small chunks."""
    if request.param == "float32":
        yield
        return
    pytest.importorskip("numkong", reason="numkong missing: pip install 'pmll-async[fast]'")
    codes.PRODUCTS.load()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "SMALL_PRODUCT", 0)
        patch.setattr(keys, "CHUNK_ROWS", 16)
        patch.setattr(codes, "CHUNK_ROWS", 16)
        patch.setattr(codes, "_PACK_ROWS", (256, 64, 16))
        patch.setattr(exact, "_FEW_ROWS", 4)
        patch.setattr(keys, "_CHUNKS_A_CALL", 10**6)
        yield


def filled(land: Landscape) -> ExactIndex:
    index = ExactIndex()
    index.open(land.keys.shape[1])
    index.add(land.keys, land.norms)
    return index


def check(land: Landscape, queries: list[RankQuery]) -> list[list[Hit]]:
    """Together and one by one, and both as brute force."""
    index = filled(land)
    together = index.rank(land.columns, queries)
    assert together == [index.rank(land.columns, [query])[0] for query in queries]
    assert together == [oracle.rank(land.keys, land.columns, query) for query in queries]
    return together


def some_rows(draw: st.DrawFn, seed: int, count: int) -> np.ndarray | None:
    """No filter, or one that is narrow (gathered), wide (a mask), empty or reaching too far."""
    share = draw(st.sampled_from([None, 0.0, 0.02, 0.1, 0.5, 1.0]))
    if share is None:
        return None
    random = np.random.default_rng(seed)
    # Rows of lines that are newer than the snapshot are the index's to leave out.
    return np.flatnonzero(random.random(count + 20) < share).astype(np.int64)


@st.composite
def questions(draw: st.DrawFn, land: Landscape, vector: Float32, concert: Concert) -> RankQuery:
    count = land.columns.count
    floors: list[float] = [concert.floor, -1.0]
    if count:
        # Exactly at a line's similarity, and one step to either side.
        similarity = float(oracle.cosines(land.keys[: min(3, count)], vector)[-1])
        floors += [
            similarity,
            float(np.nextafter(similarity, 2)),
            float(np.nextafter(similarity, -2)),
        ]
    return land.query(
        vector,
        draw(st.sampled_from([0, 1, 2, 5, 17, count, count + 7])),
        concert=concert,
        floor=min(1.0, max(-1.0, draw(st.sampled_from(floors)))),
        rows=some_rows(draw, draw(seeds), count),
        branches=draw(st.booleans()),
    )


@settings(max_examples=examples(75), deadline=None)
@given(seeds, counts, st.sampled_from([1, 2, 3, 16, 100]), concerts, st.data())
def test_random_lattices(
    seed: int, count: int, dim: int, concert: Concert, data: st.DataObject
) -> None:
    land = landscape(seed, count, dim)
    vectors = vectors_near(seed + 1, land.keys, 4)
    check(land, [data.draw(questions(land, vector, concert)) for vector in vectors])


@pytest.mark.parametrize("concert", [Concert(), Concert.cosine(), Concert(alpha=0.0)])
def test_several_blocks(concert: Concert) -> None:
    count = 2 * BLOCK_ROWS + 1234
    land = landscape(1, count, 4)
    every = np.arange(count, dtype=np.int64)
    queries = [
        land.query(vector, k, concert=concert, rows=rows)
        for vector in vectors_near(2, land.keys, 2)
        for k in (1, 40)
        for rows in (None, every[::100], every[::2], every[BLOCK_ROWS - 1 : BLOCK_ROWS + 1])
    ]
    check(land, [*queries, land.query(land.keys[5], count + 1, concert=concert)])


def test_all_rows_alike() -> None:
    # Every weight is a tie, far more than k, so that the record and then the anchor decide.
    count = BLOCK_ROWS + 500
    land = landscape(3, count, 3)
    columns = replace(
        land.columns,
        timestamps=np.full(count, land.now),
        novelties=np.zeros(count),
        strengths=np.ones(count),
        live=np.ones(count, dtype=np.bool_),
        order=np.repeat(np.arange(count // 4 + 1), 4)[:count],
    )
    same = Landscape(np.tile(land.keys[:1], (count, 1)), columns, land.now)
    check(same, [same.query(land.keys[0], k) for k in (1, 3, 10)])


def test_nearly_alike() -> None:
    # Float32 products cannot tell these apart; float64 can.
    random = np.random.default_rng(4)
    count, dim = 3000, 32
    centre = random.standard_normal(dim)
    keys = (centre + 1e-6 * random.standard_normal((count, dim))).astype(np.float32)
    land = landscape(5, count, dim)
    columns = replace(land.columns, timestamps=np.full(count, land.now), strengths=np.ones(count))
    close = Landscape(keys, columns, land.now)
    vectors = [
        keys[7],
        (-centre).astype(np.float32),
        random.standard_normal(dim).astype(np.float32),
    ]
    floor = float(oracle.cosines(keys[11:12], vectors[2])[0])
    check(close, [close.query(vector, 9, floor=-1.0) for vector in vectors])
    check(close, [close.query(vectors[2], k, floor=floor) for k in (9, count)])


def test_alone_and_among_others() -> None:
    land = landscape(6, BLOCK_ROWS + 100, 8)
    index = filled(land)
    others = [land.query(vector, 3) for vector in vectors_near(7, land.keys, 63)]
    for vector in vectors_near(8, land.keys, 4):
        query = land.query(vector, 10)
        [alone] = index.rank(land.columns, [query])
        for place in (0, 31, 63):
            batch = [*others[:place], query, *others[place:]]
            assert index.rank(land.columns, batch)[place] == alone
        assert alone == oracle.rank(land.keys, land.columns, query)


# --- extremes ----------------------------------------------------------------------------------

MAGNITUDES = [1e-45, 1e-38, 1e-30, 1e-12, 1.0, 1e12, 1e30, 3e38]


def scaled(seed: int, count: int, dim: int) -> Float32:
    """Keys of every length that float32 can hold."""
    random = np.random.default_rng(seed)
    units = random.uniform(-1, 1, (count, dim))
    keys = (units * random.choice(MAGNITUDES, (count, 1))).astype(np.float32) + np.float32(0)
    keys[np.all(keys == 0, axis=1), 0] = 1e-45
    return keys


@pytest.mark.parametrize("dim", [1, 2, 5, 64])
def test_extreme_magnitudes(dim: int) -> None:
    land = landscape(9, 400, dim)
    keys = scaled(dim, 400, dim)
    far = Landscape(keys, land.columns, land.now)
    check(
        far, [far.query(vector, 20, floor=floor) for vector in keys[:16] for floor in (-1.0, 0.15)]
    )
    check_nearest(far, keys[:32])


@pytest.mark.parametrize(("large", "small"), [(1e30, 1e-12), (3e38, 1e-30), (1e15, 1e-38)])
def test_components_of_very_different_size(large: float, small: float) -> None:
    # Tiny cosines with the second axis, all different; rounding one away changes the order.
    keys = np.array([[large, small * n] for n in (1, 2, 3, 5)], dtype=np.float32)
    land = landscape(10, 4, 2)
    columns = replace(land.columns, live=np.ones(4, np.bool_), chain=np.ones(4, np.bool_))
    odd = Landscape(keys, columns, land.now)
    axis = np.array([0, 1], dtype=np.float32)
    check(odd, [odd.query(axis, 4, concert=Concert.cosine())])
    check_nearest(odd, axis[None])


@pytest.mark.parametrize("age", [-1e300, 1e300, 1e308])
def test_times_far_away(age: float) -> None:
    land = landscape(11, 50, 3)
    columns = replace(land.columns, timestamps=np.full(50, land.now - age))
    old = Landscape(land.keys, columns, land.now)
    check(old, [old.query(land.keys[0], 9)])


# --- novelty -----------------------------------------------------------------------------------


def check_nearest(land: Landscape, keys: Float32) -> None:
    index, norms = filled(land), oracle.norms_of(keys)
    together = index.nearest(land.columns, keys, norms)
    assert together == [oracle.nearest(land.keys, land.columns, key) for key in keys]
    alone = [
        index.nearest(land.columns, keys[i : i + 1], norms[i : i + 1]) for i in range(len(keys))
    ]
    assert [[found] for found in together] == alone


@settings(max_examples=examples(30), deadline=None)
@given(seeds, counts, st.sampled_from([1, 2, 3, 16, 100]))
def test_novelty_of_random_lattices(seed: int, count: int, dim: int) -> None:
    land = landscape(seed, count, dim)
    check_nearest(land, vectors_near(seed + 1, land.keys, 8))


def test_novelty_over_several_blocks() -> None:
    land = landscape(12, 2 * BLOCK_ROWS + 77, 6)
    check_nearest(land, vectors_near(13, land.keys, 24))


def test_novelty_among_many_duplicates() -> None:
    land = landscape(14, 5000, 3)
    same = Landscape(np.tile(land.keys[:1], (5000, 1)), land.columns, land.now)
    check_nearest(same, np.concatenate([land.keys[:1], -land.keys[:1], land.keys[:3]]))


# --- terms that grow -----------------------------------------------------------------------------


def shown(land: Landscape, strengths: NDArray[Any], live: NDArray[Any], count: int) -> Columns:
    """A state of the first rows, as a ledger shows it: views of arrays that only grow."""
    every = land.columns
    return Columns(
        count=count,
        timestamps=every.timestamps[:count],
        novelties=every.novelties[:count],
        strengths=strengths[:count],
        live=live[:count],
        chain=every.chain[:count],
        order=every.order[:count],
        anchors=every.anchors[:count],
    )


@given(seeds, concerts, st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_terms_of_a_grown_state_are_those_made_anew(
    seed: int, concert: Concert, steps: list[int]
) -> None:
    land = landscape(seed, 300, 4)
    strengths, live = land.columns.strengths.copy(), land.columns.live.copy()
    count = 20
    terms = Terms(shown(land, strengths, live, count), concert, branches=True)
    for step in steps:
        count += step
        columns = shown(land, strengths, live, count)
        terms = terms.of(columns, concert, branches=True)
        query = land.query(np.ones(4, dtype=np.float32), concert=concert)
        anew = Terms(columns, concert, branches=True)
        np.testing.assert_array_equal(terms.slope, anew.slope)
        np.testing.assert_allclose(
            terms.base(query, slice(None)), anew.base(query, slice(None)), atol=2e-6, rtol=2e-6
        )


def test_terms_grow_by_new_rows_alone_and_only_where_nothing_else_changed() -> None:
    land, concert = landscape(3, 200, 4), Concert()
    strengths, live = land.columns.strengths.copy(), land.columns.live.copy()
    first = Terms(shown(land, strengths, live, 100), concert, branches=True)
    filled: list[slice] = []
    with pytest.MonkeyPatch.context() as patch:
        fill = Terms._fill
        patch.setattr(Terms, "_fill", lambda self, rows: (filled.append(rows), fill(self, rows)))
        grown = first.of(shown(land, strengths, live, 130), concert, branches=True)
        assert filled == [slice(100, 130)]
        assert len(first.slope) == 100
        # A strength changed: the ledger shows another array.
        other = grown.of(shown(land, strengths.copy(), live, 130), concert, branches=True)
        other.of(shown(land, strengths, live, 120), concert, branches=True)
        other.of(shown(land, strengths, live, 130), concert, branches=False)
        other.of(shown(land, strengths, live, 130), Concert(tau=5.0), branches=True)
    assert filled[1:] == [slice(0, 130), slice(0, 120), slice(0, 130), slice(0, 130)]
