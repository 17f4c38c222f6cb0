"""Forgetting whatever a filter matches."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from lattice_support import axis

from pmll_async import Candidate, InvalidFilterError, InvalidInputError, Lattice, ReadOnlyStoreError
from pmll_async.text import TextMemory


async def filled(lattice: Lattice) -> dict[str, list[str]]:
    """Lines of two users, a race with one line of each, and a note of one."""
    anchors: dict[str, list[str]] = {"ann": [], "ben": []}
    for n in range(6):
        user = "ann" if n % 2 else "ben"
        context = {"user": user, "n": n}
        anchors[user].append(await lattice.put(axis(n % 4), None, context))

    async def winner(_: object) -> Candidate:
        return Candidate(key=axis(1), context={"user": "ann", "raced": True})

    async def loser(_: object) -> Candidate:
        return Candidate(key=axis(2), context={"user": "ben", "raced": True}, confidence=0.5)

    outcome = await lattice.race([winner, loser])
    anchors["ann"].append(outcome.winner.anchor)
    anchors["ben"].append(outcome.losers[0].anchor)
    anchors["ann"].append(await lattice.note({"user": "ann"}))
    return anchors


async def test_what_matches_is_forgotten_lines_branches_and_notes(lattice: Lattice) -> None:
    async with lattice:
        anchors = await filled(lattice)
        count = len(lattice)
        told = await lattice.forget_where({"user": "ann"}, dry_run=True)
        assert told == tuple(anchors["ann"])
        assert lattice.revision == 8, "nothing was done"
        assert await lattice.forget_where({"user": "ann"}) == told
        assert len(lattice) == count, "they keep their places"
        shown = await lattice.query(axis(1), k=20, min_similarity=-1)
        assert {line.context["user"] for line in shown} == {"ben"}
        assert await lattice.forget_where({"user": "ann"}) == (), "they are gone"
        assert await lattice.forget_where({"user": "ben", "raced": True}) == (anchors["ben"][-1],)
        assert await lattice.forget_where({"user": "nobody"}) == ()
        assert (await lattice.get(anchors["ann"][0])).context["user"] == "ann"


async def test_a_filter_is_wanted(lattice: Lattice) -> None:
    async with lattice:
        anchors = await filled(lattice)
        with pytest.raises(InvalidInputError, match="matches everything"):
            await lattice.forget_where({})
        with pytest.raises(InvalidFilterError):
            await lattice.forget_where({"user": {"$like": "a%"}})
        assert lattice.revision == 8
        assert len(await lattice.query(axis(0), k=20, min_similarity=-1)) == 8
        assert anchors["ann"]


async def test_a_reader_forgets_nothing(tmp_path: Path) -> None:
    async with Lattice.open(tmp_path / "memory", dim=8) as lattice:
        await lattice.put(axis(0), None, {"user": "ann"})
        async with Lattice.open(tmp_path / "memory", read_only=True) as reader:
            with pytest.raises(ReadOnlyStoreError):
                await reader.forget_where({"user": "ann"})


async def test_a_call_that_is_cut_can_be_made_again(tmp_path: Path) -> None:
    async with Lattice.open(tmp_path / "memory", dim=8) as lattice:
        await lattice.put_many(
            Candidate(key=axis(n % 8), context={"user": "ann", "n": n}) for n in range(3000)
        )
        cut = asyncio.ensure_future(lattice.forget_where({"user": "ann"}))
        while lattice.revision == 3000:  # noqa: ASYNC110  # cut at the first turn that shows any
            await asyncio.sleep(0)
        cut.cancel()
        await asyncio.wait([cut])
        # What was taken before is stored before this.
        await lattice.note({})
        left = await lattice.forget_where({"user": "ann"}, dry_run=True)
        assert await lattice.forget_where({"user": "ann"}) == left
        assert await lattice.query(axis(0), k=5) == []
    async with Lattice.open(tmp_path / "memory") as lattice:
        assert await lattice.query(axis(0), k=5) == []


async def test_texts_are_forgotten_by_it_as_well(tmp_path: Path) -> None:
    async with TextMemory.open(tmp_path / "memory") as memory:
        await memory.remember("The kettle is in the attic.", context={"user": "ann"})
        await memory.remember("The kettle is in the kitchen.", context={"user": "ben"})
        await memory.lattice.forget_where({"user": "ann"})
        found = await memory.recall("Where is the kettle?")
        assert [each.text for each in found] == ["The kettle is in the kitchen."]
