"""Approximate indexes as they grow: codes come by themselves, and until then nothing is missed."""

from __future__ import annotations

import gc
import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from approximate_support import COUNT, DIM, KINDS, LANDS, Make, Rounded, RoundedIndex, asked, built

from pmll_async import Candidate, Concert, InvalidInputError, Lattice
from pmll_async.indexes import coder as craft
from pmll_async.indexes.approximate import ApproximateIndex
from pmll_async.indexes.coder import Coder, Kernel
from pmll_async.loop.workers import weak_job
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import oracle
from pmll_async.testing.indexes import first_rows
from pmll_async.testing.oracle import landscape, vectors_near
from pmll_async.values.concert import Float32


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


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
    advance = Coder.advance

    def advanced(coder: Coder) -> bool:
        more = advance(coder)
        if not more:
            done.set()
        return more

    monkeypatch.setattr(Coder, "advance", advanced)
    query = land.query(land.keys[0], 10)
    assert index._found(land.columns, [query]) == {}
    assert index.rank(land.columns, [query]) == [oracle.rank(land.keys, land.columns, query)]
    trained.set()
    assert done.wait(30)
    assert list(index._found(land.columns, [query])) == [0]


def test_rows_behind_the_codes_are_found_however_they_came(make: Make) -> None:
    land = LANDS[0]
    whole = asked(make, 0)
    index = make()
    index.open(DIM)
    cuts = [0, craft.FIRST_ROWS, COUNT - 300, COUNT - 299, COUNT - 130, COUNT]
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
    land, older = LANDS[0], craft.FIRST_ROWS + 70
    columns = first_rows(land.columns, older)
    index = asked(make, 0)
    queries = [land.query(vector, 10) for vector in land.keys[:5]]
    assert index._found(columns, queries) == {}
    expected = [oracle.rank(land.keys[:older], columns, query) for query in queries]
    assert index.rank(columns, queries) == expected


def test_codes_are_made_anew_at_fixed_counts() -> None:
    levels = [craft._level(count) for count in (0, 8191, 8192, 32767, 32768, 131072, 10**6)]
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
    job = weak_job(coder.advance)
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


async def test_in_a_lattice(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    # As many lines as codes need by themselves take seconds to be put.
    monkeypatch.setattr(craft, "FIRST_ROWS", 2048)
    monkeypatch.setattr(craft, "_SAMPLE", 2048)
    random = np.random.default_rng(7)
    keys = random.standard_normal((2100, DIM)).astype(np.float32)
    index = make(shortlist=200)
    async with Lattice(MemoryStore(), dim=DIM, index=index) as lattice:
        await lattice.put_many((Candidate(key=key) for key in keys), batch=1000)
        index.build()
        [line] = await lattice.query(keys[77], 1)
        assert line.similarity == pytest.approx(1.0)
        await lattice.forget(line.anchor)
        assert (await lattice.query(keys[77], 1))[0].anchor != line.anchor
