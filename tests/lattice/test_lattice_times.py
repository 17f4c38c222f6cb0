"""When lines happened: what is refused, and what older releases stored all the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lattice_support import DIM, axis, proposing, put_by_an_older_release

from pmll_async import Candidate, InvalidInputError, Lattice, NoWinnerError, PmllError
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing.clocks import ManualClock

MAY = datetime(2024, 5, 3, 8, tzinfo=UTC)
Call = Callable[[Lattice, Any], Awaitable[object]]
WRITES: dict[str, Call] = {
    "put": lambda lattice, when: lattice.put(axis(0), timestamp=when),
    "put_many": lambda lattice, when: lattice.put_many(
        [Candidate.model_construct(key=axis(0), value=None, context={}, timestamp=when)]
    ),
    "writer": lambda lattice, when: lattice.as_writer("ann").put(axis(0), timestamp=when),
    "expires_at": lambda lattice, when: lattice.put(axis(0), expires_at=when),
    "query": lambda lattice, when: lattice.query(axis(0), now=when),
    "bias_vector": lambda lattice, when: lattice.bias_vector(axis(0), now=when),
}


@pytest.mark.parametrize("call", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("when", [MAY.timestamp() * 1000, -1.0, MAY.replace(tzinfo=None)])
async def test_milliseconds_and_naive_datetimes_are_refused(
    lattice: Lattice, call: Call, when: Any
) -> None:
    async with lattice:
        with pytest.raises(InvalidInputError, match=r"time|zone"):
            await call(lattice, when)
        assert len(lattice) == 0


async def test_a_candidate_of_milliseconds_is_none() -> None:
    with pytest.raises(InvalidInputError, match="divide it by 1,000"):
        Candidate(key=axis(0), timestamp=MAY.timestamp() * 1000)
    assert Candidate(key=axis(0), timestamp=MAY).timestamp == MAY.timestamp()


async def test_a_racer_of_milliseconds_is_a_failure(lattice: Lattice) -> None:
    late = Candidate(key=axis(0)).model_copy(update={"timestamp": MAY.timestamp() * 1000})
    async with lattice:
        with pytest.raises(NoWinnerError, match="divide it by 1,000"):
            await lattice.race([proposing(late)])


async def test_an_aware_datetime_is_stored_as_its_seconds(lattice: Lattice) -> None:
    async with lattice:
        put = await lattice.put(axis(0), timestamp=MAY)
        outcome = await lattice.race([proposing(Candidate(key=axis(1), timestamp=MAY))])
        assert (await lattice.get(put)).timestamp == MAY.timestamp()
        assert outcome.winner.timestamp == MAY.timestamp()
        (line,) = await lattice.query(axis(0), k=1, now=MAY)
        assert line.recency == 1.0


async def test_lines_of_older_releases_are_read_whatever_their_time(tmp_path: Path) -> None:
    times = (MAY.timestamp() * 1000, -1e300)
    async with Lattice.open(tmp_path / "old", dim=DIM) as lattice:
        for number, when in enumerate(times):
            await put_by_an_older_release(lattice, axis(number), {"n": number}, when)
    async with Lattice.open(tmp_path / "old") as lattice:
        assert [line.timestamp async for line in lattice.rewind()] == list(times[::-1])
        (line,) = await lattice.query(axis(0), k=1)
        assert line.timestamp == times[0]
        assert (await lattice.verify()).holds


async def test_an_end_in_the_past_is_refused() -> None:
    clock = ManualClock(MAY.timestamp())
    async with Lattice(MemoryStore(), dim=DIM, clock=clock) as lattice:
        for life in ({"expires_at": clock.now}, {"expires_at": 1.0}, {"ttl": 1e10}):
            with pytest.raises(InvalidInputError, match=r"passed|after 2200"):
                await lattice.put(axis(0), **life)  # type: ignore[arg-type]  # one of three
        assert lattice.revision == 0
        clock.advance(-1)
        await lattice.put(axis(0), expires_at=MAY)


async def test_a_clock_of_milliseconds_is_refused_at_the_first_commit() -> None:
    clock = ManualClock(MAY.timestamp() * 1000)
    async with Lattice(MemoryStore(), dim=DIM, clock=clock) as lattice:
        with pytest.raises(PmllError, match="the clock gave"):
            await lattice.put(axis(0))
