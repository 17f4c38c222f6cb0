"""Putting many: from any source, batch by batch, and what is stored when one fails."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from lattice_support import (
    DIM,
    SpyStore,
    axis,
    topics,
)

from pmll_async import (
    Candidate,
    InvalidInputError,
    Lattice,
    LineNotFoundError,
    StoreFullError,
)


def candidates(count: int) -> Iterator[Candidate]:
    for number in range(count):
        yield Candidate(key=axis(number % DIM), context={"topic": number})


async def slowly(count: int) -> AsyncIterator[Candidate]:
    for candidate in candidates(count):
        await asyncio.sleep(0)
        yield candidate


@pytest.mark.parametrize("source", [candidates, slowly, lambda n: list(candidates(n))])
async def test_put_many_takes_any_iterable(lattice: Lattice, store: SpyStore, source: Any) -> None:
    told: list[int] = []
    async with lattice:
        assert await lattice.put_many(source(10), batch=4, progress=told.append) == 10
        assert told == [4, 8, 10]
        assert store.calls.count("append") == 3
        assert await topics(lattice) == list(range(10))
        assert await lattice.put_many(source(0)) == 0


async def test_put_many_reads_one_batch_ahead_at_most(lattice: Lattice) -> None:
    taken, behind = 0, []

    def source() -> Iterator[Candidate]:
        nonlocal taken
        for candidate in candidates(12):
            taken += 1
            yield candidate

    async with lattice:
        await lattice.put_many(source(), batch=3, progress=lambda n: behind.append(taken - n))
        assert max(behind) <= 3 + 1


async def test_put_many_tells_its_progress_while_the_source_waits(lattice: Lattice) -> None:
    stored = asyncio.Event()

    async def source() -> AsyncIterator[Candidate]:
        for candidate in candidates(2):
            yield candidate
        await stored.wait()
        yield Candidate(key=axis(3))

    async with lattice:
        done = await lattice.put_many(source(), batch=2, progress=lambda _: stored.set())
        assert done == 3


async def test_what_progress_raises_ends_put_many(lattice: Lattice) -> None:
    def progress(_: int) -> None:
        raise ZeroDivisionError

    async with lattice:
        with pytest.raises(ZeroDivisionError) as caught:
            await lattice.put_many(candidates(9), batch=3, progress=progress)
        assert "put_many: 3 lines are stored" in caught.value.__notes__ or (
            "put_many: 6 lines are stored" in caught.value.__notes__
        )
        assert len(lattice) in (3, 6)


def failing() -> Iterator[Candidate]:
    yield from candidates(5)
    raise ZeroDivisionError


async def test_an_error_of_put_many_says_what_is_stored(lattice: Lattice, store: SpyStore) -> None:
    def full() -> None:
        if store.calls.count("append") == 2:
            raise StoreFullError("disk")

    async with lattice:
        with pytest.raises(ZeroDivisionError) as caught:
            await lattice.put_many(failing(), batch=2)
        assert "4 lines are stored" in "".join(caught.value.__notes__)
        assert await topics(lattice) == [0, 1, 2, 3]
        await lattice.rollback(0)
        store.calls.clear()
        store.before["append"] = full
        with pytest.raises(StoreFullError) as refused:
            await lattice.put_many(candidates(6), batch=2)
        assert refused.value.stored == 2
        assert await topics(lattice) == [0, 1]


@pytest.mark.parametrize("bad", [3, None, {"key": [1.0]}])
async def test_put_many_of_no_candidates_is_refused(lattice: Lattice, bad: Any) -> None:
    async with lattice:
        with pytest.raises(InvalidInputError, match="not a Candidate") as caught:
            await lattice.put_many([*candidates(2), bad], batch=1)
        assert caught.value.stored == 2


async def test_a_failed_put_many_leaves_no_generator_to_the_collector(lattice: Lattice) -> None:
    left: list[Any] = []
    hooks = sys.get_asyncgen_hooks()
    async with lattice:
        sys.set_asyncgen_hooks(finalizer=left.append)
        try:
            with pytest.raises(LineNotFoundError):
                await lattice.put_many([Candidate(key=axis(0), revises=("f" * 16,))] * 2, batch=1)
            gc.collect()
        finally:
            sys.set_asyncgen_hooks(*hooks)
        names = [generator.__qualname__ for generator in left]
        for generator in left:
            await generator.aclose()
    assert names == []
