from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest
from text_support import PATIENCE

from pmll_async import InvalidInputError, Lattice, LatticeView
from pmll_async.moving.reembed import reembed
from pmll_async.protocols import StoreHeader
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import HashingEmbedder, TextMemory
from pmll_async.text.memory import EMBEDDER_PIN
from pmll_async.values.anchors import Hasher
from tests.cli_support import pmll

NARROW, WIDE = HashingEmbedder(64), HashingEmbedder(128)
QUESTIONS = ("Where does Ann live?", "What is the dog called?", "Who likes rain?", "tea")


async def lived_in(path: Path) -> list[str]:
    """A memory with every kind of record; the anchors of its lines."""
    async with TextMemory.open(path, NARROW) as memory:
        first = await memory.remember("Ann lives in Oslo.", speaker="Ann", session="1")
        dog = await memory.remember("The dog is called Rex.", session="1", timestamp=5.0)
        await memory.lattice.note({"about": "nothing"}, idempotency_key="a note")
        moved = await memory.supersede(first.anchor, "Ann lives in Bergen.")
        await memory.remember_many(["Bob likes rain.", "Bob drinks tea.", "Bob is tall."])

        async def guess(view: LatticeView) -> object:
            return await memory.candidate("It may rain.", name="rain", confidence=0.4)

        async def surer(view: LatticeView) -> object:
            return await memory.candidate("It will rain.", name="more rain", confidence=0.8)

        async def failing(view: LatticeView) -> object:
            raise ValueError("no idea")

        outcome = await memory.lattice.race([guess, surer, failing])
        await memory.lattice.decay(outcome.losers[0].anchor, 0.9)
        await memory.forget(dog.anchor)
        before = memory.lattice.revision
        last = await memory.remember("Never mind.")
        await memory.lattice.rollback(before)
        losers = [loser.anchor for loser in outcome.losers]
        return [first.anchor, dog.anchor, moved.anchor, outcome.winner.anchor, *losers, last.anchor]


async def told(path: Path, embedder: HashingEmbedder) -> list[list[tuple[str, float]]]:
    async with TextMemory.open(path, embedder) as memory:
        return [
            [(found.text, found.score) for found in await memory.recall(question, branches=True)]
            for question in QUESTIONS
        ]


async def test_everything_but_the_vectors_is_the_same(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    anchors = await lived_in(old)
    done: list[tuple[int, int]] = []
    made = await reembed(
        JsonlStore(old, read_only=True),
        JsonlStore(new),
        WIDE,
        progress=lambda *counts: done.append(counts),
    )
    assert set(anchors) < set(made)
    assert done[-1][0] == done[-1][1]
    assert await told(new, WIDE) == await told(old, NARROW)
    async with Lattice.open(old) as before, Lattice.open(new) as after:
        assert (after.dim, after.pins[EMBEDDER_PIN]) == (128, WIDE.id)
        assert (after.revision, len(after)) == (before.revision, len(before))
        assert (await after.find("a note")).context == {"about": "nothing"}
        for anchor in made:
            was, is_now = await before.get(anchor), await after.get(made[anchor])
            for name in ("kind", "position", "context", "timestamp", "committed_at", "strength"):
                assert getattr(is_now, name) == getattr(was, name), name
        for revision in range(before.revision + 1):
            assert len(after.at(revision)) == len(before.at(revision))


async def test_there_and_back_gives_the_same_anchors(tmp_path: Path) -> None:
    await lived_in(tmp_path / "old")
    await reembed(JsonlStore(tmp_path / "old", read_only=True), JsonlStore(tmp_path / "new"), WIDE)
    await reembed(
        JsonlStore(tmp_path / "new", read_only=True), JsonlStore(tmp_path / "back"), NARROW
    )
    async with Lattice.open(tmp_path / "old") as old, Lattice.open(tmp_path / "back") as back:
        assert (back.head, back.digest) == (old.head, old.digest)


async def test_a_novelty_window_goes_along(tmp_path: Path) -> None:
    async with TextMemory.open(tmp_path / "old", NARROW, novelty_window=2) as memory:
        await memory.remember_many(["tea", "rain", "dogs", "tea"])
        assert (await anext(memory.lattice.rewind(limit=1))).novelty > 0
    await reembed(JsonlStore(tmp_path / "old", read_only=True), JsonlStore(tmp_path / "new"), WIDE)
    async with Lattice.open(tmp_path / "new") as lattice:
        assert lattice.novelty_window == 2
        assert (await anext(lattice.rewind(limit=1))).novelty > 0


async def test_what_has_no_text_is_refused_by_its_anchor(tmp_path: Path) -> None:
    async with Lattice.open(tmp_path / "old", dim=2) as lattice:
        anchor = await lattice.put([1, 0], None, {"topic": "x"})
    with pytest.raises(InvalidInputError, match=f"line {anchor} has no text"):
        await reembed(JsonlStore(tmp_path / "old", read_only=True), MemoryStore(), WIDE)


async def test_a_value_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    async with Lattice.open(tmp_path / "old", dim=2) as lattice:
        anchor = await lattice.put([1, 0], [0, 1], {"text": "x"})
    with pytest.raises(InvalidInputError, match=f"line {anchor} has a value of its own with 2"):
        await reembed(JsonlStore(tmp_path / "old", read_only=True), MemoryStore(), WIDE)


async def test_a_target_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    await lived_in(tmp_path / "old")
    async with TextMemory.open(tmp_path / "new", WIDE) as memory:
        await memory.remember("mine")
        digest = memory.lattice.digest
    with pytest.raises(InvalidInputError, match="is not empty"):
        await reembed(
            JsonlStore(tmp_path / "old", read_only=True), JsonlStore(tmp_path / "new"), WIDE
        )
    async with TextMemory.open(tmp_path / "new", WIDE) as memory:
        assert memory.lattice.digest == digest


class SlowStore(MemoryStore):
    """Opens only when it may, and tells when it is being opened and when it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.opening, self.may_open, self.closed = (threading.Event() for _ in range(3))

    def open(self, header: StoreHeader | None, hasher: Hasher) -> StoreHeader:
        self.opening.set()
        assert self.may_open.wait(PATIENCE)
        return super().open(header or StoreHeader(NARROW.dim, 0), hasher)

    def close(self) -> None:
        super().close()
        self.closed.set()


@pytest.mark.parametrize("slow", ["source", "target"])
async def test_cut_off_while_a_store_opens_it_leaves_that_one_closed(slow: str) -> None:
    stores = {"source": MemoryStore(), "target": MemoryStore()}
    stores[slow] = opening = SlowStore()
    if slow == "target":
        async with Lattice(stores["source"], dim=NARROW.dim):
            pass
    work = asyncio.create_task(reembed(stores["source"], stores["target"], WIDE))
    assert await asyncio.to_thread(opening.opening.wait, PATIENCE)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert not opening.closed.is_set()
    opening.may_open.set()
    assert await asyncio.to_thread(opening.closed.wait, PATIENCE)


async def test_the_command_writes_the_store_and_the_map(tmp_path: Path) -> None:
    old, new, anchors = tmp_path / "old", tmp_path / "new", tmp_path / "map.jsonl"
    lines = await lived_in(old)
    done = pmll("reembed", old, new, "--embedder", "hashing", "--map", anchors, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["embedder"] == HashingEmbedder().id
    told_anchors = [json.loads(line) for line in anchors.read_text().splitlines()]
    assert set(lines) < {pair["old"] for pair in told_anchors}
    assert pmll("verify", new).returncode == 0
    again = pmll("reembed", old, new, "--embedder", "hashing")
    assert again.returncode == 1
    assert "is not empty" in again.stderr
