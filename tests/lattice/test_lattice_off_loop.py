"""Nothing that reads a store or looks at every line happens on the event loop's thread.

The fixtures of this folder do the looking: the store and the index fail on a loop's thread, and
`blockbuster` fails what the package itself calls there.
"""

from __future__ import annotations

import asyncio

import pytest
from blockbuster import BlockingError
from lattice_support import (
    DIM,
    Gate,
    GuardedIndex,
    SpyStore,
    axis,
    must_be_off_loop,
    near,
    proposing,
)

from pmll_async import Candidate, CorruptionError, Lattice, Limits
from pmll_async.engine.queries.reader import LineCache
from pmll_async.loop.breathing import Breather
from pmll_async.protocols import Clock


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every product counts as a large one."""
    monkeypatch.setattr("pmll_async.engine.queries.batcher.SMALL_PRODUCT", -1)
    monkeypatch.setattr("pmll_async.indexes.exact.SMALL_PRODUCT", -1)
    monkeypatch.setattr("lattice_support.SMALL_PRODUCT", -1)


async def test_the_guards_themselves_find_what_blocks(store: SpyStore) -> None:
    with pytest.raises(AssertionError, match="event loop"):
        must_be_off_loop("this")
    with pytest.raises(AssertionError, match=r"Store\.read"):
        store.read(0)
    code = compile("def nap(sleep): sleep(0)", "pmll_async/nap.py", "exec")
    space: dict[str, object] = {}
    exec(code, space)
    assert callable(space["nap"])
    with pytest.raises(BlockingError):
        _from_the_package()


def _from_the_package() -> None:
    breathe = Breather()
    breathe._since -= 1.0
    breathe()


async def use_everything(lattice: Lattice) -> None:
    """Every call once, with filters and views, warm and cold."""
    head = await lattice.put(axis(0), None, {"topic": "a"}, idempotency_key="k")
    await lattice.put_many([Candidate(key=near(0, c / 20)) for c in range(20)])
    await lattice.note({"topic": "b"})
    racers = [proposing(Candidate(key=axis(i))) for i in range(3)]
    outcome = await lattice.race(racers, query=axis(0), idempotency_key="r")
    await lattice.race(racers, idempotency_key="r")
    await lattice.decay(head, 0.5)
    await lattice.forget(outcome.losers[0].anchor)
    for where in (None, {"topic": "a"}):
        for view in (lattice, lattice.at(5), lattice.at(lattice.revision)):
            await view.query(axis(0), where=where)
            await view.bias_vector(axis(0), where=where)
            assert [line async for line in view.rewind(where=where)]
    await asyncio.gather(*(lattice.query(axis(i % DIM)) for i in range(32)))
    await lattice.find("k")
    await lattice.branches(outcome.winner.anchor)
    await lattice.rollback(3)


async def test_no_call_blocks_the_loop_of_a_small_lattice(lattice: Lattice) -> None:
    async with lattice:
        await use_everything(lattice)


@pytest.mark.usefixtures("large")
async def test_no_call_blocks_the_loop_of_a_large_lattice(lattice: Lattice) -> None:
    async with lattice:
        await use_everything(lattice)


@pytest.mark.parametrize("cached", [0, 1, 4096])
async def test_no_call_blocks_the_loop_however_few_lines_are_kept(
    store: SpyStore, clock: Clock, cached: int
) -> None:
    limits = Limits(cached_lines=cached)
    async with Lattice(store, dim=DIM, clock=clock, index=GuardedIndex(), limits=limits) as lattice:
        await use_everything(lattice)


async def test_a_line_dropped_from_the_cache_meanwhile_is_not_read_on_the_loop(
    lattice: Lattice, store: SpyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lattice:
        for number in range(2):
            await lattice.put(near(0, 1 - number / 4))
        assert len(await lattice.query(axis(0))) == 2
        find, store.calls[:] = LineCache.get, []

        def find_then_drop(cache: LineCache, line: int) -> object:
            found = find(cache, line)
            cache._lines.clear()
            return found

        monkeypatch.setattr(LineCache, "get", find_then_drop)
        # The first line is there still, the second no more.
        assert len(await lattice.query(axis(0))) == 2
        assert "read" in store.calls


@pytest.mark.usefixtures("large")
async def test_queries_that_wait_together_are_one_product(
    lattice: Lattice, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    rank = GuardedIndex.rank

    def counting(index: GuardedIndex, columns: object, queries: list[object]) -> object:
        sizes.append(len(queries))
        return rank(index, columns, queries)

    monkeypatch.setattr(GuardedIndex, "rank", counting)
    async with lattice:
        await lattice.put(axis(0))
        alone = await lattice.query(near(0, 0.5), k=1)
        # An answer may be there before the batcher knows that its job has ended.
        await lattice._open.services.queries.drained()
        together = await asyncio.gather(*(lattice.query(near(0, 0.5), k=1) for _ in range(20)))
        assert all(lines == alone for lines in together)
        # The first goes at once, what comes while it is under way is one batch.
        assert sizes == [1, 1, 19]


@pytest.mark.usefixtures("large")
async def test_a_query_that_meets_damage_fails_alone(lattice: Lattice, store: SpyStore) -> None:
    def damage() -> None:
        raise CorruptionError("file", 7, "is damaged")

    async with lattice:
        await lattice.put(axis(0), None, {"topic": "a"})
        await lattice.query(axis(0))
        store.before["contexts"] = damage
        filtered, plain = await asyncio.gather(
            lattice.query(axis(0), where={"topic": "a"}),
            lattice.query(axis(0)),
            return_exceptions=True,
        )
        assert isinstance(filtered, CorruptionError)
        assert isinstance(plain, list)
        assert len(plain) == 1


async def test_the_loop_turns_while_the_store_writes(lattice: Lattice, store: SpyStore) -> None:
    gate = Gate()
    async with lattice:
        await lattice.put(axis(0))
        store.before["append"] = gate
        writing = asyncio.create_task(lattice.put(axis(1)))
        await gate.arrival()
        assert len(await lattice.query(axis(0))) == 1, "readers need no lock"
        assert len(lattice) == 1
        gate.open()
        await writing
        assert len(lattice) == 2
