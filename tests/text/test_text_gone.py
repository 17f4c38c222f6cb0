"""What is gone says so, in texts: forgotten ones, and filters that name what no line has."""

from __future__ import annotations

import pytest
from text_support import opened, texts

from pmll_async import UnknownFieldError


async def test_a_forgotten_text_says_so() -> None:
    async with opened() as memory:
        stored = await memory.remember("The kettle is in the attic.")
        found = await memory.get(stored)
        await memory.forget(found)
        assert (found.forgotten, (await memory.get(found)).forgotten) == (False, True)
        assert await memory.recent() == []


async def test_supersede_takes_what_remember_and_recall_gave() -> None:
    async with opened() as memory:
        first = await memory.remember("Ben lives in Bergen.")
        again = await memory.remember("Ben lives in Bergen.", min_novelty=0.5)
        second = await memory.supersede(again, "Ben lives in Oslo.")
        [found] = await memory.recall("Where does Ben live?")
        third = await memory.supersede(found, "Ben lives in Tromsø.")
        assert await texts(memory, "Where does Ben live?") == ["Ben lives in Tromsø."]
        assert (found.anchor, again.anchor) == (second.anchor, first.anchor)
        assert (await memory.get(third)).text == "Ben lives in Tromsø."


@pytest.mark.parametrize(
    ("where", "cure"),
    [
        ({"speaker": "Ann"}, r"pmll\.speaker"),
        ({"$and": [{"session": {"$in": ["1"]}}, {"n": 1}]}, r"pmll\.session"),
        ({"text": {"$contains": "kettle"}}, r"pmll\.text"),
        ({"timestamp": {"$gte": 1.7e9}}, "since= and until="),
    ],
)
async def test_a_misnamed_field_is_refused_with_its_name(
    where: dict[str, object], cure: str
) -> None:
    async with opened() as memory:
        await memory.remember("The kettle is here.", speaker="Ann", session="1", context={"n": 1})
        for asked in (memory, memory.at(1)):
            with pytest.raises(UnknownFieldError, match=cure):
                await asked.recall("kettle", where=where)
            with pytest.raises(UnknownFieldError, match=cure):
                await asked.recent(where=where)


async def test_explain_names_any_field_that_no_line_has() -> None:
    async with opened() as memory:
        assert await memory.recall("kettle", where={"topci": 1}, explain=True) == []
        await memory.remember("The kettle is here.", context={"topic": 1})
        assert await memory.recall("kettle", where={"topci": 1}) == []
        with pytest.raises(UnknownFieldError, match="topci") as caught:
            await memory.recall("kettle", where={"topci": 1}, explain=True)
        assert caught.value.path == "topci"
        assert len(await memory.recall("kettle", where={"topic": 1}, explain=True)) == 1
        assert await memory.recall("kettle", where={"topic": 2}, explain=True) == []
