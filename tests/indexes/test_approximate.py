"""Approximate indexes: what codes propose is decided as brute force decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from approximate_support import (
    COUNT,
    DIM,
    KINDS,
    LANDS,
    Make,
    RoundedIndex,
    asked,
    built,
    faiss_index,
    scann_index,
)
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from pmll_async import Concert
from pmll_async.indexes import approximate, coder
from pmll_async.indexes.approximate import ApproximateIndex, Standing
from pmll_async.indexes.exact import ExactIndex
from pmll_async.indexes.selection import Terms
from pmll_async.protocols import Index, SupportsCosines
from pmll_async.testing import IndexSuite, oracle
from pmll_async.testing.indexes import first_rows
from pmll_async.testing.oracle import Landscape, landscape, vectors_near


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


# --- the shipped suite -------------------------------------------------------------------------


class TestWithCertainty(IndexSuite):
    def make_index(self) -> Index:
        return RoundedIndex(exact=True)


class TestApproximate(IndexSuite):
    """With lattices as small as the suite's answered from codes, too."""

    exact = False

    @pytest.fixture(autouse=True)
    def codes_for_few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(coder, "FIRST_ROWS", 64)
        monkeypatch.setattr(coder, "_SAMPLE", 64)
        monkeypatch.setattr(approximate, "SMALL_PRODUCT", 0)

    def make_index(self) -> Index:
        return RoundedIndex(shortlist=20)

    def filled(self, land: Landscape, step: int | None = None) -> Index:
        index = super().filled(land, step)
        assert isinstance(index, ApproximateIndex)
        index.build()
        return index


class TestFaiss(TestApproximate):
    def make_index(self) -> Index:
        return faiss_index(shortlist=20)


class TestScann(TestApproximate):
    def make_index(self) -> Index:
        return scann_index(shortlist=20)


# --- the best by weight ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def indexes() -> dict[int, ApproximateIndex]:
    return {seed: asked(RoundedIndex, seed) for seed in LANDS}


weights = st.sampled_from([0.0, 0.05, 0.35, 0.5, 1.0, 3.0])
concerts = st.builds(
    Concert,
    alpha=weights,
    beta=weights,
    gamma=weights,
    tau=st.sampled_from([60.0, 6 * 3600.0, 30 * 86400.0]),
    floor=st.sampled_from([-1.0, 0.0, 0.15]),
)


@settings(max_examples=examples(30), deadline=None)
@given(
    seed=st.sampled_from(sorted(LANDS)),
    concert=concerts,
    k=st.sampled_from([1, 3, 10, 40]),
    later=st.sampled_from([-3600.0, 0.0, 86400.0]),
    share=st.sampled_from([None, 0.01, 0.5]),
    branches=st.booleans(),
    near=st.sampled_from([0.0, 0.5, 5.0]),
)
def test_the_newest_the_most_novel_and_the_most_similar_compete(
    indexes: dict[int, ApproximateIndex],
    seed: int,
    concert: Concert,
    k: int,
    later: float,
    share: float | None,
    branches: bool,
    near: float,
) -> None:
    land = LANDS[seed]
    random = np.random.default_rng(k)
    vector = (land.keys[0] + near * random.standard_normal(DIM)).astype(np.float32)
    rows = None if share is None else np.flatnonzero(random.random(COUNT) < share)
    query = replace(
        land.query(vector, k, concert=concert, rows=rows, branches=branches), now=land.now + later
    )
    [found] = indexes[seed].rank(land.columns, [query])
    everything = oracle.rank(land.keys, land.columns, replace(query, k=COUNT))
    expected = everything[:k]
    ranks = {hit: place for place, hit in enumerate(everything)}
    places = [ranks[hit] for hit in found]
    assert places == sorted(places)
    assert len(found) == len(expected)
    # Codes of two bits and few lines of each kind: a similar one may be missed, no other is.
    missed = set(expected) - set(found)
    assert len(missed) <= 0.2 * len(expected)
    assert all(hit.similarity > 0 for hit in missed)


def test_what_no_code_can_misjudge_is_never_missed(
    indexes: dict[int, ApproximateIndex],
) -> None:
    """Where the similarity has no weight, and where the best are not similar at all."""
    land = LANDS[0]
    for concert in (
        Concert(beta=0.0, floor=-1.0),
        Concert(alpha=3.0, beta=0.1, floor=-1.0),
        Concert(gamma=3.0, beta=0.1, floor=-1.0),
    ):
        queries = [land.query(vector, 10, concert=concert) for vector in land.keys[:8]]
        found = indexes[0].rank(land.columns, queries)
        assert found == [oracle.rank(land.keys, land.columns, query) for query in queries]


def test_weights_without_a_bound_are_scanned(indexes: dict[int, ApproximateIndex]) -> None:
    land = LANDS[0]
    concerts = [Concert(alpha=-0.3), Concert(beta=-0.5, floor=-1.0), Concert(gamma=-0.3)]
    queries = [land.query(land.keys[0], 10, concert=concert) for concert in concerts]
    assert indexes[0]._found(land.columns, queries) == {}
    found = indexes[0].rank(land.columns, queries)
    assert found == [oracle.rank(land.keys, land.columns, query) for query in queries]


def test_recall_of_the_best_ten(make: Make) -> None:
    random = np.random.default_rng(1)
    basis = random.standard_normal((24, DIM)) / np.sqrt(np.arange(1, 25))[:, None]
    count = 20_000
    keys = random.standard_normal((count + 100, 24)) @ basis
    keys += 0.1 * random.standard_normal(keys.shape)
    keys = keys.astype(np.float32)
    land = landscape(2, count, 1)
    columns = replace(
        land.columns,
        timestamps=land.now - random.exponential(20 * 86400, count),
        novelties=random.uniform(0, 0.6, count),
    )
    land = Landscape(keys[:count], columns, land.now)
    index, exact = built(make, land), ExactIndex()
    exact.open(DIM)
    exact.add(land.keys, land.norms)
    for concert in (Concert(), Concert.cosine()):
        queries = [land.query(vector, concert=concert) for vector in keys[count:]]
        assert len(queries) - len(index._found(columns, queries)) <= 5
        expected = exact.rank(columns, queries)
        found = index.rank(columns, queries)
        same = sum(len(set(a) & set(b)) for a, b in zip(found, expected, strict=True))
        assert same >= 0.995 * sum(map(len, expected))


def test_a_batch_changes_no_bit(make: Make) -> None:
    land = LANDS[1]
    index = asked(make, 1)
    queries = [
        land.query(vector, 1 + number % 7, floor=number / 200)
        for number, vector in enumerate(land.keys[:40])
    ]
    alone = [index.rank(land.columns, [query])[0] for query in queries]
    assert index.rank(land.columns, queries) == alone
    assert index.rank(land.columns, queries[::-1]) == alone[::-1]


def test_queries_of_every_kind_share_a_batch(indexes: dict[int, ApproximateIndex]) -> None:
    """Those that codes answer, and those that are scanned, each in its own place."""
    land, index = LANDS[0], indexes[0]
    scanned = Concert(alpha=-0.1, beta=1.0, gamma=0.0)
    every = np.arange(COUNT, dtype=np.int64)
    queries = [
        query
        for vector in vectors_near(8, land.keys, 5)
        for query in (
            land.query(vector, 10),
            land.query(vector, 3, concert=scanned),
            land.query(vector, 0),
            land.query(vector, 10, rows=every[::50]),
            land.query(vector, 10, rows=every[::2]),
        )
    ]
    alone = [index.rank(land.columns, [query])[0] for query in queries]
    assert index.rank(land.columns, queries) == alone
    assert index.rank(land.columns, queries[::-1]) == alone[::-1]
    assert [len(hits) for hits in alone[:3]] == [10, 3, 0]


def test_what_is_known_of_a_state_goes_on_in_the_next() -> None:
    """Some rows more, later ones than all before, and the same rows reach as if made anew."""
    land = LANDS[1]
    query = land.query(land.keys[0])
    # As a ledger has them: a longer view of the same column.
    timestamps = np.sort(land.columns.timestamps)
    columns = replace(land.columns, timestamps=timestamps)
    standing = None
    for count in (4000, 4001, 7000, COUNT):
        state = first_rows(columns, count)
        fresh = Standing(Terms(state, query.concert, branches=True))
        standing = fresh if standing is None else standing.of(state, query)
        assert standing.of(state, query) is standing
        for now in (land.now, land.now + 1e5, float(timestamps[count // 2])):
            asked = replace(query, now=now)
            for similarity, weight in ((0.3, 0.2), (0.9, 0.3), (0.0, 0.05)):
                found = standing.reaching(asked, similarity, weight)
                expected = fresh.reaching(asked, similarity, weight)
                assert found[0].tolist() == expected[0].tolist()
                np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)


def test_the_forgotten_are_gone_at_once(make: Make) -> None:
    land = LANDS[0]
    index = asked(make, 0)
    query = land.query(land.keys[0], 10)
    [found] = index.rank(land.columns, [query])
    live = land.columns.live.copy()
    live[[hit.row for hit in found]] = False
    columns = replace(land.columns, live=live)
    [others] = index.rank(columns, [query])
    assert not {hit.row for hit in others} & {hit.row for hit in found}
    assert others == oracle.rank(land.keys, columns, query)


def test_nothing_alive_and_a_row_all_alike(make: Make) -> None:
    land = LANDS[0]
    index = asked(make, 0)
    query = land.query(land.keys[0], 10)
    dead = replace(land.columns, live=np.zeros(COUNT, dtype=np.bool_))
    assert index.rank(dead, [query]) == [[]]
    same = Landscape(np.tile(land.keys[:1], (COUNT, 1)), land.columns, land.now)
    found = built(make, same).rank(same.columns, [query])
    assert found == [oracle.rank(same.keys, same.columns, query)]


def test_novelty_and_cosines_are_exact(make: Make) -> None:
    land = LANDS[0]
    index = asked(make, 0)
    keys = vectors_near(3, land.keys, 6)
    found = index.nearest(land.columns, keys, oracle.norms_of(keys))
    assert found == [oracle.nearest(land.keys, land.columns, key) for key in keys]
    assert isinstance(index, SupportsCosines)


def test_an_odd_dimension(make: Make) -> None:
    land = LANDS[0]
    odd = Landscape(np.ascontiguousarray(land.keys[:, :129]), land.columns, land.now)
    index = built(make, odd)
    query = odd.query(odd.keys[0], 5)
    assert list(index._found(odd.columns, [query])) == [0]
    assert index.rank(odd.columns, [query]) == [oracle.rank(odd.keys, odd.columns, query)]
