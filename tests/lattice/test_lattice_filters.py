"""Filters beside queries: what one is the first to ask for keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from lattice_support import DIM, PATIENCE, Gate, SpyStore, axis, near, proposing, steps

from pmll_async import Candidate, CorruptionError, Lattice, Where
from pmll_async.engine.queries import context_index as context_index_module
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import GatedStore
from pmll_async.values.filters import Test
from pmll_async.values.where import parse

LINES = 16
Filters = Mapping[str, Where]

FILTERS: Filters = {
    "equal": {"topic": 1},
    "equalities": {"topic": 1, "even": False},
    "compared": {"number": {"$gte": 9}},
    "either": {"$or": [{"topic": 1}, {"number": {"$lt": 5}}]},
    "nothing": {"$or": []},
    "missing": {"nowhere": {"$exists": False}},
}


@pytest.fixture(params=[False, True], ids=["few at once", "many at once"])
def slices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns grow a few lines at a time, or all at once."""
    if not request.param:
        monkeypatch.setattr(context_index_module, "_LINES_AT_ONCE", 3)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every product counts as a large one, which belongs in a worker thread."""
    monkeypatch.setattr("pmll_async.engine.queries.batcher.SMALL_PRODUCT", -1)
    monkeypatch.setattr("pmll_async.indexes.exact.SMALL_PRODUCT", -1)


def context(number: int) -> dict[str, Any]:
    return {"number": number, "topic": number % 3, "even": number % 2 == 0}


async def filled(lattice: Lattice) -> None:
    for number in range(0, LINES, 4):
        await lattice.put(near(0, number / 20), None, context(number))
        await lattice.put_many(
            Candidate(key=near(0, n / 20), context=context(n)) for n in (number + 1, number + 2)
        )
        await lattice.decay(lattice.head, 0.9)
        racers = [
            proposing(Candidate(key=near(0, (number + 3) / 20), context=context(n)))
            for n in (number + 3, 100 + number)
        ]
        await lattice.race(racers)


def numbers(lines: Sequence[Any]) -> list[Any]:
    return [line.context["number"] for line in lines]


@pytest.mark.usefixtures("slices")
@pytest.mark.parametrize("name", FILTERS)
async def test_filters_give_what_matches_whatever_was_known_before(
    lattice: Lattice, name: str
) -> None:
    where, matching = FILTERS[name], parse(FILTERS[name])
    async with lattice:
        await filled(lattice)
        middle = lattice.revision // 2
        for view in (lattice.at(middle), lattice, lattice.at(middle + 1), lattice):
            everything = [line async for line in view.rewind()]
            fitting = [line for line in everything if matching.matches(line.context)]
            assert numbers([line async for line in view.rewind(where=where)]) == numbers(fitting)
            lines = await view.query(axis(0), k=200, where=where, min_similarity=-1)
            assert all(matching.matches(line.context) for line in lines)
            every = await view.query(axis(0), k=200, min_similarity=-1)
            assert lines == [line for line in every if matching.matches(line.context)]
            await lattice.put(axis(1), None, context(1_000))


@pytest.mark.usefixtures("slices")
async def test_many_filters_at_once_give_what_each_alone_does(lattice: Lattice) -> None:
    async with lattice:
        await filled(lattice)
        asked = [where for where in FILTERS.values() for _ in range(4)]
        together = await asyncio.gather(
            *(lattice.query(axis(0), k=50, where=where, now=0) for where in asked)
        )
        alone = [await lattice.query(axis(0), k=50, where=where, now=0) for where in asked]
        assert [numbers(lines) for lines in together] == [numbers(lines) for lines in alone]


@pytest.mark.usefixtures("large")
async def test_while_a_filter_reads_what_it_is_the_first_to_ask_for_others_are_answered(
    lattice: Lattice, store: SpyStore
) -> None:
    gate = Gate()
    async with lattice, asyncio.timeout(PATIENCE):
        await filled(lattice)
        for where in ({"topic": 1}, {"topic": {"$in": [1, 2]}}):
            await lattice.query(axis(0), where=where)
        store.before["contexts"] = gate
        first = asyncio.create_task(lattice.query(axis(0), k=50, where={"number": 7}))
        await gate.arrival()
        others = [
            asyncio.create_task(lattice.query(axis(0), where={field: 1}))
            for field in ("number", "even", "x", "y", "z")
        ]
        rewinding = asyncio.create_task(anext(lattice.rewind(where={"w": {"$exists": False}})))
        await steps(10)
        assert store.calls.count("contexts") == 2, "one job reads, whoever waits"
        # Filters on what is known, quick and slow ones, and what has none.
        assert await lattice.query(axis(0))
        assert await lattice.query(axis(0), where={"topic": 1})
        assert await lattice.query(axis(0), where={"topic": {"$in": [1, 2]}})
        assert await anext(lattice.rewind(where={"topic": 1}))
        assert await lattice.get(lattice.head)
        assert not first.done()
        gate.open()
        assert numbers(await first) == [7]
        assert await rewinding
        await asyncio.gather(*others)


@pytest.mark.usefixtures("large")
async def test_a_reading_that_is_cut_off_goes_on_for_the_others(
    lattice: Lattice, store: SpyStore
) -> None:
    gate = Gate()
    async with lattice, asyncio.timeout(PATIENCE):
        await filled(lattice)
        store.before["contexts"] = gate
        cut = asyncio.create_task(lattice.query(axis(0), where={"number": 7}))
        await gate.arrival()
        other = asyncio.create_task(lattice.query(axis(0), k=50, where={"number": 7}))
        await steps(5)
        cut.cancel()
        await steps(5)
        gate.open()
        assert numbers(await other) == [7]
        assert cut.cancelled()
        assert store.calls.count("contexts") == 1


@pytest.mark.usefixtures("large")
async def test_damage_is_told_to_each_who_meets_it(lattice: Lattice, store: SpyStore) -> None:
    gate = Gate()

    def damage() -> None:
        gate()
        raise CorruptionError("file", 7, "is damaged")

    async with lattice, asyncio.timeout(PATIENCE):
        await filled(lattice)
        store.before["contexts"] = damage
        asked = [asyncio.create_task(lattice.query(axis(0), where={"number": n})) for n in range(3)]
        await gate.arrival()
        gate.open()
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(error, CorruptionError) for error in told)
        assert len({id(error) for error in told}) == 3
        del store.before["contexts"]
        assert numbers(await lattice.query(axis(0), k=50, where={"number": 7})) == [7]


@pytest.mark.usefixtures("large")
async def test_slow_filters_leave_threads_to_everything_else(
    lattice: Lattice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of them wait."""
    gate, inside, most = Gate(), [0], [0]
    mask = Test.mask

    def slow(test: Test, columns: Any, rows: int) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        gate()
        inside[0] -= 1
        return mask(test, columns, rows)

    async with lattice, asyncio.timeout(PATIENCE):
        await filled(lattice)
        where: Where = {"number": {"$gt": 5}}
        await lattice.query(axis(0), where=where)
        monkeypatch.setattr(Test, "mask", slow)
        slowly = [asyncio.create_task(lattice.query(axis(0), where=where)) for _ in range(10)]
        await gate.arrival()
        cut = slowly[:4]
        for task in cut:
            task.cancel()
        slowly += [asyncio.create_task(lattice.query(axis(0), where=where)) for _ in range(10)]
        await steps(5)
        assert await lattice.query(axis(0))
        gate.open()
        await asyncio.gather(*slowly[4:])
        assert most == [1]


@pytest.mark.usefixtures("large")
async def test_a_filtered_query_is_answered_although_it_closes(
    lattice: Lattice, store: SpyStore
) -> None:
    gate = Gate()
    await lattice
    await filled(lattice)
    store.before["contexts"] = gate
    asked = asyncio.create_task(lattice.query(axis(0), k=50, where={"number": 7}))
    rewinding = asyncio.create_task(anext(lattice.rewind(where={"number": {"$gt": 5}})))
    await gate.arrival()
    closing = asyncio.create_task(lattice.aclose())
    await steps(5)
    gate.open()
    await closing
    assert numbers(await asked) == [7]
    assert await rewinding


async def test_writes_between_the_pieces_of_a_reading_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(context_index_module, "_LINES_AT_ONCE", 2)
    between, go_on = threading.Event(), threading.Event()

    class Slow(GatedStore):
        def contexts(self, first: int, stop: int) -> Iterator[Sequence[bytes]]:
            for number, piece in enumerate(super().contexts(first, stop)):
                yield piece
                if number == 5 and not between.is_set():
                    between.set()
                    assert go_on.wait(PATIENCE)

    async with Lattice(Slow(MemoryStore()), dim=DIM) as lattice:
        await lattice.put_many(Candidate(key=axis(0), context={"n": n % 2}) for n in range(20))
        slow = asyncio.create_task(lattice.query(axis(0), k=50, where={"n": 1}))
        assert await asyncio.to_thread(between.wait, PATIENCE)
        await lattice.put(axis(0), None, {"n": 1})
        go_on.set()
        assert len(await slow) == 10
        assert len(await lattice.query(axis(0), k=50, where={"n": 1})) == 11
