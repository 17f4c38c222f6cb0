"""Remembering, recalling and looking up, as the docstrings say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from text_support import DIM, opened, race, texts

from pmll_async import Candidate, InvalidFilterError, InvalidInputError, Lattice, LineNotFoundError
from pmll_async.indexes.exact import ExactIndex
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import (
    DIALOGUE,
    NOTES,
    HashingEmbedder,
    Part,
    Preset,
    Recollection,
    Search,
    TextMemory,
)

pytestmark = pytest.mark.usefixtures("nothing_blocks")


async def test_a_text_comes_back_with_all_that_was_said_about_it() -> None:
    async with opened() as memory:
        stored = await memory.remember(
            "The heron stands in the pond.",
            speaker="Ann",
            session="s",
            timestamp=1_700_000_000.0,
            context={"mood": "calm", "tags": ["bird", 3]},
        )
        [found] = await memory.recall("Where is the heron?")
        assert 0 < found.score <= 1
        expected = Recollection(
            stored.anchor,
            "The heron stands in the pond.",
            "Ann",
            "s",
            1_700_000_000.0,
            1.0,
            {"mood": "calm", "tags": ["bird", 3]},
        )
        assert await memory.get(stored.anchor) == expected
        assert await memory.recent() == [expected]
        line = await memory.lattice.get(stored.anchor)
        assert line.context["pmll"] == {
            "text": "The heron stands in the pond.",
            "speaker": "Ann",
            "session": "s",
        }
        with pytest.raises(TypeError, match="immutable"):
            found.context["mood"] = "wild"


async def test_without_a_time_it_is_the_time_of_the_commit() -> None:
    async with (
        Lattice(MemoryStore(), dim=DIM, clock=lambda: 1234.5) as lattice,
        TextMemory(lattice, HashingEmbedder(DIM)) as memory,
    ):
        stored = await memory.remember("now")
        assert (await memory.get(stored.anchor)).timestamp == 1234.5


async def test_who_said_it_and_when_can_be_asked_for() -> None:
    async with opened() as memory:
        for number, (who, day) in enumerate([("Ann", 14), ("Bob", 15), ("Cleo", 16)]):
            when = datetime(2023, 11, day, tzinfo=UTC).timestamp()
            await memory.remember(f"I saw bird {number}", speaker=who, timestamp=when)
        assert (await texts(memory, "What did Bob see?"))[0] == "I saw bird 1"
        assert (await texts(memory, "What was seen on November 16?"))[0] == "I saw bird 2"


async def test_the_embedder_is_told_who_speaks() -> None:
    async with opened() as memory:
        stored = await memory.remember("heron", speaker="Ann")
        key = (await memory.lattice.get(stored.anchor)).key
        assert np.array_equal(key, HashingEmbedder(DIM).embed(["Ann: heron"])[0])
        candidate = await memory.candidate("heron", speaker="Ann", timestamp=3.0, confidence=0.5)
        assert isinstance(candidate, Candidate)
        assert np.array_equal(candidate.key, key)
        assert (candidate.timestamp, candidate.confidence) == (3.0, 0.5)


async def test_a_candidate_races_as_what_remember_would_store() -> None:
    async with opened() as memory:
        said: dict[str, Any] = {"speaker": "Ann", "session": "s", "context": {"a": 1}}
        [anchor] = await race(memory, await memory.candidate("heron", timestamp=1.0, **said))
        raced = await memory.lattice.get(anchor)
        await memory.lattice.rollback(0)
        stored = await memory.remember("heron", timestamp=1.0, **said)
        assert stored.anchor == anchor
        assert (await memory.lattice.get(anchor)).context == raced.context


async def test_recent_is_newest_first_and_takes_a_filter() -> None:
    async with opened() as memory:
        for number in range(6):
            await memory.remember(
                f"t{number}", speaker=("Ann", "Bob")[number % 2], timestamp=number
            )
        assert [found.text for found in await memory.recent(3)] == ["t5", "t4", "t3"]
        found = await memory.recent(2, where={"pmll.speaker": "Ann"})
        assert [each.text for each in found] == ["t4", "t2"]
        assert all(each.score == 1.0 for each in found)
        assert await memory.recent(0) == []
        assert len(await memory.recent(10**9)) == 6
        assert [each.text for each in await memory.at(2).recent()] == ["t1", "t0"]


async def test_get_finds_branches_and_what_is_off_the_chain() -> None:
    async with opened() as memory:
        anchors = await race(memory, *[await memory.candidate(text) for text in ("a b", "a c")])
        loser = await memory.get(anchors[1])
        assert (loser.text, loser.is_branch) == ("a c", True)
        await memory.lattice.rollback(0)
        assert (await memory.get(anchors[0])).text == "a b"
        with pytest.raises(LineNotFoundError):
            await memory.get("f" * 16)


async def test_a_moment_names_a_state() -> None:
    now = [100.0]
    async with (
        Lattice(MemoryStore(), dim=DIM, clock=lambda: now[0]) as lattice,
        TextMemory(lattice, HashingEmbedder(DIM)) as memory,
    ):
        await memory.remember("first heron")
        now[0] = 200.0
        await memory.remember("second heron")
        view = memory.at(datetime.fromtimestamp(150, UTC))
        assert await texts(view, "heron") == ["first heron"]
        assert view.view.revision == 1
        with pytest.raises(InvalidInputError):
            memory.at(9)
        with pytest.raises(LineNotFoundError):
            memory.at("f" * 16)


@pytest.mark.parametrize(
    "bad",
    [
        {"k": -1},
        {"k": 2.5},
        {"k": True},
        {"neighbours": -1},
        {"min_score": 1.5},
        {"min_score": -0.1},
        {"min_score": float("nan")},
        {"where": {"a": {"$what": 1}}},
        {"question": 5},
        {"question": "\ud800"},
    ],
)
async def test_what_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    async with opened() as memory:
        await memory.remember("heron")
        with pytest.raises((InvalidInputError, InvalidFilterError)):
            await memory.recall(**({"question": "heron"} | bad))


async def test_a_preset_of_ones_own() -> None:
    def by_length(search: Search) -> np.ndarray:
        return search.play.lengths[search.rows] * 1.0

    preset = Preset("longest", (Part("length", by_length),), middle=10.0)
    async with opened(preset=preset) as memory:
        for text in ("heron", "heron heron heron", "heron heron"):
            await memory.remember(text)
        assert [len(text.split()) for text in await texts(memory, "heron")] == [3, 2, 1]
    with pytest.raises(InvalidInputError, match="not finite"):
        Part("bad", by_length, float("nan"))


class Meaning:
    """Spelling under another name, so that it counts as meaning."""

    id = "meaning"
    dim = DIM
    embed = HashingEmbedder(DIM).embed


class FewPowers:
    """An index that can do no more than it must."""

    def __init__(self) -> None:
        inner = ExactIndex()
        self.open, self.add = inner.open, inner.add
        self.rank, self.nearest = inner.rank, inner.nearest


async def test_recall_by_meaning_needs_an_index_that_tells_cosines() -> None:
    async with (
        Lattice(MemoryStore(), dim=DIM, index=FewPowers()) as lattice,
        TextMemory(lattice, HashingEmbedder(DIM)) as memory,
    ):
        await memory.remember("heron")
        assert await texts(memory, "heron") == ["heron"]
    async with (
        Lattice(MemoryStore(), dim=DIM, index=FewPowers()) as lattice,
        TextMemory(lattice, Meaning()) as memory,
    ):
        await memory.remember("heron")
        with pytest.raises(InvalidInputError, match="cannot tell all cosines"):
            await memory.recall("heron")


async def test_by_meaning_an_empty_memory_and_one_line_are_answered() -> None:
    async with (
        Lattice(MemoryStore(), dim=DIM) as lattice,
        TextMemory(lattice, Meaning(), preset=DIALOGUE) as memory,
    ):
        assert await memory.recall("heron") == []
        await memory.remember("heron")
        [found] = await memory.recall("herons")
        assert 0 <= found.score <= 1
        await memory.forget(found.anchor)
        assert await memory.recall("heron") == []


async def test_another_preset_may_be_given_to_one_recall() -> None:
    async with opened() as memory:
        await memory.remember("Do you like tea?", speaker="Ann", session="1")
        await memory.remember("Yes, the green one.", speaker="Bob", session="1")
        by_default = await memory.recall("Who likes tea?")
        as_notes = await memory.recall("Who likes tea?", preset=NOTES)
        assert [found.score for found in by_default] != [found.score for found in as_notes]
        async with opened(preset=NOTES) as notes:
            await notes.remember("Do you like tea?", speaker="Ann", session="1")
            await notes.remember("Yes, the green one.", speaker="Bob", session="1")
            expected = [(found.text, found.score) for found in await notes.recall("Who likes tea?")]
        assert [(found.text, found.score) for found in as_notes] == expected


async def test_recent_without_a_limit_gives_all() -> None:
    async with opened() as memory:
        await memory.remember_many(str(number) for number in range(30))
        assert len(await memory.recent()) == 10
        assert [found.text for found in await memory.recent(None)] == [
            str(number) for number in range(29, -1, -1)
        ]
