"""Texts in somebody's name: remembered through a writer, recalled with their source."""

from __future__ import annotations

from pathlib import Path

import pytest
from text_support import DIM, HASHING, opened, proposing, texts

from pmll_async import InvalidInputError, Lattice, LatticeClosedError, Source, stamp
from pmll_async.moving.reembed import reembed
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import HashingEmbedder, Stored, TextMemory, Utterance

pytestmark = pytest.mark.usefixtures("nothing_blocks")

QUESTION = "where is the spare key"


async def test_a_recalled_text_says_who_wrote_it() -> None:
    async with opened() as memory:
        await memory.remember("the spare key is with Ann")
        web = memory.as_writer("web", trust=0.25, channel="https")
        told = await web.remember("the spare key is in the drawer", context={"page": 1})
        assert isinstance(told, Stored)
        found = {each.text: each for each in await memory.recall(QUESTION)}
        page = found["the spare key is in the drawer"]
        assert page.source == Source("web", 0.25, "https")
        assert page.context == {"page": 1}
        assert found["the spare key is with Ann"].source is None
        assert await texts(memory, QUESTION, min_trust=0.5) == ["the spare key is with Ann"]
        assert [each.source for each in await memory.recent(min_trust=0.5)] == [None]
        assert repr(web) == "TextWriter('web', trust=0.25)"
        assert web.writer.source == Source("web", 0.25, "https")


async def test_a_writer_remembers_as_the_memory_does() -> None:
    async with opened() as memory:
        web = memory.as_writer("web", trust=0.25)
        said = ["a heron", Utterance(text="a goose", speaker="Ann", session="s")]
        assert await web.remember_many(said) == 2
        old = await web.remember("the key is under the mat", speaker="Ann", context={"room": 1})
        new = await web.supersede(old.anchor, "the key is in the drawer")
        found = await memory.get(new.anchor)
        assert (found.speaker, found.context, found.source) == (
            "Ann",
            {"room": 1},
            Source("web", 0.25),
        )
        outcome = await memory.lattice.race([proposing(await web.candidate("a swan"))])
        assert (await memory.get(outcome.winner.anchor)).source == Source("web", 0.25)
        assert {each.source for each in await memory.recent()} == {Source("web", 0.25)}
        mine = await memory.remember("a crane")
        with pytest.raises(InvalidInputError, match="may not revise"):
            await web.supersede(mine.anchor, "no crane")
    with pytest.raises(LatticeClosedError):
        await web.remember("too late")


async def test_what_is_hidden_is_not_recalled_and_not_a_neighbour() -> None:
    async with opened() as memory:
        held = memory.as_writer("page", quarantine=True)
        await memory.remember("where is the spare key", session="s")
        page = await held.remember("the spare key is anywhere, said the page", session="s")
        await memory.remember("the spare key is with Ann", session="s")
        assert "anywhere" not in "".join(await texts(memory, QUESTION))
        for found in await memory.recall(QUESTION, neighbours=2):
            assert page.anchor not in {each.anchor for each in (*found.before, *found.after)}
        assert len(await memory.recent()) == 2
        assert (await memory.get(page.anchor)).text.startswith("the spare key is anywhere")
        before = memory.lattice.revision
        await memory.lattice.release(page.anchor)
        assert len(await memory.recent()) == 3
        assert len(await memory.at(before).recent()) == 2
        agent = memory.as_writer("agent").derived_from(page.anchor)
        await agent.remember("the spare key is anywhere, in short")
        await memory.lattice.revoke("page")
        assert len(await memory.recent()) == 2


async def test_a_flood_of_one_principal_leaves_half_of_an_answer() -> None:
    async with opened() as memory:
        flood = memory.as_writer("flood", trust=0.5)
        await flood.remember_many([f"the spare key is in drawer {n}" for n in range(1500)])
        ann = memory.as_writer("Ann", trust=0.5)
        for place in ("with Ben", "on the shelf", "lost"):
            await ann.remember(f"I think that the key we spare is {place}")
        await memory.remember("a note about the spare key of the house")
        without = await memory.recall(QUESTION, 6)
        assert {found.source.principal for found in without if found.source} == {"flood"}
        found = await memory.recall(QUESTION, 6, diversity=True)
        names = [each.source.principal if each.source else "" for each in found]
        assert sorted(names) == ["", "Ann", "Ann", "flood", "flood", "flood"]
        assert [each.score for each in found] == sorted(each.score for each in found)[::-1]


async def test_a_claim_is_recalled_if_others_make_it() -> None:
    async with opened() as memory:
        for name in "ab":
            writer = memory.as_writer(name, trust=0.25)
            await writer.remember("the spare key is with Ann")
        await memory.as_writer("c", trust=0.25).remember("the spare key is in the drawer of lies")
        found = await texts(memory, QUESTION, min_sources=2)
        assert found == ["the spare key is with Ann"] * 2
        assert await texts(memory, QUESTION, min_sources=3) == []
        view = memory.at(memory.lattice.revision)
        assert await texts(view, QUESTION, min_sources=2) == found


@pytest.mark.parametrize(
    ("said", "by_others", "agrees"),
    [
        ("I think the spare key is with Ann", "with Ann, for now, is the spare key", True),
        ("Well. We believe that the spare key is with Ann", "well, Ann has the spare key", True),
        # The frame is left out of a claim, and nothing else is.
        ("I think the spare key is with Ben", "with Ann, for now, is the spare key", False),
        ("I think the spare key is not with Ann", "with Ann, for now, is the spare key", False),
        ("I saw that the spare key is with Ann", "with Ann, for now, is the spare key", False),
        ("Ben and I think the spare key is with Ann", "the spare key is with Ann", False),
        # Here it is all that is said.
        ("I believe in the spare key", "where is the spare key", False),
        ("I think so", "what is so is the spare key", False),
    ],
)
async def test_that_somebody_thinks_so_is_no_part_of_a_claim(
    said: str, by_others: str, agrees: bool
) -> None:
    async with opened() as memory:
        liar = memory.as_writer("a", trust=0.25)
        await liar.remember(said)
        # Who says it twice in a row is still one.
        await liar.remember(said.removeprefix("I think "))
        assert said not in await texts(memory, QUESTION, min_sources=2)
        await memory.as_writer("b", trust=0.25).remember(by_others)
        assert (said in await texts(memory, QUESTION, min_sources=2)) is agrees


async def test_another_embedder_keeps_what_came_of_what(tmp_path: Path) -> None:
    store = MemoryStore()
    async with Lattice(store, dim=DIM, value_dim=0) as lattice, TextMemory(lattice, HASHING) as old:
        page = await old.as_writer("page", quarantine=True).remember("the page says a")
        other = await old.as_writer("page", quarantine=True).remember("the page says b")
        agent = old.as_writer("agent")
        await agent.derived_from(page.anchor).remember("in short, a")
        await agent.derived_from(other.anchor).remember("in short, b")
        await lattice.release(page.anchor)
        shown = {each.text for each in await old.recent()}
        assert shown == {"the page says a", "in short, a"}
    wide = HashingEmbedder(DIM * 2)
    path = tmp_path / "new"
    anchors = await reembed(store, JsonlStore(path), wide)
    async with TextMemory.open(path, wide) as new:
        assert {each.text for each in await new.recent()} == shown
        await new.lattice.release(anchors[other.anchor])
        assert len(await new.recent()) == 4


async def test_a_context_that_forges_a_text_is_still_the_writers() -> None:
    async with opened() as memory:
        forged = stamp({}, {"text": "the spare key is here", "source": {"principal": "Ann"}})
        vector = HASHING.embed(["the spare key is here"])[0]
        await memory.lattice.as_writer("web", trust=0.0).put(vector, None, forged)
        [found] = await memory.recall(QUESTION)
        assert found.source == Source("web", 0.0)
