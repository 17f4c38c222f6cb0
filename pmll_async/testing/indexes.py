"""The conformance suite of an index: agreement with brute force over every key."""

# ruff: noqa: D102, S101  # a suite asserts, and the names of its tests are sentences

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields, replace
from typing import ClassVar

import numpy as np
import pytest

from pmll_async.protocols import Columns, Hit, Index, RankQuery, SupportsCosines
from pmll_async.testing import oracle
from pmll_async.testing.oracle import Landscape, landscape, vectors_near
from pmll_async.values.concert import Concert, Float32, exact_norm

CONCERTS = {
    "specification": Concert(),
    "cosine": Concert.cosine(),
    "recency alone": Concert(alpha=1.0, beta=0.0, gamma=0.0, floor=-1.0),
    "negative": Concert(alpha=-0.2, beta=-0.5, gamma=0.3, floor=-0.5),
    "short": Concert(tau=1.0),
}


class IndexSuite(ABC):
    """Inherit and give `make_index`.

    An approximate index sets `exact = False`: it may then miss rows, but what it returns must be
    scored and ordered as brute force would, and `recall` of the best rows must be found.
    """

    exact: ClassVar[bool] = True
    recall: ClassVar[float] = 0.9

    @abstractmethod
    def make_index(self) -> Index:
        """A new index, not opened."""

    def filled(self, land: Landscape, step: int | None = None) -> Index:
        """An index with the landscape's keys, added `step` at a time."""
        index = self.make_index()
        index.open(land.keys.shape[1])
        count = len(land.keys)
        norms = land.norms
        for first in range(0, count, step or max(1, count)):
            span = slice(first, first + (step or count))
            index.add(land.keys[span], norms[span])
        return index

    def check(self, index: Index, land: Landscape, queries: list[RankQuery]) -> None:
        """The index answers the queries, asked together, as brute force does."""
        answers = index.rank(land.columns, queries)
        if self.exact:
            assert answers == [oracle.rank(land.keys, land.columns, query) for query in queries]
        else:
            self._check_approximate(land, queries, answers)

    def _check_approximate(
        self, land: Landscape, queries: list[RankQuery], answers: list[list[Hit]]
    ) -> None:
        wanted = found = 0
        for query, answer in zip(queries, answers, strict=True):
            everything = oracle.rank(land.keys, land.columns, replace(query, k=len(land.keys)))
            best = everything[: query.k]
            places = {hit: place for place, hit in enumerate(everything)}
            assert all(hit in places for hit in answer), "scored differently from brute force"
            order = [places[hit] for hit in answer]
            assert order == sorted(order), "ordered differently from brute force"
            wanted += len(best)
            found += len(set(best) & set(answer))
        assert found >= self.recall * wanted

    # --- ranking -------------------------------------------------------------------------------

    @pytest.mark.parametrize("concert", CONCERTS.values(), ids=CONCERTS.keys())
    @pytest.mark.parametrize(("count", "dim"), [(1, 1), (40, 2), (700, 8), (300, 384)])
    def test_it_ranks_as_brute_force_does(self, concert: Concert, count: int, dim: int) -> None:
        land = landscape(count, count, dim)
        vectors = vectors_near(dim, land.keys, 6)
        queries = [
            land.query(vector, k, concert=concert) for vector in vectors for k in (1, 5, count + 3)
        ]
        self.check(self.filled(land), land, queries)

    def test_no_keys_no_hits(self) -> None:
        land = landscape(0, 0, 3)
        index = self.filled(land)
        vector = np.ones(3, dtype=np.float32)
        assert index.rank(land.columns, [land.query(vector)]) == [[]]
        assert index.rank(land.columns, []) == []
        assert index.nearest(land.columns, vector[None], np.array([3**0.5])) == [None]

    def test_none_wanted_none_given(self) -> None:
        land = landscape(1, 50, 3)
        assert self.filled(land).rank(land.columns, [land.query(land.keys[0], 0)]) == [[]]

    def test_a_filter(self) -> None:
        land = landscape(2, 900, 6)
        every = np.arange(900, dtype=np.int64)
        queries = [
            land.query(vector, k, rows=rows, branches=branches)
            for vector in vectors_near(2, land.keys, 3)
            for rows in (every[:0], every[::90], every[::7], every[::2], every)
            for branches in (True, False)
            for k in (3, 1000)
        ]
        self.check(self.filled(land), land, queries)

    def test_a_floor_at_a_similarity(self) -> None:
        land = landscape(3, 500, 4)
        vector = vectors_near(3, land.keys, 2)[1]
        similarities = oracle.cosines(land.keys, vector)
        floors = [float(similarities[row]) for row in range(0, 500, 25)]
        queries = [land.query(vector, 20, floor=floor) for floor in [*floors, -1.0, 1.0]]
        self.check(self.filled(land), land, queries)

    def test_nothing_alive(self) -> None:
        land = landscape(4, 60, 4)
        dead = replace(land.columns, live=np.zeros(60, dtype=np.bool_))
        index = self.filled(land)
        assert index.rank(dead, [land.query(land.keys[0])]) == [[]]
        assert index.nearest(dead, land.keys[:2], land.norms[:2]) == [None, None]

    def test_batching_changes_no_bit(self) -> None:
        land = landscape(5, 1200, 16)
        index = self.filled(land)
        every = np.arange(1200, dtype=np.int64)
        queries = [
            land.query(vector, 1 + number % 9, rows=every[:: 1 + number % 20], floor=number / 99)
            for number, vector in enumerate(vectors_near(5, land.keys, 64))
        ]
        alone = [index.rank(land.columns, [query])[0] for query in queries]
        assert index.rank(land.columns, queries) == alone
        assert index.rank(land.columns, queries[::-1]) == alone[::-1]

    # --- growing -------------------------------------------------------------------------------

    @pytest.mark.parametrize("step", [1, 7, 250])
    def test_keys_may_come_piece_by_piece(self, step: int) -> None:
        land = landscape(6, 500, 5)
        queries = [land.query(vector, 12) for vector in vectors_near(6, land.keys, 4)]
        self.check(self.filled(land, step), land, queries)

    def test_an_older_snapshot_sees_no_newer_key(self) -> None:
        land = landscape(7, 400, 5)
        index = self.filled(land)
        for count in (0, 1, 150, 399):
            older = Landscape(land.keys[:count], first_rows(land.columns, count), land.now)
            rows = np.arange(0, 400, 3, dtype=np.int64)
            queries = [
                older.query(vector, 9, rows=given)
                for vector in vectors_near(7, land.keys, 4)
                for given in (None, rows)
            ]
            self.check(index, older, queries)
            self.check_nearest(index, older, 5)

    def test_opening_empties_it(self) -> None:
        land = landscape(8, 100, 5)
        index = self.filled(land)
        other = landscape(9, 30, 3)
        index.open(3)
        index.add(other.keys, other.norms)
        self.check(index, other, [other.query(other.keys[0], 50)])

    # --- novelty -------------------------------------------------------------------------------

    @pytest.mark.parametrize(("count", "dim"), [(1, 1), (40, 2), (700, 8), (300, 384)])
    def test_the_nearest_key(self, count: int, dim: int) -> None:
        land = landscape(10 + count, count, dim)
        self.check_nearest(self.filled(land), land, 12)

    @pytest.mark.parametrize(("count", "dim"), [(1, 1), (40, 2), (700, 8), (300, 384)])
    def test_the_nearest_of_the_newest_keys(self, count: int, dim: int) -> None:
        land = landscape(30 + count, count, dim)
        index = self.filled(land)
        for start in {1, count // 5, count // 2, count - 9, count - 1, count, count + 3}:
            if start >= 0:
                self.check_nearest(index, land, 6, start)

    def check_nearest(self, index: Index, land: Landscape, asked: int, start: int = 0) -> None:
        """The index finds the nearest rows, asked together and one by one, as brute force does."""
        keys = vectors_near(11, land.keys, asked)
        norms = oracle.norms_of(keys)
        together = index.nearest(land.columns, keys, norms, start)
        alone = [
            index.nearest(land.columns, keys[i : i + 1], norms[i : i + 1], start)
            for i in range(asked)
        ]
        assert [[found] for found in together] == alone
        if self.exact:
            assert together == [oracle.nearest(land.keys, land.columns, key, start) for key in keys]

    # --- powers --------------------------------------------------------------------------------

    def filled_with_cosines(self, land: Landscape, step: int | None = None) -> SupportsCosines:
        """The filled index; skips the test of one that cannot tell every row's cosine."""
        index = self.filled(land, step)
        if not isinstance(index, SupportsCosines):
            pytest.skip("this index has not got the cosines of every row")
        return index

    @pytest.mark.parametrize(("count", "dim"), [(0, 3), (1, 1), (40, 2), (700, 8), (300, 384)])
    def test_the_cosine_of_every_row(self, count: int, dim: int) -> None:
        land = landscape(20 + count, count, dim)
        index = self.filled_with_cosines(land)
        for vector in vectors_near(12, land.keys, 6):
            check_cosines(index, land, vector)

    def test_the_cosines_of_rows_of_any_length(self) -> None:
        # From the shortest to the longest that float32 can hold, a few of them beside all others.
        land = landscape(13, 600, 5)
        scales = np.ones((600, 1), dtype=np.float32)
        scales[::7, 0] = np.resize(np.array([1e-40, 1e-30, 1e-13, 1e13, 1e25, 1e37]), 86)
        keys = land.keys / np.abs(land.keys).max(axis=1, keepdims=True) * scales
        land = replace(land, keys=keys)
        index = self.filled_with_cosines(land)
        for vector in keys[:49:7]:
            check_cosines(index, land, vector)
            check_cosines(index, land, -vector)

    @pytest.mark.parametrize("step", [None, 3])
    def test_a_cosine_has_the_same_bits_whoever_asks_with_whom(self, step: int | None) -> None:
        land = landscape(14, 900, 17)
        index = self.filled_with_cosines(land, step)
        random = np.random.default_rng(14)
        for number, vector in enumerate(vectors_near(14, land.keys, 24)):
            norm = exact_norm(vector)
            every = index.cosines(900, vector, norm)
            count = int(random.integers(1, 901))
            assert index.cosines(count, vector, norm).tobytes() == every[:count].tobytes()
            rows = random.integers(0, count, 2 ** (number % 11)).astype(np.int64)
            found = index.cosines(count, vector, norm, rows)
            assert found.tobytes() == every[rows].tobytes()
            wide = np.zeros((17, 2), dtype=np.float32)
            wide[:, 0] = vector
            assert index.cosines(900, wide[:, 0], norm).tobytes() == every.tobytes()


def check_cosines(index: SupportsCosines, land: Landscape, vector: Float32) -> None:
    """All cosines are within [-1, 1] and as near to the exact ones as float32 comes."""
    count, dim = land.keys.shape
    found = index.cosines(count, vector, exact_norm(vector))
    assert found.shape == (count,)
    assert found.dtype == np.float32
    assert (np.abs(found) <= 1.0).all()
    exact = oracle.cosines(land.keys, vector)
    assert np.abs(found - exact).max(initial=0.0) <= 1e-6 * max(1.0, dim**0.5 / 4)


def first_rows(columns: Columns, count: int) -> Columns:
    """The columns as they were when there were only `count` rows."""
    names = [field.name for field in fields(Columns) if field.name != "count"]
    cut = {name: getattr(columns, name)[:count] for name in names}
    return Columns(count=count, **cut)
