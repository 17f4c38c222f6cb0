"""Whatever happens to the shelf's file: no call fails, and no answer changes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from drawing import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from text_shelving import QUESTION, blocks, fill, made, with_shelf, without_shelf, without_shelf_of
from text_support import Told, opened, told

from pmll_async.stores.memory import MemoryStore
from pmll_async.text.index import file as shelf
from pmll_async.text.index.file import IndexFile


def truncated(place: Path) -> None:
    os.truncate(place, place.stat().st_size * 2 // 3)


def cut_to_a_stump(place: Path) -> None:
    os.truncate(place, 100)


def emptied(place: Path) -> None:
    place.write_bytes(b"")


def of_something_else(place: Path) -> None:
    place.write_text("my diary\n" * 2000)


def another_database(place: Path) -> None:
    place.unlink()
    with closing(sqlite3.connect(place)) as file:
        file.execute("create table blocks (mine text)")
        file.execute("insert into blocks values ('precious')")
        file.commit()


def a_directory(place: Path) -> None:
    place.unlink()
    place.mkdir()


def of_other_terms(place: Path) -> None:
    with closing(sqlite3.connect(place)) as file:
        file.execute("pragma user_version = 7")
        file.execute("drop table blocks")
        file.execute("create table blocks (other)")


def with_nothing_in_it(place: Path) -> None:
    with closing(sqlite3.connect(place)) as file:
        file.execute("delete from blocks where first > 3")
        file.execute("update blocks set crc = null, tokens = null, names = null")
        file.commit()


def of_other_types(place: Path) -> None:
    with closing(sqlite3.connect(place)) as file:
        schema = file.execute("select sql from sqlite_master").fetchone()[0].replace("strict", "")
        rows = list(file.execute("select * from blocks"))
        file.execute("drop table blocks")
        file.execute(schema)
        for first, *rest in rows:
            values = [str(value) for value in rest]
            marks = ", ".join("?" * (len(rest) + 1))
            file.execute(f"insert into blocks values ({marks})", (first, *values))
        file.commit()


def without_its_table(place: Path) -> None:
    with closing(sqlite3.connect(place)) as file:
        file.execute("drop table blocks")


def with_another_table(place: Path) -> None:
    without_its_table(place)
    with closing(sqlite3.connect(place)) as file:
        file.execute("create table blocks (first integer, mine text)")


def with_a_gap(place: Path) -> None:
    with closing(sqlite3.connect(place)) as file:
        file.execute("delete from blocks where first = (select stop from blocks where first = 0)")
        file.commit()


def gone(place: Path) -> None:
    place.unlink()


DAMAGE: list[Callable[[Path], None]] = [
    *(truncated, cut_to_a_stump, emptied, of_something_else, another_database, a_directory),
    *(of_other_terms, with_nothing_in_it, of_other_types, with_a_gap, gone),
    *(without_its_table, with_another_table),
]
HEALS = {*DAMAGE} - {of_something_else, another_database, a_directory}


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
async def test_damage_changes_no_answer_and_fails_no_call(
    damage: Callable[[Path], None], place: Path
) -> None:
    store = await made(place)
    damage(place)
    async with opened(store, shelf=place) as memory:
        assert await told(memory, QUESTION, branches=True) == await without_shelf_of(memory)
        await fill(memory, 20, 24)
    assert await with_shelf(store, place) == await without_shelf(store)
    store.asked.clear()
    await with_shelf(store, place)
    assert (store.asked == []) == (damage in HEALS)


@pytest.mark.parametrize("damage", [of_something_else, another_database])
async def test_a_file_that_is_no_shelf_is_left_as_it_is(
    damage: Callable[[Path], None], place: Path
) -> None:
    store = await made(place)
    damage(place)
    before = place.read_bytes()
    async with opened(store, shelf=place) as memory:
        await fill(memory, 20, 22)
    assert place.read_bytes() == before


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> tuple[MemoryStore, Path, Told]:
    place = tmp_path_factory.mktemp("pristine") / "shelf"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pmll_async.text.index.keeper._SHELVED_FROM", 3)
        store = asyncio.run(made(place, 9))
    return store, place, asyncio.run(without_shelf(store))


@settings(
    max_examples=examples(30),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_flipped_byte_anywhere_changes_no_answer(
    pristine: tuple[MemoryStore, Path, Told], tmp_path: Path, where: float, flip: int
) -> None:
    store, original, expected = pristine
    place = tmp_path / "shelf"
    damaged = bytearray(original.read_bytes())
    damaged[int(where * len(damaged))] ^= flip
    place.write_bytes(damaged)
    assert asyncio.run(with_shelf(store, place)) == expected


async def test_a_file_that_cannot_be_written_is_no_matter(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await made(place)
    before = place.read_bytes()
    connect = IndexFile._connect
    monkeypatch.setattr(IndexFile, "_connect", lambda self, mode: connect(self, "ro"))
    async with opened(store, shelf=place) as memory:
        await fill(memory, 20, 24)
        assert await told(memory, QUESTION, branches=True) == await without_shelf_of(memory)
    assert place.read_bytes() == before


async def test_a_full_disk_is_no_matter(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await made(place)

    def put(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    before = blocks(place)
    with monkeypatch.context() as patch:
        patch.setattr(shelf, "_put", put)
        async with opened(store, shelf=place) as memory:
            await fill(memory, 20, 24)
    assert blocks(place) == before
    assert await with_shelf(store, place) == await without_shelf(store)
