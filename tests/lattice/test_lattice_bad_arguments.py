"""The smaller arguments: numbers, keys, anchors, and conflicts inside one batch."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from lattice_support import DIM, Gate, SpyStore, axis, topics

from pmll_async import (
    Candidate,
    ConflictError,
    DimensionMismatchError,
    InvalidInputError,
    Lattice,
    LineNotFoundError,
    StaleAnchorError,
)
from pmll_async.stores.memory import MemoryStore

NO_SECONDS: list[Any] = [math.nan, math.inf, "1", True, [1.0], 10**400]


@pytest.mark.parametrize("seconds", NO_SECONDS, ids=lambda s: str(s)[:10])
async def test_times_are_finite_numbers(lattice: Lattice, store: SpyStore, seconds: Any) -> None:
    async with lattice:
        with pytest.raises(InvalidInputError):
            await lattice.put(axis(0), timestamp=seconds)
        with pytest.raises(InvalidInputError):
            await lattice.query(axis(0), now=seconds)
        with pytest.raises(InvalidInputError):
            await lattice.decay("0" * 16, seconds)
        assert "append" not in store.calls


@pytest.mark.parametrize("k", [-1, 1.5, "5", None, True])
async def test_k_is_a_whole_number(lattice: Lattice, k: Any) -> None:
    async with lattice:
        with pytest.raises(InvalidInputError):
            await lattice.query(axis(0), k=k)


@pytest.mark.parametrize(
    "arguments",
    [
        {"min_novelty": 1.5},
        {"min_novelty": -0.1},
        {"min_novelty": math.nan},
        {"prev_anchor": "xyz"},
        {"prev_anchor": "A" * 16},
        {"prev_anchor": 3},
        {"revises": "0" * 16},
        {"revises": ("1" * 16, "1" * 16)},
        {"idempotency_key": ""},
        {"idempotency_key": "x" * 513},
        {"idempotency_key": 5},
        {"idempotency_key": "\ud800"},
    ],
    ids=lambda a: str(a)[:30],
)
async def test_a_put_with_a_bad_argument_reaches_no_store(
    lattice: Lattice, store: SpyStore, arguments: dict[str, Any]
) -> None:
    async with lattice:
        with pytest.raises(InvalidInputError):
            await lattice.put(axis(0), **arguments)
        assert "append" not in store.calls


@pytest.mark.parametrize(
    "arguments",
    [{"decay": 1.1}, {"decay": -0.1}, {"decay": math.nan}, {"timeout": math.nan}],
    ids=str,
)
async def test_a_race_with_a_bad_argument_starts_nothing(
    lattice: Lattice, arguments: dict[str, Any]
) -> None:
    started = []

    async def candidate(view: object) -> Candidate:
        started.append(view)
        return Candidate(key=axis(0))

    async with lattice:
        with pytest.raises(InvalidInputError):
            await lattice.race([candidate], **arguments)
        with pytest.raises(ValueError, match="at least one"):
            await lattice.race([])
        with pytest.raises(DimensionMismatchError):
            await lattice.race([candidate], query=[1.0])
    assert not started


@pytest.mark.parametrize("name", ["f" * 16, "F" * 16, "short", "", 3, None, "\ud800" * 16])
async def test_an_anchor_of_no_line_is_a_lookup_error(lattice: Lattice, name: Any) -> None:
    async with lattice:
        await lattice.put(axis(0))
        for call in (lattice.get, lattice.branches, lattice.forget):
            with pytest.raises(LineNotFoundError) as caught:
                await call(name)
            assert isinstance(caught.value, LookupError)
        with pytest.raises(LineNotFoundError):
            await lattice.decay(name, 0.5)
        with pytest.raises(LineNotFoundError):
            await lattice.put(axis(1), revises=(name,))
        assert name not in lattice
        assert lattice.revision == 1


@pytest.mark.parametrize(
    "shape", [{"dim": 0}, {"dim": -1}, {"dim": 1.5}, {"dim": True}, {"dim": 8, "value_dim": -1}]
)
def test_a_dimension_is_a_whole_number(shape: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        Lattice(MemoryStore(), **shape)


async def test_a_new_store_needs_dim_and_an_old_one_keeps_it() -> None:
    store = MemoryStore()
    with pytest.raises(DimensionMismatchError):
        await Lattice(store)
    async with Lattice(store, dim=4):
        pass
    with pytest.raises(DimensionMismatchError) as caught:
        await Lattice(store, dim=5)
    assert (caught.value.expected, caught.value.actual) == (4, 5)
    with pytest.raises(DimensionMismatchError):
        await Lattice(store, value_dim=5)
    async with Lattice(store) as lattice:
        assert (lattice.dim, lattice.value_dim) == (4, 4)


async def outcomes(*calls: Any) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_a_conflict_within_one_batch_fails_alone(lattice: Lattice, store: SpyStore) -> None:
    gate = Gate()
    async with lattice:
        store.before["append"] = gate
        first = asyncio.create_task(lattice.put(axis(7)))
        await gate.arrival()
        batch = asyncio.create_task(
            outcomes(
                lattice.put(axis(0), None, {"topic": "a"}, idempotency_key="k"),
                lattice.put(axis(1), None, {"topic": "b"}, idempotency_key="k"),
                lattice.put(axis(0), None, {"topic": "a"}, idempotency_key="k"),
                lattice.put(axis(2), None, {"topic": "c"}, prev_anchor="0" * 16),
                lattice.put(axis(3), None, {"topic": "d"}),
            )
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gate.open()
        await first
        kept, conflict, same, stale, other = await batch
        assert store.calls.count("append") == 2, "all of them were one batch"
        assert isinstance(conflict, ConflictError)
        assert conflict.anchor == kept == same
        assert isinstance(stale, StaleAnchorError)
        assert await topics(lattice) == [None, "a", "d"]
        assert (await lattice.get(other)).prev_anchor == kept == stale.current


async def test_a_conflict_within_one_put_many_stores_nothing_of_its_batch(lattice: Lattice) -> None:
    def candidate(number: int, key: str | None = None) -> Candidate:
        return Candidate(key=axis(number), context={"topic": number}, idempotency_key=key)

    async with lattice:
        with pytest.raises(ConflictError) as caught:
            await lattice.put_many(
                [candidate(0), candidate(1), candidate(2, "k"), candidate(3, "k")], batch=2
            )
        assert caught.value.stored == 2
        assert await topics(lattice) == [0, 1]
        with pytest.raises(LineNotFoundError):
            await lattice.find("k")
        assert await lattice.put_many([candidate(2, "k"), candidate(2, "k"), candidate(3)]) == 2
        assert await topics(lattice) == [0, 1, 2, 3]


async def test_every_key_is_of_one_dimension(lattice: Lattice) -> None:
    assert DIM == 8
    async with lattice:
        with pytest.raises(DimensionMismatchError) as caught:
            await lattice.put_many([Candidate(key=axis(0)), Candidate(key=[1.0])], batch=1)
        assert caught.value.stored == 1


def test_an_empty_path_is_refused() -> None:
    """It would be the current folder, and is more likely a variable that was never set."""
    with pytest.raises(InvalidInputError, match="this folder is"):
        Lattice.open("")
