"""Recall sees what anybody wrote at once, and a past state answers for ever as it did then."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from text_support import DIM, HASHING, WatchedStore, opened, put, race, texts, told

from pmll_async import CorruptionError
from pmll_async.text import TextMemory, Utterance
from pmll_async.text.index.rows import NONE

pytestmark = pytest.mark.usefixtures("nothing_blocks")


# --- whoever wrote it ----------------------------------------------------------------------------


async def test_a_line_put_into_the_lattice_counts_at_once() -> None:
    async with opened() as memory:
        anchor = await put(memory.lattice, "the heron stands in the pond", speaker="Ann")
        [found] = await memory.recall("heron")
        assert (found.anchor, found.text, found.speaker) == (
            anchor,
            "the heron stands in the pond",
            "Ann",
        )
        assert (await memory.recent())[0].anchor == anchor


async def test_lines_without_text_and_notes_are_never_recalled() -> None:
    async with opened() as memory:
        await memory.lattice.put([1.0] * DIM, None, {"heron": "text"})
        await memory.lattice.put([1.0] * DIM, None, {"text": 5, "pmll_": "heron"})
        await memory.lattice.note({"text": "a note about a heron"})
        stored = await memory.remember("the heron stands in the pond")
        assert [found.anchor for found in await memory.recall("heron")] == [stored.anchor]
        assert [found.anchor for found in await memory.recent()] == [stored.anchor]


async def test_losers_of_a_race_are_recalled_only_as_branches() -> None:
    async with opened() as memory:
        said = ["a heron at dawn", "a heron at noon", "a heron at dusk"]
        anchors = await race(memory, *[await memory.candidate(text) for text in said])
        assert [found.anchor for found in await memory.recall("heron")] == anchors[:1]
        found = await memory.recall("heron", branches=True)
        assert {each.anchor for each in found} == set(anchors)
        assert {each.anchor for each in found if each.is_branch} == set(anchors[1:])
        assert await texts(memory, "heron", min_score=found[0].score, branches=True) == said[:1]


async def test_a_branch_has_the_turns_around_its_winner() -> None:
    async with opened() as memory:
        await memory.remember("one", session="s")
        said = [await memory.candidate(text, session="s") for text in ("heron", "heron too")]
        await race(memory, *said)
        await memory.remember("two", session="s")
        found = await memory.recall("heron", branches=True, neighbours=2)
        turns = {each.text: [turn.text for turn in each.before] for each in found}
        assert turns["heron"] == turns["heron too"] == ["one"]
        assert [turn.text for turn in found[0].after] == ["two"]
        assert not found[0].is_branch


async def test_decay_lowers_the_score_in_proportion() -> None:
    async with opened() as memory:
        stored = await memory.remember("the heron stands in the pond")
        await memory.remember("nothing of that kind")
        [before] = await memory.recall("heron", 1)
        await memory.lattice.decay(stored.anchor, 0.25)
        [after] = await memory.recall("heron", 1)
        assert after.score == before.score * 0.25


async def test_forgetting_and_rolling_back_take_lines_out_of_recall() -> None:
    async with opened() as memory:
        await memory.remember("a heron in the pond")
        second = await memory.remember("a heron on the roof")
        kept = memory.lattice.revision
        await memory.remember("a heron in the air")
        await memory.forget(second.anchor)
        assert await texts(memory, "heron") == ["a heron in the air", "a heron in the pond"]
        assert (await memory.get(second.anchor)).text == "a heron on the roof"
        await memory.lattice.rollback(kept)
        assert set(await texts(memory, "heron")) == {"a heron on the roof", "a heron in the pond"}
        assert [found.text for found in await memory.recent()] == [
            "a heron on the roof",
            "a heron in the pond",
        ]


async def test_what_was_forgotten_can_be_remembered_under_its_key_again() -> None:
    async with opened() as memory:
        first = await memory.remember("a heron", idempotency_key="k")
        assert await memory.remember("a heron", idempotency_key="k") == first
        await memory.forget(first.anchor)
        assert await texts(memory, "heron") == []
        second = await memory.remember("a heron", idempotency_key="k")
        assert second != first
        assert await texts(memory, "heron") == ["a heron"]
        assert await memory.remember_many([Utterance(text="a heron", idempotency_key="k")]) == 0
        assert [found.text for found in await memory.at(first.anchor).recall("heron")] == [
            "a heron"
        ]


async def test_a_line_that_comes_back_after_a_rollback_is_recalled_once() -> None:
    async with opened() as memory:
        first = await memory.remember("a heron", timestamp=1.0)
        await memory.lattice.rollback(0)
        assert await memory.recall("heron") == []
        again = await memory.remember("a heron", timestamp=1.0)
        assert again.anchor == first.anchor
        assert await texts(memory, "heron") == ["a heron"]


async def test_two_memories_over_one_lattice_see_the_same() -> None:
    async with opened() as memory, TextMemory(memory.lattice, HASHING) as other:
        for place in range(6):
            writer = (memory, other)[place % 2]
            await writer.remember(f"heron number {place}", session="s")
            answers = [await told(each, "heron number") for each in (memory, other)]
            assert answers[0] == answers[1]
            assert len(answers[0]) == place + 1


WRITER = """
import asyncio, sys
from pmll_async.text import TextMemory

async def main(folder):
    async with TextMemory.open(folder) as memory:
        print("open", flush=True)
        for number, line in enumerate(sys.stdin):
            await memory.remember(line.strip(), session="s")
            print(number, flush=True)

asyncio.run(main(sys.argv[1]))
"""


async def test_a_read_only_memory_follows_a_writer_in_another_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "m")]
    pipe = asyncio.subprocess.PIPE
    writer = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert writer.stdin is not None
    assert writer.stdout is not None
    assert await writer.stdout.readline() == b"open\n"
    async with TextMemory.open(tmp_path / "m", read_only=True) as memory:
        for number in range(3):
            assert len(await memory.recall("heron")) == number
            writer.stdin.write(f"a heron on roof {number}\n".encode())
            assert await writer.stdout.readline() == f"{number}\n".encode()
        [last] = await memory.recall("heron on roof 2", 1, neighbours=5)
        assert [turn.text for turn in last.before] == ["a heron on roof 0", "a heron on roof 1"]
    writer.stdin.close()
    assert await writer.wait() == 0


# --- a catch-up that fails -----------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 3, 1000])
async def test_a_catch_up_that_fails_midway_leaves_the_index_right(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pmll_async.text.index.keeper._LINES_AT_ONCE", at_once)
    monkeypatch.setattr("pmll_async.text.index.keeper._SHELVED_FROM", 2)
    store, shelf = WatchedStore(), tmp_path / "shelf"
    async with opened(store) as good, TextMemory(good.lattice, HASHING, shelf=shelf) as memory:
        for number in range(7):
            await good.remember(f"heron number {number}", speaker=f"speaker {number}", session="s")
            await good.lattice.note({"n": number})
        expected = await told(good, "heron number 3")
        for bad in (0, 5, 9, 13):
            store.before = failing_at(bad)
            with pytest.raises(CorruptionError):
                await memory.recall("heron")
        store.before = lambda n: None
        assert await told(memory, "heron number 3") == expected
    async with opened(store, shelf=shelf) as memory:
        assert await told(memory, "heron number 3") == expected


def failing_at(bad: int) -> Callable[[int], None]:
    def before(n: int) -> None:
        if n == bad:
            raise CorruptionError("file", 7, "is damaged", n)

    return before


async def test_what_fails_in_the_middle_of_a_batch_numbers_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened() as memory:
        await memory.remember("first words", speaker="Ann", session="s")
        rows = (await memory._ready()).keeper.rows
        known = (list(rows.postings.vocabulary), list(rows.speakers), list(rows.sessions))
        await memory.remember("second heron", speaker="Bob", session="t")
        await memory.remember("third goose", speaker="Cleo", session="u")
        with monkeypatch.context() as patch:
            patch.setattr("pmll_async.text.index.keeper.parse_json", parsing_but("goose"))
            with pytest.raises(ValueError, match="goose"):
                await memory.recall("words")
        assert (rows.postings.vocabulary, rows.speakers, rows.sessions) == known or len(rows) == 2
        assert await texts(memory, "goose") == ["third goose"]
        assert len(rows) == len(rows.session) == 3
        assert NONE not in rows.session


def parsing_but(word: str) -> Callable[[bytes], object]:
    from pmll_async.values.contexts import parse_json

    def parse(encoded: bytes) -> object:
        if word.encode() in encoded:
            raise ValueError(word)
        return parse_json(encoded)

    return parse


async def test_many_tasks_recall_and_remember_at_once() -> None:
    async with opened() as memory:

        async def live(number: int) -> None:
            for place in range(5):
                await memory.remember(f"heron {number} {place}", session=f"s{number}")
                assert f"heron {number} {place}" in await texts(memory, f"heron {number}")

        async with asyncio.TaskGroup() as tasks:
            for number in range(10):
                tasks.create_task(live(number))
        expected = await told(memory, "heron 3")
        async with TextMemory(memory.lattice, HASHING) as other:
            assert await told(other, "heron 3") == expected
