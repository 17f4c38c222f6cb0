"""What is gone says so: forgotten lines, and filters on fields that no line has."""

from __future__ import annotations

import pytest
from lattice_support import axis

from pmll_async import InvalidFilterError, Lattice, MemoryLine, UnknownFieldError


async def test_a_forgotten_line_says_so_where_it_can_still_be_seen(lattice: Lattice) -> None:
    async with lattice:
        kept = await lattice.put(axis(0))
        gone = await lattice.put(axis(1))
        await lattice.forget(gone)
        assert (await lattice.get(gone)).forgotten
        assert not (await lattice.get(kept)).forgotten
        assert [line.forgotten async for line in lattice.rewind()] == [True, False]
        assert [line.anchor async for line in lattice.rewind(forgotten=False)] == [kept]
        before = lattice.at(2)
        assert not (await before.get(gone)).forgotten
        assert [line.anchor async for line in before.rewind(forgotten=False)] == [gone, kept]


async def test_the_newest_that_is_left_is_the_first_of_rewind(lattice: Lattice) -> None:
    async with lattice:
        anchors = [await lattice.put(axis(0), None, {"n": n}) for n in range(40)]
        for anchor in anchors[-3:]:
            await lattice.forget(anchor)
        (line,) = [line async for line in lattice.rewind(forgotten=False, limit=1)]
        assert line.anchor == anchors[-4]


async def test_what_was_rolled_back_is_not_called_forgotten(lattice: Lattice) -> None:
    async with lattice:
        gone = await lattice.put(axis(0))
        await lattice.rollback(0)
        assert not (await lattice.get(gone)).forgotten


async def test_a_line_written_before_there_was_the_field_is_read(lattice: Lattice) -> None:
    async with lattice:
        line = await lattice.get(await lattice.put(axis(0)))
        older = line.model_dump()
        del older["forgotten"]
        assert MemoryLine(**older) == line
        assert MemoryLine(**line.model_dump()) == line


@pytest.mark.parametrize("field", ["timestamp", "committed_at", "created_at", "time"])
async def test_a_filter_on_a_time_is_told_of_since_and_until(lattice: Lattice, field: str) -> None:
    async with lattice:
        where = {field: {"$gte": 5}}
        assert await lattice.query(axis(0), where=where) == []
        await lattice.put(axis(0), None, {"n": 1})
        for asked in (lattice, lattice.at(1)):
            with pytest.raises(UnknownFieldError, match="since= and until=") as caught:
                await asked.query(axis(0), where=where)
            assert caught.value.path == field
            with pytest.raises(InvalidFilterError):
                [line async for line in asked.rewind(where=where)]
        with pytest.raises(UnknownFieldError):
            await lattice.forget_where(where)
        await lattice.put(axis(0), None, {field: 7})
        assert len(await lattice.query(axis(0), where=where)) == 1
        assert await lattice.query(axis(0), where={field: 8}) == []


async def test_a_field_that_lines_may_get_later_is_no_error(lattice: Lattice) -> None:
    async with lattice:
        await lattice.put(axis(0), None, {"n": 1})
        assert await lattice.query(axis(0), where={"topic": "x"}) == []
        assert [line async for line in lattice.rewind(where={"topic.name": "x"})] == []
