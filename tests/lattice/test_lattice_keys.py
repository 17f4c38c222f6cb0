"""An idempotency key stands for a line: it is free when the line is gone, and never before."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from lattice_support import DIM, SpyStore, axis, chain_of, proposing

from pmll_async import Candidate, ConflictError, Lattice, LineNotFoundError
from pmll_async.protocols import Clock

Write = Callable[[Lattice, int], Awaitable[str]]


async def put(lattice: Lattice, topic: int) -> str:
    return await lattice.put(axis(0), None, {"topic": topic}, idempotency_key="k")


async def note(lattice: Lattice, topic: int) -> str:
    return await lattice.note({"topic": topic}, idempotency_key="k")


async def race(lattice: Lattice, topic: int) -> str:
    racers = [
        proposing(Candidate(key=axis(i), context={"topic": topic}, confidence=1 - i / 10))
        for i in range(3)
    ]
    return (await lattice.race(racers, idempotency_key="k")).winner.anchor


async def put_many(lattice: Lattice, topic: int) -> str:
    candidate = Candidate(key=axis(0), context={"topic": topic}, idempotency_key="k")
    await lattice.put_many([candidate])
    return (await lattice.find("k")).anchor


writes = pytest.mark.parametrize("write", [put, note, race, put_many])


async def holder(view: Lattice, revision: int | None = None) -> str | None:
    """The anchor that `find` gives, of the newest state or of an older one."""
    try:
        found = await (view if revision is None else view.at(revision)).find("k")
    except LineNotFoundError:
        return None
    return found.anchor


async def holders(lattice: Lattice) -> list[str | None]:
    return [await holder(lattice, revision) for revision in range(lattice.revision + 1)]


@writes
async def test_a_forgotten_line_frees_its_key(lattice: Lattice, write: Write) -> None:
    async with lattice:
        first = await write(lattice, 1)
        assert await write(lattice, 1) == first
        await lattice.forget(first)
        assert await holder(lattice) is None
        second = await write(lattice, 1)
        assert second != first
        assert await write(lattice, 1) == second
        await lattice.forget(second)
        # Another content under the same key is no conflict either.
        third = await write(lattice, 2)
        assert len({first, second, third}) == len(await chain_of(lattice)) == 3
        assert await holders(lattice) == [None, first, None, second, None, third]


@writes
async def test_it_is_so_at_every_revision_and_after_rollbacks(
    lattice: Lattice, write: Write
) -> None:
    async with lattice:
        first = await write(lattice, 1)
        held = lattice.at(1)
        await lattice.forget(first)
        second = await write(lattice, 1)
        await lattice.forget(first)
        assert await holder(lattice) == second, "the key is another line's now"
        await lattice.rollback(1)
        assert await write(lattice, 1) == await holder(lattice) == first
        await lattice.rollback(3)
        assert await write(lattice, 1) == await holder(lattice) == second
        await lattice.rollback(2)
        assert await holder(lattice) is None
        third = await write(lattice, 1)
        # The same place and content as the second: put back on the chain.
        assert third == second
        expected = [None, first, None, second, second, first, second, None, third]
        assert await holders(lattice) == expected
        assert (await held.find("k")).anchor == first


@pytest.mark.parametrize("kept", ["cache and log", "log"])
@writes
async def test_it_is_so_after_reopening(tmp_path: Path, write: Write, kept: str) -> None:
    path = tmp_path / "memory"
    async with Lattice.open(path, dim=DIM) as lattice:
        first = await write(lattice, 1)
        await lattice.forget(first)
        second = await write(lattice, 2)
        told = await holders(lattice)
    assert told == [None, first, None, second]
    if kept == "log":
        shutil.rmtree(path / "cache")
    async with Lattice.open(path) as lattice:
        assert await holders(lattice) == told
        assert await write(lattice, 2) == second
        await lattice.forget(second)
        assert await holders(lattice) == [*told, None]


async def test_what_a_loser_was_does_not_count(lattice: Lattice) -> None:
    async with lattice:
        winner = await race(lattice, 1)
        for loser in await lattice.branches(winner):
            await lattice.forget(loser.anchor)
        assert await race(lattice, 1) == await holder(lattice) == winner


async def test_a_revised_line_keeps_its_key(lattice: Lattice) -> None:
    async with lattice:
        first = await put(lattice, 1)
        await lattice.put(axis(1), revises=[first])
        assert await put(lattice, 1) == await holder(lattice) == first


async def test_a_retry_in_flight_finds_itself(lattice: Lattice, store: SpyStore) -> None:
    async with lattice:
        first = await put(lattice, 1)
        calls = [lattice.forget(first), *(put(lattice, 2) for _ in range(3)), put(lattice, 3)]
        _, second, again, once_more, conflict = await asyncio.gather(*calls, return_exceptions=True)
        assert first != second == again == once_more
        assert isinstance(conflict, ConflictError)
        assert conflict.anchor == second
        assert await holders(lattice) == [None, first, None, second]


async def test_a_snapshot_keeps_the_key_that_a_later_batch_gives_away(
    tmp_path: Path, clock: Clock
) -> None:
    """A follower may read the forgetting and the next use at once, in one block."""
    async with (
        Lattice.open(tmp_path, dim=DIM, clock=clock) as writer,
        Lattice.open(tmp_path, read_only=True) as follower,
    ):
        first = await put(writer, 1)
        await writer.put(axis(1))
        assert await holder(follower) == first
        view = follower.at(2)
        await writer.forget(first)
        second = await put(writer, 2)
        assert await holder(follower) == second
        assert (await view.find("k")).anchor == first
        assert await holders(follower) == [None, first, first, None, second]
