"""Approximate indexes: what codes propose is decided as brute force decides."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pmll_async import Candidate, Concert, InvalidInputError, Lattice
from pmll_async.indexes import approximate, coding
from pmll_async.indexes.approximate import ApproximateIndex
from pmll_async.indexes.coding import Coder, Kernel
from pmll_async.indexes.exact import ExactIndex
from pmll_async.protocols import Index, SupportsCosines
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import IndexSuite, oracle
from pmll_async.testing.indexes import first_rows
from pmll_async.testing.oracle import Landscape, landscape, vectors_near
from pmll_async.values.concert import Float32


class Rounded:
    """A kernel of numpy alone: keys to two bits a dimension, so that codes err by much."""

    def train(self, units: Float32) -> None:
        self._step = float(np.abs(units).mean())
        self._codes = np.empty((0, units.shape[1]), dtype=np.float32)

    def add(self, units: Float32) -> None:
        codes = np.clip(np.rint(units / self._step), -1, 1).astype(np.float32)
        self._codes = np.concatenate([self._codes, codes])

    def search(self, units: Float32, m: int) -> tuple[Float32, np.ndarray]:
        products = np.array([np.vecdot(self._codes, unit) for unit in units]) * self._step
        rows = np.argsort(-products, axis=1)[:, :m]
        return np.take_along_axis(products, rows, axis=1), rows


class RoundedIndex(ApproximateIndex):
    def _kernel(self, dim: int) -> Kernel:
        return Rounded()


def faiss_index(**options: object) -> ApproximateIndex:
    pytest.importorskip("faiss", reason="pip install 'pmll-async[faiss]'")
    from pmll_async.indexes.faiss import FaissIndex

    return FaissIndex(**options)


def scann_index(**options: object) -> ApproximateIndex:
    pytest.importorskip("scann", reason="pip install 'pmll-async[scann]'")
    from pmll_async.indexes.scann import ScannIndex

    return ScannIndex(**options)


KINDS = {"numpy": RoundedIndex, "faiss": faiss_index, "scann": scann_index}
Make = Callable[..., ApproximateIndex]


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


def built(make: Make, land: Landscape, **options: object) -> ApproximateIndex:
    index = make(**options)
    index.open(land.keys.shape[1])
    index.add(land.keys, land.norms)
    index.build()
    return index


# --- the shipped suite -------------------------------------------------------------------------


class TestWithCertainty(IndexSuite):
    def make_index(self) -> Index:
        return RoundedIndex(exact=True)


class TestApproximate(IndexSuite):
    """With lattices as small as the suite's answered from codes, too."""

    exact = False

    @pytest.fixture(autouse=True)
    def codes_for_few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(coding, "FIRST_ROWS", 64)
        monkeypatch.setattr(coding, "_SAMPLE", 64)
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

COUNT = coding.FIRST_ROWS + 1000
DIM = 130


def disjoint(seed: int, *, kept: int = 30) -> Landscape:
    """The newest, the most novel, the strongest and the most similar to key 0 are all others."""
    random = np.random.default_rng(seed)
    keys = random.standard_normal((COUNT, DIM)).astype(np.float32)
    similar, new, novel, strong, *_ = np.split(
        random.permutation(COUNT - 1) + 1, [kept, 2 * kept, 3 * kept, 4 * kept]
    )
    keys[similar] = keys[0] + 0.3 * random.standard_normal((kept, DIM))
    land = landscape(seed, COUNT, 1)
    now = land.now
    ages = random.uniform(2 * 86400, 40 * 86400, COUNT)
    ages[new] = random.uniform(-600, 3600, kept)
    novelties = random.uniform(0.0, 0.4, COUNT)
    novelties[novel] = random.uniform(0.9, 1.0, kept)
    strengths = random.uniform(0.3, 0.5, COUNT)
    strengths[strong] = 1.0
    columns = replace(land.columns, timestamps=now - ages, novelties=novelties, strengths=strengths)
    return Landscape(keys, columns, now)


LANDS = {seed: disjoint(seed) for seed in range(2)}


@pytest.fixture(scope="module")
def indexes() -> dict[int, ApproximateIndex]:
    return {seed: built(RoundedIndex, land) for seed, land in LANDS.items()}


weights = st.sampled_from([0.0, 0.05, 0.35, 0.5, 1.0, 3.0])
concerts = st.builds(
    Concert,
    alpha=weights,
    beta=weights,
    gamma=weights,
    tau=st.sampled_from([60.0, 6 * 3600.0, 30 * 86400.0]),
    floor=st.sampled_from([-1.0, 0.0, 0.15]),
)


@settings(max_examples=60, deadline=None)
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
    expected = oracle.rank(land.keys, land.columns, query)
    everything = oracle.rank(land.keys, land.columns, replace(query, k=COUNT))
    places = [everything.index(hit) for hit in found]
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
        queries = [land.query(vector, 10, concert=concert) for vector in land.keys[:40]]
        found = indexes[0].rank(land.columns, queries)
        assert found == [oracle.rank(land.keys, land.columns, query) for query in queries]


def test_weights_without_a_bound_are_scanned(indexes: dict[int, ApproximateIndex]) -> None:
    land = LANDS[0]
    concerts = [Concert(alpha=-0.3), Concert(beta=-0.5, floor=-1.0), Concert(gamma=-0.3)]
    queries = [land.query(land.keys[0], 10, concert=concert) for concert in concerts]
    assert indexes[0]._narrowed(land.columns, queries) == queries
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
        narrowed = index._narrowed(columns, queries)
        assert sum(query.rows is None for query in narrowed) <= 5
        expected = exact.rank(columns, queries)
        found = index.rank(columns, queries)
        same = sum(len(set(a) & set(b)) for a, b in zip(found, expected, strict=True))
        assert same >= 0.995 * sum(map(len, expected))


def test_a_batch_changes_no_bit(make: Make) -> None:
    land = LANDS[1]
    index = built(make, land)
    queries = [
        land.query(vector, 1 + number % 7, floor=number / 200)
        for number, vector in enumerate(land.keys[:40])
    ]
    alone = [index.rank(land.columns, [query])[0] for query in queries]
    assert index.rank(land.columns, queries) == alone
    assert index.rank(land.columns, queries[::-1]) == alone[::-1]


def test_the_forgotten_are_gone_at_once(make: Make) -> None:
    land = LANDS[0]
    index = built(make, land)
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
    index = built(make, land)
    query = land.query(land.keys[0], 10)
    dead = replace(land.columns, live=np.zeros(COUNT, dtype=np.bool_))
    assert index.rank(dead, [query]) == [[]]
    same = Landscape(np.tile(land.keys[:1], (COUNT, 1)), land.columns, land.now)
    found = built(make, same).rank(same.columns, [query])
    assert found == [oracle.rank(same.keys, same.columns, query)]


def test_novelty_and_cosines_are_exact(make: Make) -> None:
    land = LANDS[0]
    index = built(make, land)
    keys = vectors_near(3, land.keys, 6)
    found = index.nearest(land.columns, keys, oracle.norms_of(keys))
    assert found == [oracle.nearest(land.keys, land.columns, key) for key in keys]
    assert isinstance(index, SupportsCosines)


def test_an_odd_dimension(make: Make) -> None:
    land = LANDS[0]
    odd = Landscape(np.ascontiguousarray(land.keys[:, :129]), land.columns, land.now)
    index = built(make, odd)
    [query] = index._narrowed(odd.columns, [odd.query(odd.keys[0], 5)])
    assert query.rows is not None
    assert index.rank(odd.columns, [query]) == [oracle.rank(odd.keys, odd.columns, query)]


# --- growing -----------------------------------------------------------------------------------


def test_it_is_exact_until_codes_are_there_and_they_come_by_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    land, trained, done = LANDS[0], threading.Event(), threading.Event()

    class Waits(Rounded):
        def train(self, units: Float32) -> None:
            trained.wait()
            super().train(units)

    class WaitingIndex(ApproximateIndex):
        def _kernel(self, dim: int) -> Kernel:
            return Waits()

    index = WaitingIndex()
    index.open(DIM)
    index.add(land.keys, land.norms)
    advance = index._coder.advance

    def advanced() -> bool:
        more = advance()
        if not more:
            done.set()
        return more

    monkeypatch.setattr(index._coder, "advance", advanced)
    query = land.query(land.keys[0], 10)
    assert index._narrowed(land.columns, [query]) == [query]
    assert index.rank(land.columns, [query]) == [oracle.rank(land.keys, land.columns, query)]
    trained.set()
    assert done.wait(30)
    [narrowed] = index._narrowed(land.columns, [query])
    assert narrowed.rows is not None


def test_rows_behind_the_codes_are_found_however_they_came(make: Make) -> None:
    land = LANDS[0]
    whole = built(make, land)
    index = make()
    index.open(DIM)
    cuts = [0, coding.FIRST_ROWS, COUNT - 300, COUNT - 299, COUNT - 130, COUNT]
    for first, stop in pairwise(cuts):
        index.add(land.keys[first:stop], land.norms[first:stop])
        if first == 0:
            index.build()
        columns = replace(
            first_rows(land.columns, stop),
            live=np.ones(stop, dtype=np.bool_),
            strengths=np.ones(stop),
        )
        query = land.query(land.keys[stop - 1], 1, concert=Concert.cosine())
        [[hit]] = index.rank(columns, [query])
        assert hit.row == stop - 1
    queries = [land.query(vector, 10) for vector in vectors_near(4, land.keys, 10)]
    index.build()
    assert index.rank(land.columns, queries) == whole.rank(land.columns, queries)


def test_an_older_state_is_answered_as_it_was(make: Make) -> None:
    land, older = LANDS[0], coding.FIRST_ROWS + 70
    columns = first_rows(land.columns, older)
    index = built(make, land)
    queries = [land.query(vector, 10) for vector in land.keys[:5]]
    assert index._narrowed(columns, queries) == queries
    expected = [oracle.rank(land.keys[:older], columns, query) for query in queries]
    assert index.rank(columns, queries) == expected


def test_codes_are_made_anew_at_fixed_counts() -> None:
    levels = [coding._level(count) for count in (0, 8191, 8192, 32767, 32768, 131072, 10**6)]
    assert levels == [0, 0, 8192, 8192, 32768, 131072, 524288]


def test_a_kernel_that_fails_leaves_the_exact_scan() -> None:
    class Fails(Rounded):
        def add(self, units: Float32) -> None:
            raise MemoryError

    class FailingIndex(ApproximateIndex):
        def _kernel(self, dim: int) -> Kernel:
            return Fails()

    land = LANDS[0]
    index = FailingIndex()
    index.open(DIM)
    index.add(land.keys, land.norms)
    while index._coder.advance():
        pass
    query = land.query(land.keys[0], 10)
    assert index.rank(land.columns, [query]) == [oracle.rank(land.keys, land.columns, query)]


def test_no_job_holds_an_index() -> None:
    coder = Coder(Rounded, lambda rows: np.empty((len(rows), 2), dtype=np.float32))
    job = coding.partial(coding._advance, coding.ref(coder))
    del coder
    gc.collect()
    assert job() is None


def test_opened_anew_it_has_forgotten() -> None:
    land = LANDS[0]
    index = built(RoundedIndex, land)
    index.open(3)
    small = landscape(5, 50, 3)
    index.add(small.keys, small.norms)
    query = small.query(small.keys[0], 9)
    assert index.rank(small.columns, [query]) == [oracle.rank(small.keys, small.columns, query)]


def test_a_shortlist_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least one row"):
        RoundedIndex(shortlist=0)


async def test_in_a_lattice(make: Make) -> None:
    random = np.random.default_rng(7)
    keys = random.standard_normal((9000, DIM)).astype(np.float32)
    index = make()
    async with Lattice(MemoryStore(), dim=DIM, index=index) as lattice:
        await lattice.put_many((Candidate(key=key) for key in keys), batch=1000)
        index.build()
        [line] = await lattice.query(keys[77], 1)
        assert line.similarity == pytest.approx(1.0)
        await lattice.forget(line.anchor)
        assert (await lattice.query(keys[77], 1))[0].anchor != line.anchor
