"""Lines of a span of time: since inclusive, until exclusive, by when they happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from lattice_support import DIM, axis, put_by_an_older_release

from pmll_async import InvalidInputError, Lattice, LatticeView, MemoryLine
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing.clocks import ManualClock

DAY = 86_400.0
SPANS = [(None, None), (0, 5), (5, None), (None, 5), (5, 5), (7, 8), (-1, 100)]


def spans() -> Iterator[dict[str, Any]]:
    for since, until in SPANS:
        bounds = {"since": since, "until": until}
        yield {name: moment(day) for name, day in bounds.items() if day is not None}


def moment(day: float) -> datetime:
    return datetime.fromtimestamp(DAY * (day + 1), UTC)


def within(lines: Sequence[MemoryLine], since: Any = None, until: Any = None) -> list[MemoryLine]:
    return [
        line
        for line in lines
        if (since is None or since.timestamp() <= line.timestamp)
        and (until is None or line.timestamp < until.timestamp())
    ]


async def check(asked: Lattice | LatticeView) -> None:
    every = [line async for line in asked.rewind()]
    best = await asked.query(axis(0), 100, now=DAY)
    for span in spans():
        assert [line async for line in asked.rewind(**span)] == within(every, **span)
        assert await asked.query(axis(0), 100, now=DAY, **span) == within(best, **span)
        odd = {"n": {"$in": [1, 3, 5, 7, 9, 11, 13]}}
        found = await asked.query(axis(0), 100, now=DAY, where=odd, **span)
        assert found == [line for line in within(best, **span) if line.context["n"] % 2]
        assert len([line async for line in asked.rewind(limit=1, **span)]) <= 1


async def test_spans_are_by_event_time_in_every_state_and_order_of_writing() -> None:
    random, clock = np.random.default_rng(5), ManualClock(DAY * 4)
    async with Lattice(MemoryStore(), dim=DIM, clock=clock) as lattice:
        for n, day in enumerate(random.permutation(12)):
            if n % 4 == 3:
                await lattice.note({"n": n})
            key = axis(0) + axis(1, float(day) / 10)
            await lattice.put(key, None, {"n": n}, timestamp=moment(int(day)))
            # Asked as it grows, so that late lines are merged into what is known.
            if n % 3 == 0:
                await check(lattice)
        await put_by_an_older_release(lattice, axis(0), {"n": 12}, -1e300)
        await check(lattice)
        await check(lattice.at(5))
        gone = await lattice.put(axis(0), None, {"n": 13}, timestamp=moment(6))
        await lattice.forget(gone)
        await check(lattice)
        await lattice.rollback(9)
        await check(lattice)


async def test_the_bias_is_of_the_span(lattice: Lattice) -> None:
    async with lattice:
        await lattice.put(axis(0), axis(1), timestamp=moment(1))
        await lattice.put(axis(0), axis(2), timestamp=moment(2))
        bias = await lattice.bias_vector(axis(0), since=moment(2))
        assert bias.tolist() == axis(2).tolist()


async def test_a_span_reads_no_context() -> None:
    class Store(MemoryStore):
        def contexts(self, first: int, stop: int) -> Iterator[Sequence[bytes]]:
            raise AssertionError("read")

    async with Lattice(Store(), dim=DIM) as lattice:
        for day in range(9):
            await lattice.put(axis(0), None, {"n": day}, timestamp=moment(day))
        found = await lattice.query(axis(0), since=moment(7))
        assert sorted(line.context["n"] for line in found) == [7, 8]


@pytest.mark.parametrize(
    ("span", "match"),
    [
        ({"since": moment(3), "until": moment(2)}, "since is after until"),
        ({"since": 1.7e12}, "since.*divide it by 1,000"),
        ({"until": moment(3).replace(tzinfo=None)}, "until.*without a time zone"),
        ({"until": "today"}, "until"),
    ],
)
async def test_a_span_that_is_none_is_refused(
    lattice: Lattice, span: dict[str, Any], match: str
) -> None:
    async with lattice:
        with pytest.raises(InvalidInputError, match=match):
            await lattice.query(axis(0), **span)
        with pytest.raises(InvalidInputError, match=match):
            lattice.rewind(**span)
