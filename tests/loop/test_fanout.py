"""Fan-out: listeners with a buffer, whom nobody waits for."""

from __future__ import annotations

import asyncio

import pytest

from pmll_async.errors import InvalidInputError
from pmll_async.loop.fanout import BufferedListener, EventsMissed, Fanout


async def rest(listener: BufferedListener[int]) -> list[int | EventsMissed]:
    return [event async for event in listener]


async def test_each_listener_has_what_fits_and_the_count_of_what_does_not() -> None:
    source = Fanout[int]()
    async with BufferedListener(source, 3) as small, BufferedListener(source, 9) as large:
        assert source.room == 9
        source.tell([1])
        source.tell([2, 3, 4], missed=2)
        source.tell([5, 6])
        source.end()
        assert await rest(small) == [EventsMissed(5), 4, 5, 6]
        assert await rest(large) == [EventsMissed(2), 1, 2, 3, 4, 5, 6]


async def test_more_than_a_buffer_at_once_leaves_the_newest() -> None:
    source = Fanout[int]()
    async with BufferedListener(source, 2) as listener:
        source.tell([1])
        source.tell(range(2, 9))
        assert [await anext(listener) for _ in range(3)] == [EventsMissed(6), 7, 8]


async def test_what_waits_is_woken_by_events_and_by_the_end() -> None:
    source = Fanout[int]()
    async with BufferedListener(source, 2) as listener:
        reading = asyncio.ensure_future(rest(listener))
        await asyncio.sleep(0)
        source.tell([1])
        await asyncio.sleep(0)
        source.end()
        assert await reading == [1]


async def test_after_its_block_a_listener_has_what_came_before() -> None:
    source = Fanout[int]()
    async with BufferedListener(source, 2) as listener:
        source.tell([1])
    source.tell([2])
    assert source.room == 0
    assert await rest(listener) == [1]


async def test_one_that_comes_after_the_end_hears_nothing() -> None:
    source = Fanout[int]()
    source.end()
    async with BufferedListener(source, 2) as late:
        assert await rest(late) == []


async def test_outside_of_its_block_a_listener_says_so() -> None:
    with pytest.raises(InvalidInputError, match="block"):
        await anext(BufferedListener(Fanout[int](), 2))
