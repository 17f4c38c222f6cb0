"""What a put stores, revises and refuses, alone and in streams."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest
from lattice_support import (
    DIM,
    Gate,
    GuardedIndex,
    SpyStore,
    axis,
    chain_of,
    near,
    proposing,
    steps,
    topics,
)

from pmll_async import (
    Candidate,
    DimensionMismatchError,
    InvalidInputError,
    Lattice,
    LineNotFoundError,
    NotNovelError,
    PmllError,
    StaleAnchorError,
    StoreFullError,
)
from pmll_async.stores.memory import MemoryStore


async def test_a_value_left_out_is_the_key(lattice: Lattice) -> None:
    async with lattice:
        line = await lattice.get(await lattice.put(axis(0), context={"a": 1}))
        assert line.value.tolist() == line.key.tolist() == axis(0).tolist()
        other = await lattice.get(await lattice.put(axis(0), np.zeros(DIM)))
        assert other.value.tolist() == [0.0] * DIM
        assert dict(other.context) == {}


async def test_without_value_dimensions_values_are_empty() -> None:
    async with Lattice(MemoryStore(), dim=4, value_dim=0) as lattice:
        line = await lattice.get(await lattice.put([1, 0, 0, 0]))
        assert (line.value.shape, line.value.dtype) == ((0,), np.float32)
        await lattice.put([1, 0, 0, 0], [])
        bias = await lattice.bias_vector([1, 0, 0, 0])
        assert (bias.shape, bias.dtype) == ((0,), np.float32)
        with pytest.raises(DimensionMismatchError):
            await lattice.put([1, 0, 0, 0], [1.0])


async def test_values_may_have_dimensions_of_their_own() -> None:
    async with Lattice(MemoryStore(), dim=4, value_dim=2) as lattice:
        assert (lattice.dim, lattice.value_dim) == (4, 2)
        await lattice.put([1, 0, 0, 0], [3, 4])
        assert (await lattice.bias_vector([1, 0, 0, 0])).tolist() == [3, 4]
        with pytest.raises(InvalidInputError, match="value cannot be left out"):
            await lattice.put([1, 0, 0, 0])
        with pytest.raises(DimensionMismatchError):
            await lattice.put([1, 0, 0, 0], [1, 0, 0, 0])
        assert lattice.revision == 1


async def test_what_a_line_holds(lattice: Lattice, clock: Any) -> None:
    async with lattice:
        first = await lattice.put(axis(0), None, {"b": [1, {"a": None}], "a": "é"}, timestamp=5)
        clock.advance(10)
        second = await lattice.put(near(0, 0.6), axis(3))
        line = await lattice.get(second)
        assert (line.anchor, line.prev_anchor, line.kind, line.position) == (
            second,
            first,
            "line",
            1,
        )
        assert line.timestamp == line.committed_at == clock.now
        assert line.similarity == pytest.approx(0.6)
        assert line.novelty == 1.0 - line.similarity
        assert (line.strength, line.recency) == (1.0, 1.0)
        old = await lattice.get(first)
        assert (old.timestamp, old.committed_at) == (5.0, clock.now - 10)
        assert (old.prev_anchor, old.novelty, old.similarity) == ("0" * 16, 1.0, 0.0)
        assert old.context == {"a": "é", "b": [1, {"a": None}]}


async def test_notes_are_on_the_chain_and_in_no_query(lattice: Lattice) -> None:
    async with lattice:
        note = await lattice.get(await lattice.note({"topic": "n"}, "0" * 16))
        assert (note.kind, note.position, note.key.shape, note.value.shape) == (
            "note",
            0,
            (0,),
            (0,),
        )
        line = await lattice.get(await lattice.put(axis(0), None, {"topic": "x"}))
        assert (line.novelty, line.prev_anchor, line.position) == (1.0, note.anchor, 1)
        found = await lattice.query(axis(0), k=10, min_similarity=-1)
        assert [f.anchor for f in found] == [line.anchor]
        assert await topics(lattice) == ["n", "x"]
        assert (len(lattice), note.anchor in lattice) == (2, True)
        await lattice.put(axis(1), revises=(note.anchor,))
        await lattice.forget(note.anchor)
        assert await topics(lattice) == ["n", "x", None]


async def test_revising_fades_by_half_and_only_once(lattice: Lattice) -> None:
    async with lattice:
        old = await lattice.put(axis(0))
        new = await lattice.put(near(0, 0.9), revises=[old])
        assert (await lattice.get(old)).strength == 0.5
        assert lattice.revision == 2, "one record"
        with pytest.raises(StaleAnchorError) as caught:
            await lattice.put(axis(1), revises=(old,))
        assert (caught.value.given, caught.value.current) == (old, new)
        await lattice.forget(new)
        with pytest.raises(StaleAnchorError):
            await lattice.put(axis(1), revises=(new,))
        assert lattice.revision == 3
        await lattice.rollback(1)
        await lattice.put(axis(2), revises=(old,))
        assert (await lattice.get(old)).strength == 0.5


async def test_of_two_revisions_at_once_one_is_stale(lattice: Lattice) -> None:
    async with lattice:
        old = await lattice.put(axis(0))
        told = await asyncio.gather(
            *(lattice.put(axis(i), revises=(old,)) for i in (1, 2)), return_exceptions=True
        )
        assert isinstance(told[0], str)
        assert isinstance(told[1], StaleAnchorError)
        assert (await lattice.get(old)).strength == 0.5


async def test_of_fifty_equal_puts_one_is_novel(lattice: Lattice) -> None:
    async with lattice:
        told = await asyncio.gather(
            *(lattice.put(axis(0), min_novelty=0.1) for _ in range(50)), return_exceptions=True
        )
        stored = [anchor for anchor in told if isinstance(anchor, str)]
        refused = [error for error in told if isinstance(error, NotNovelError)]
        assert (len(stored), len(refused), lattice.revision) == (1, 49, 1)
        assert {error.nearest for error in refused} == set(stored)
        assert {(error.novelty, error.min_novelty) for error in refused} == {(0.0, 0.1)}
        with pytest.raises(NotNovelError) as caught:
            await lattice.put(near(0, 0.95), min_novelty=0.1)
        assert caught.value.nearest == stored[0]
        assert caught.value.novelty == pytest.approx(0.05)
        await lattice.put(near(0, 0.89), min_novelty=0.1)
        await lattice.put(axis(0), min_novelty=0.0)


async def test_what_was_forgotten_or_rolled_back_is_novel_again(lattice: Lattice) -> None:
    async with lattice:
        await lattice.forget(await lattice.put(axis(0)))
        await lattice.put(axis(0), min_novelty=1.0)
        await lattice.rollback(0)
        assert (await lattice.get(await lattice.put(axis(0), min_novelty=1.0))).novelty == 1.0


async def test_a_branch_has_no_part_in_novelty(lattice: Lattice) -> None:
    async with lattice:
        await lattice.race([proposing(Candidate(key=axis(i))) for i in (0, 1)])
        await lattice.put(axis(1), min_novelty=1.0)


async def test_a_clock_that_goes_backwards_orders_nothing(lattice: Lattice, clock: Any) -> None:
    async with lattice:
        for number in range(3):
            await lattice.put(axis(0), None, {"topic": number})
            clock.advance(-1000)
        assert await topics(lattice) == [0, 1, 2]
        found = await lattice.query(axis(0))
        assert {line.recency for line in found} == {1.0}, "lines of the future are of now"
        assert [line.context["topic"] for line in found[:1]] == [0], "the first was novel"


@pytest.mark.parametrize("bad", [math.nan, math.inf, None, "now"])
async def test_a_clock_that_fails_fails_the_call_and_no_later_one(
    store: SpyStore, bad: Any
) -> None:
    times: list[Any] = [1.0, bad, 2.0]

    def clock() -> Any:
        return times.pop(0)

    async with Lattice(store, dim=DIM, clock=clock, index=GuardedIndex()) as lattice:
        await lattice.put(axis(0), None, {"topic": "a"})
        with pytest.raises((PmllError, TypeError, ValueError)):
            await lattice.put(axis(1), None, {"topic": "b"})
        await lattice.put(axis(2), None, {"topic": "c"})
        assert await topics(lattice) == ["a", "c"]


async def test_a_clock_that_raises_fails_the_call_and_no_later_one(store: SpyStore) -> None:
    fails = [False, True, False]

    def clock() -> float:
        if fails.pop(0):
            raise ZeroDivisionError
        return 1.0

    async with Lattice(store, dim=DIM, clock=clock, index=GuardedIndex()) as lattice:
        await lattice.put(axis(0), None, {"topic": "a"})
        with pytest.raises(PmllError, match="clock raised"):
            await lattice.put(axis(1), None, {"topic": "b"})
        await lattice.put(axis(2), None, {"topic": "c"})
        assert await topics(lattice) == ["a", "c"]


async def test_decay_reinforces_and_clamps(lattice: Lattice) -> None:
    async with lattice:
        anchor = await lattice.put(axis(0))
        for factor, strength in ((0.5, 0.5), (1.5, 0.75), (10, 1.0), (0, 0.0), (1e300, 0.0)):
            await lattice.decay(anchor, factor)
            assert (await lattice.get(anchor)).strength == strength
        assert len(await lattice.query(axis(0))) == 1, "only branches fall dormant"
        with pytest.raises(InvalidInputError):
            await lattice.decay(anchor, -0.1)


async def test_forgetting(lattice: Lattice) -> None:
    async with lattice:
        anchor = await lattice.put(axis(0), None, {"topic": "a"}, idempotency_key="k")
        view = lattice.at(lattice.revision)
        await lattice.forget(anchor)
        assert await lattice.query(axis(0)) == []
        assert [line.anchor for line in await view.query(axis(0))] == [anchor]
        assert (await lattice.get(anchor)).position == 0
        assert (await view.find("k")).anchor == anchor
        assert (len(lattice), anchor in lattice, await topics(lattice)) == (1, True, ["a"])


async def test_the_same_put_after_a_rollback_is_the_same_line(lattice: Lattice) -> None:
    async with lattice:
        anchor = await lattice.put(axis(0), idempotency_key="k")
        await lattice.put(axis(1), None, {"topic": "off"})
        await lattice.rollback(0)
        with pytest.raises(LineNotFoundError):
            await lattice.find("k")
        assert (lattice.head, len(lattice), anchor in lattice) == ("0" * 16, 0, False)
        assert (await lattice.get(anchor)).position is None
        assert await lattice.put(axis(0), idempotency_key="k") == anchor
        assert (await lattice.get(anchor)).position == 0
        await lattice.rollback(1)
        assert (lattice.head, len(lattice), anchor in lattice) == (anchor, 1, True)
        assert (await lattice.get(anchor)).position == 0
        assert [line.anchor for line in await chain_of(lattice)] == [anchor]
        await lattice.decay(anchor, 0.5)
        assert [line.strength for line in await lattice.query(axis(0))] == [0.5]


async def test_extreme_lines_have_the_same_bits_in_any_batch(clock: Any) -> None:
    odd = axis(0, 3e38) + axis(1, 1e-5)
    digests = []
    for batch in (1, 2):
        async with Lattice(MemoryStore(), dim=DIM, clock=clock) as lattice:
            await lattice.put_many([Candidate(key=odd), Candidate(key=axis(1))], batch=batch)
            digests.append((lattice.digest, (await lattice.get(lattice.head)).similarity))
    assert digests[0] == digests[1]


async def test_one_errors_facts_are_not_anothers(lattice: Lattice, store: SpyStore) -> None:
    gate = Gate()

    def full() -> None:
        raise StoreFullError("disk")

    async with lattice:
        store.before["append"] = gate
        first = asyncio.create_task(lattice.put(axis(0)))
        await gate.arrival()
        both = asyncio.gather(
            lattice.put(axis(1)),
            lattice.put_many([Candidate(key=axis(i)) for i in range(2)]),
            return_exceptions=True,
        )
        await steps(5)
        store.before["append"] = full
        gate.open()
        await first
        single, many = await both
        assert many.stored == 0
        assert single.stored is None
        assert not getattr(single, "__notes__", [])
