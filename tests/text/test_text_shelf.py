"""The shelf saves work and never changes an answer, whoever else has it open."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from text_shelving import (
    QUESTION,
    blocks,
    fill,
    made,
    memory_in,
    with_shelf,
    without_shelf,
    without_shelf_of,
)
from text_support import DIM, WatchedStore, opened, told

from pmll_async import Lattice
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import HashingEmbedder, TextMemory
from pmll_async.text.index import file as shelf
from pmll_async.text.index.keeper import TextIndexer

pytestmark = pytest.mark.usefixtures("nothing_blocks")


# --- saving work ---------------------------------------------------------------------------------


async def test_nothing_is_read_from_the_log_again(place: Path) -> None:
    store = await made(place)
    expected = await without_shelf(store)
    assert store.asked, "the spy sees what is read"
    store.asked.clear()
    assert await with_shelf(store, place) == expected
    assert store.asked == []


@pytest.mark.usefixtures("small_blocks")
async def test_only_what_came_since_is_read(place: Path) -> None:
    store = await made(place)
    tiles = blocks(place)
    assert len(tiles) > 5
    assert [first for first, _ in tiles] == [0, *(stop for _, stop in tiles[:-1])]
    async with opened(store) as memory:
        known = memory.lattice.revision
        await fill(memory, 20, 24)
    store.asked.clear()
    expected = await with_shelf(store, place)
    assert min(store.asked) == known
    store.asked.clear()
    assert await with_shelf(store, place) == expected == await without_shelf(store)


async def test_it_is_written_on_close_and_when_much_waits(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pmll_async.text.index.keeper._SHELVED_FROM", 4)
    async with opened(shelf=place) as memory:
        for number in range(6):
            await memory.remember(f"heron {number}")
            await memory.recall("heron")
        assert blocks(place) == [(0, 4)]
    assert blocks(place) == [(0, 4), (4, 6)]


async def test_nothing_new_writes_nothing(place: Path) -> None:
    store = await made(place)
    async with opened(store, shelf=place) as memory:
        await memory.lattice.note({"only": "a note"})
        await memory.recall(QUESTION)
    before = blocks(place)
    changed = place.stat().st_mtime_ns
    await with_shelf(store, place)
    assert (blocks(place), place.stat().st_mtime_ns) == (before, changed)


async def test_an_empty_memory_makes_no_file(place: Path) -> None:
    async with opened(shelf=place) as memory:
        assert await memory.recall(QUESTION) == []
    assert not place.exists()


async def test_its_folder_is_made(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b" / "shelf % ? # ü"
    store = await made(place, 3)
    assert place.is_file()
    assert await with_shelf(store, place) == await without_shelf(store)
    assert list(place.parent.iterdir()) == [place]


async def test_a_read_only_memory_uses_it_and_writes_nothing(tmp_path: Path) -> None:
    async with TextMemory.open(tmp_path / "m", sync="os") as memory:
        await memory.remember("a heron", session="s")
        await memory.recall("heron")
    place = tmp_path / "m" / "text.sqlite"
    async with TextMemory.open(tmp_path / "m", sync="os") as memory:
        await memory.remember("a goose", session="s")
    before = place.read_bytes()
    async with TextMemory.open(tmp_path / "m", read_only=True) as memory:
        assert len(await memory.recall("heron goose")) == 2
    assert place.read_bytes() == before
    place.unlink()
    async with TextMemory.open(tmp_path / "m", read_only=True) as memory:
        assert len(await memory.recall("heron goose")) == 2
    assert not place.exists()


# --- other logs ----------------------------------------------------------------------------------


async def test_the_shelf_of_another_log_is_replaced(place: Path) -> None:
    await made(place)
    other = WatchedStore()
    async with opened(other, shelf=place) as memory:
        assert await memory.recall(QUESTION) == []
        await memory.remember("only this heron")
        assert [found.text for found in await memory.recall(QUESTION)] == ["only this heron"]
    assert blocks(place) == [(0, 1)]
    other.asked.clear()
    await with_shelf(other, place)
    assert other.asked == []


@pytest.mark.usefixtures("small_blocks")
async def test_the_shelf_of_a_log_that_went_another_way_is_used_as_far_as_both_agree(
    tmp_path: Path,
) -> None:
    folder, copy, place = tmp_path / "m", tmp_path / "copy", tmp_path / "m" / "text.sqlite"
    async with memory_in(folder) as memory:
        await fill(memory, 0, 8)
    shutil.copytree(folder, copy)
    async with memory_in(folder) as memory:
        await fill(memory, 8, 16)
    shutil.copy(place, copy / "text.sqlite")
    async with memory_in(copy) as memory:
        for number in range(40):
            await memory.lattice.decay(memory.lattice.head, 1.0)
            await memory.remember(f"another heron {number}", session="s2")
        assert await told(memory, QUESTION, branches=True) == await without_shelf_of(memory)
    tiles = blocks(copy / "text.sqlite")
    assert [first for first, _ in tiles] == [0, *(stop for _, stop in tiles[:-1])]
    async with memory_in(copy) as memory:
        assert await told(memory, QUESTION, branches=True) == await without_shelf_of(memory)


@pytest.mark.usefixtures("small_blocks")
async def test_an_older_log_has_no_use_for_what_came_after_it(tmp_path: Path) -> None:
    folder, copy = tmp_path / "m", tmp_path / "copy"
    async with memory_in(folder) as memory:
        await fill(memory, 0, 4)
    shutil.copytree(folder, copy)
    async with memory_in(folder) as memory:
        await fill(memory, 4, 9)
        later = await told(memory, QUESTION)
    shutil.copy(folder / "text.sqlite", copy / "text.sqlite")
    async with memory_in(copy) as memory:
        found = await told(memory, QUESTION, branches=True)
        assert found == await without_shelf_of(memory)
        assert len(found) < len(later)


async def test_records_without_lines_tell_two_logs_apart(place: Path) -> None:
    first, second = MemoryStore(), MemoryStore()
    for store, decays in ((first, 2), (second, 0)):
        async with opened(store, shelf=place if store is first else None) as memory:
            anchor = (await memory.remember("a heron", timestamp=1.0)).anchor
            for _ in range(decays):
                await memory.lattice.decay(anchor, 0.9)
            await memory.recall("heron")
            if store is second:
                await memory.remember("a goose", timestamp=1.0)
                await memory.remember("a swan", timestamp=1.0)
    found = await with_shelf(second, place)
    assert found == await without_shelf(second)


async def test_a_rollback_is_no_matter(place: Path) -> None:
    store = await made(place)
    async with opened(store, shelf=place) as memory:
        await memory.lattice.rollback(7)
        await fill(memory, 30, 36)
    assert await with_shelf(store, place) == await without_shelf(store)


# --- several at once -----------------------------------------------------------------------------


async def test_a_shelf_locked_by_another_process_is_no_matter(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "_PATIENCE", 0.01)
    store = await made(place)
    expected = await without_shelf(store)
    with closing(sqlite3.connect(place, isolation_level=None, check_same_thread=False)) as file:
        file.execute("begin exclusive")
        async with opened(store, shelf=place) as memory:
            assert await told(memory, QUESTION, branches=True) == expected
            await fill(memory, 20, 22)
        file.execute("rollback")
    assert await with_shelf(store, place) == await without_shelf(store)


@pytest.mark.usefixtures("small_blocks")
async def test_two_memories_with_one_shelf_leave_one_without_gaps(place: Path) -> None:
    store = MemoryStore()
    hashing = HashingEmbedder(DIM)
    async with (
        opened(store, shelf=place) as memory,
        TextMemory(memory.lattice, hashing, shelf=place) as other,
    ):
        for number in range(24):
            await memory.remember(f"heron number {number}", session="s")
            for each in (memory, other) if number % 3 else (other,):
                await each.recall("heron")
            assert await told(memory, QUESTION) == await told(other, QUESTION)
    tiles = blocks(place)
    assert [first for first, _ in tiles] == [0, *(stop for _, stop in tiles[:-1])]
    assert await with_shelf(store, place) == await without_shelf(store)


@pytest.mark.usefixtures("small_blocks")
async def test_two_lattices_with_one_shelf_never_mix(place: Path) -> None:
    stores = MemoryStore(), MemoryStore()
    async with opened(stores[0], shelf=place) as one, opened(stores[1], shelf=place) as two:
        for number in range(12):
            await one.remember(f"heron number {number}", speaker="Ann")
            await two.remember(f"goose number {number}", speaker="Bob")
            await one.recall("heron")
            await two.recall("goose")
    for store in stores:
        assert await with_shelf(store, place) == await without_shelf(store)


KILLED = """
import asyncio, os, sys
from pmll_async.text import HashingEmbedder, TextMemory
from pmll_async.text.index import file as index_file, keeper

keeper._SHELVED_FROM = 2
put, moment = index_file._put, sys.argv[2]

def dying(file, shelved):
    if moment == "before" and shelved.first >= 4:
        os.kill(os.getpid(), 9)
    put(file, shelved)
    file.execute("pragma cache_spill = 1")
    if moment == "after" and shelved.first >= 4:
        os.kill(os.getpid(), 9)

index_file._put = dying

async def main(folder):
    async with TextMemory.open(folder, HashingEmbedder(32), value_dim=0) as memory:
        for number in range(9):
            await memory.remember(f"heron number {number}", session="s")
            await memory.recall("heron")

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_writer_killed_while_it_shelves_costs_nothing_but_time(
    tmp_path: Path, moment: str
) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "m"), moment]
    died = await asyncio.to_thread(subprocess.run, command, check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL
    for _ in range(2):
        async with memory_in(tmp_path / "m") as memory:
            assert len(memory.lattice) >= 4
            found = await told(memory, QUESTION)
            assert found
            assert found == await without_shelf_of(memory)
            await memory.remember("heron after all", session="s")
    assert blocks(tmp_path / "m" / "text.sqlite")[0][0] == 0


# --- what is put on it ---------------------------------------------------------------------------


@pytest.mark.usefixtures("small_blocks")
async def test_a_block_leads_up_to_the_state_that_it_names(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    async with opened(store, shelf=place) as memory:
        await fill(memory, 0, 10)
        await memory.lattice.note({"last": "a note"})
        await memory.recall("heron")
        snapshot = memory.lattice._snapshot()
        ranked = (snapshot.kinds != 1).cumsum()
    with closing(sqlite3.connect(place)) as file:
        rows = list(file.execute("select stop, records, lines, time, anchor from blocks"))
    assert rows
    for stop, records, lines, time, anchor in rows:
        assert snapshot.line_starts[records] == lines
        assert ranked[lines - 1] == stop
        assert (snapshot.times[records], f"{snapshot.anchors[lines - 1]:016x}") == (
            time,
            anchor,
        )


async def test_threads_that_catch_up_together_read_everything_once() -> None:
    store = WatchedStore()
    async with opened(store) as memory:
        await fill(memory, 0, 10)
        survey = await memory.lattice.survey()
        keeper, ready = TextIndexer(None), threading.Barrier(4)
        store.asked.clear()

        def follow() -> int:
            ready.wait(10)
            return len(keeper.follow(survey))

        lengths = await asyncio.gather(*(asyncio.to_thread(follow) for _ in range(4)))
        assert set(lengths) == {survey.columns.count}
        assert sorted(store.asked) == sorted(set(store.asked))


async def test_closing_twice_and_closing_without_opening_keep_the_shelf(place: Path) -> None:
    store = await made(place)
    before = blocks(place)
    async with Lattice(store, dim=DIM, value_dim=0) as lattice:
        memory = TextMemory(lattice, HashingEmbedder(DIM), shelf=place)
        await memory.aclose()
        await memory.aclose()
    assert blocks(place) == before


# --- what it may not touch -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["text.sqlite", "text.sqlite-journal"])
async def test_no_link_is_followed(tmp_path: Path, name: str) -> None:
    """What a link in the folder leads to is neither read nor written, and recall goes on."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"somebody's")
    async with TextMemory.open(tmp_path / "memory") as memory:
        await memory.remember("tea at four")
        (tmp_path / "memory" / name).symlink_to(victim)
        assert [found.text for found in await memory.recall("tea")] == ["tea at four"]
    assert victim.read_bytes() == b"somebody's"


async def test_it_is_private(tmp_path: Path) -> None:
    async with TextMemory.open(tmp_path / "memory") as memory:
        await memory.remember("tea at four")
        await memory.recall("tea")
    assert (tmp_path / "memory/text.sqlite").stat().st_mode & 0o077 == 0


async def test_it_stays_out_of_a_folder_that_took_the_place_of_its_own(tmp_path: Path) -> None:
    async with TextMemory.open(tmp_path / "memory") as memory:
        await memory.remember("tea at four")
        await memory.recall("tea")
        (tmp_path / "memory").rename(tmp_path / "moved")
        (tmp_path / "memory").mkdir()
    assert list((tmp_path / "memory").iterdir()) == []


async def test_the_current_folder_may_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with TextMemory.open("memory") as memory:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        await memory.remember("tea at four")
        assert await memory.recall("tea")
    assert (tmp_path / "memory/text.sqlite").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []
