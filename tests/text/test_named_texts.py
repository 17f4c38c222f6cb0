"""Texts under names of the user's own, replaced in one record."""

from __future__ import annotations

import asyncio

import pytest
from text_support import opened, texts

from pmll_async import InvalidInputError, LineNotFoundError


async def test_a_text_that_is_set_takes_the_place_of_the_one_before() -> None:
    async with opened() as memory:
        first = await memory.set("home", "Ben lives in Bergen.", speaker="Ann", context={"n": 1})
        second = await memory.set("home", "Ben lives in Oslo.")
        found = await memory.named("home")
        assert (found.anchor, found.text, found.context) == (
            second.anchor,
            "Ben lives in Oslo.",
            {},
        )
        assert memory.lattice.revision == 2, "one record each"
        assert await texts(memory, "Where does Ben live?") == ["Ben lives in Oslo."]
        assert (await memory.get(first)).text == "Ben lives in Bergen."
        assert (await memory.at(1).named("home")).anchor == first.anchor


async def test_names_are_apart_and_may_be_free_again() -> None:
    async with opened() as memory:
        await memory.set("home", "Bergen", context={"name": "own"})
        await memory.set("work", "Oslo")
        assert (await memory.named("home")).context == {"name": "own"}
        await memory.forget(await memory.named("home"))
        for name in ("home", "own", "Home"):
            with pytest.raises(LineNotFoundError, match="name"):
                await memory.named(name)
        await memory.set("home", "Tromsø")
        assert (await memory.named("home")).text == "Tromsø"
        assert (await memory.named("work")).text == "Oslo"


async def test_a_name_goes_on_with_what_supersedes_it() -> None:
    async with opened() as memory:
        stored = await memory.set("home", "Bergen")
        newer = await memory.supersede(stored, "Oslo")
        assert (await memory.named("home")).anchor == newer.anchor
        await memory.set("home", "Tromsø")
        assert [found.text for found in await memory.recent()] == ["Tromsø"]


async def test_of_many_who_set_it_at_once_one_is_left() -> None:
    async with opened() as memory:
        writer = memory.as_writer("ann")
        sets = [who.set("home", f"{n}") for n in range(8) for who in (memory, writer)]
        done = await asyncio.gather(*sets, return_exceptions=True)
        assert not [each for each in done if isinstance(each, BaseException)]
        assert len(await memory.recent(None)) == 1


@pytest.mark.parametrize("name", ["", " \n", 5, None, "\ud800"])
async def test_what_is_no_name_is_refused(name: object) -> None:
    async with opened() as memory:
        with pytest.raises(InvalidInputError, match="name"):
            await memory.set(name, "Bergen")  # type: ignore[arg-type]  # that is what is tried
        with pytest.raises(InvalidInputError, match="name"):
            await memory.named(name)  # type: ignore[arg-type]  # that is what is tried
        assert memory.lattice.revision == 0
