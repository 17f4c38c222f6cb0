"""What an anchor, a revision and a moment name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from pmll_async import InvalidInputError, Lattice, LineNotFoundError
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import ManualClock
from pmll_async.values.anchors import ROOT_ANCHOR

START = 1_700_000_000.0


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(START + seconds, UTC)


@pytest.fixture
async def lattice() -> AsyncIterator[Lattice]:
    """Four records, ten seconds apart: two puts, a decay of the first, a note."""
    clock = ManualClock(START, step=10.0)
    async with Lattice(MemoryStore(), dim=2, clock=clock) as lattice:
        first = await lattice.put([1, 0], context={"n": 0})
        await lattice.put([0, 1], context={"n": 1})
        await lattice.decay(first, 0.5)
        await lattice.note({"n": 2})
        yield lattice


async def anchors_of(lattice: Lattice) -> list[str]:
    return [line.anchor async for line in lattice.rewind()][::-1]


async def test_revisions(lattice: Lattice) -> None:
    assert [len(lattice.at(revision)) for revision in range(5)] == [0, 1, 2, 2, 3]
    assert [lattice.at(revision).revision for revision in range(5)] == list(range(5))
    assert lattice.at(0).head == ROOT_ANCHOR
    assert lattice.at(4).head == lattice.head


async def test_anchors(lattice: Lattice) -> None:
    anchors = await anchors_of(lattice)
    assert [lattice.at(anchor).revision for anchor in anchors] == [1, 2, 4]
    assert lattice.at(ROOT_ANCHOR).revision == 0
    assert (await lattice.at(anchors[0]).get(anchors[0])).strength == 1.0
    assert (await lattice.at(3).get(anchors[0])).strength == 0.5


async def test_moments(lattice: Lattice) -> None:
    expected = {-1: 0, 0: 1, 5: 1, 9.999: 1, 10: 2, 20: 3, 29: 3, 30: 4, 1e9: 4}
    assert {s: lattice.at(moment(s)).revision for s in expected} == expected
    elsewhere = moment(10).astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert lattice.at(elsewhere).revision == 2


async def test_now_is_the_time_of_the_record(lattice: Lattice) -> None:
    assert [lattice.at(revision).now - START for revision in range(1, 5)] == [0, 10, 20, 30]
    [line] = await lattice.at(1).query([1, 0])
    assert line.recency == 1.0
    [line] = await lattice.at(1).query([1, 0], now=START + 6 * 3600)
    assert line.recency == pytest.approx(0.36788, abs=1e-5)


@pytest.mark.parametrize("point", [-1, 5, 10**20, True, 1.0, None, datetime(2026, 1, 1)])  # noqa: DTZ001  # a naive one is the point
async def test_what_is_no_point(lattice: Lattice, point: Any) -> None:
    with pytest.raises(InvalidInputError):
        lattice.at(point)
    with pytest.raises(InvalidInputError):
        await lattice.rollback(point)
    assert lattice.revision == 4


@pytest.mark.parametrize("anchor", ["1" * 16, "", "xyz", "0" * 15, "A" * 16])
async def test_anchors_that_nothing_has(lattice: Lattice, anchor: str) -> None:
    with pytest.raises(LineNotFoundError):
        lattice.at(anchor)
    with pytest.raises(LineNotFoundError):
        await lattice.get(anchor)
    assert anchor not in lattice
    assert lattice.revision == 4


async def test_a_view_knows_nothing_later(lattice: Lattice) -> None:
    anchors = await anchors_of(lattice)
    view = lattice.at(1)
    assert anchors[0] in view
    assert anchors[1] not in view
    with pytest.raises(LineNotFoundError):
        await view.get(anchors[1])
    with pytest.raises(LineNotFoundError):
        await anext(view.rewind(start=anchors[1]))
    assert [line.anchor async for line in view.rewind()] == anchors[:1]
    assert [line.anchor for line in await view.query([1, 1], 9)] == anchors[:1]


async def test_a_view_does_not_move(lattice: Lattice) -> None:
    view = lattice.at(lattice.revision)
    before = await view.query([1, 1], 9)
    await lattice.put([1, 1], context={"n": 3})
    await lattice.forget(before[0].anchor)
    assert await view.query([1, 1], 9) == before
    assert (len(view), view.revision) == (3, 4)


async def test_a_clock_that_goes_backwards() -> None:
    clock = ManualClock(START, step=-10.0)
    async with Lattice(MemoryStore(), dim=1, clock=clock) as lattice:
        anchors = [await lattice.put([1.0], context={"n": n}) for n in range(3)]
        assert [line.anchor async for line in lattice.rewind()] == anchors[::-1]
        lines = await lattice.query([1.0], now=START - 100)
        assert [line.recency for line in lines] == [1.0] * 3
        # Weights are equal but for novelty, which the first line alone has.
        assert [line.anchor for line in lines] == [anchors[0], anchors[2], anchors[1]]


async def test_equality_of_lines_survives_a_negative_zero() -> None:
    # The cosine of these is -0.0 in the order of the products; JSON has only one zero.
    async with Lattice(MemoryStore(), dim=2) as lattice:
        await lattice.put([-1, 0])
        line = await lattice.get(await lattice.put([0, -1]))
        assert str(line.similarity) == "0.0"
        line = await lattice.get(await lattice.put([1, 1], timestamp=-0.0))
        assert str(line.timestamp) == "0.0"
