"""What is particular to the LMDB store: its file, its rows, its readers, its refusals."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonl_tools import all_contexts, contents, contexts_of, quick_folder, same_blocks
from lmdb_tools import LmdbStore, key_of, load, opened, row_numbers, table
from make_records import Chain, small_history

from pmll_async import Candidate, Lattice
from pmll_async.errors import (
    FormatError,
    InvalidInputError,
    StoreError,
    StoreLockedError,
    StoreMovedError,
)
from pmll_async.moving.transfer import export_records, import_records
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.lmdb import environment as environments
from pmll_async.stores.lmdb import rows, verify
from pmll_async.text import TextMemory
from pmll_async.values.anchors import Hasher


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def path() -> Iterator[Path]:
    with quick_folder() as folder:
        yield folder / "memory.lmdb"


def many(chain: Chain, store: LmdbStore, records: int = 1400) -> None:
    """More than two rows of everything, in batches of all sizes."""
    while len(chain.records) < records:
        small_history(chain, store)
        chain.append(store, lambda: chain.group(40))
        chain.append(store, lambda: [chain.put() for _ in range(90)])


# --- files -------------------------------------------------------------------------------------


def test_its_files_are_its_owners_alone(path: Path, chain: Chain) -> None:
    before = os.umask(0)
    try:
        with opened(path, chain):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {0o600}
    assert {file.name for file in path.iterdir()} == {"LOCK", "data.mdb", "lock.mdb"}


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb"])
def test_no_link_is_followed(path: Path, chain: Chain, name: str) -> None:
    with opened(path, chain) as store:
        small_history(chain, store)
    (path / name).rename(path.parent / name)
    (path / name).symlink_to(path.parent / name)
    for read_only in (False, True):
        with pytest.raises(StoreError):
            LmdbStore(path, read_only=read_only).open(None, chain.hasher)


def test_a_file_that_is_cut_off_is_told_of(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        many(chain, store, 100)
    size = (path / "data.mdb").stat().st_size
    for left in (size - 4096, 3 * 4096, 100):
        os.truncate(path / "data.mdb", left)
        with pytest.raises(StoreError):
            LmdbStore(path).open(None, chain.hasher)
        assert verify(path).status == "damaged"


def test_what_is_no_store(path: Path, chain: Chain) -> None:
    path.mkdir()
    (path / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError):
        LmdbStore(path).open(chain.header, chain.hasher)
    assert verify(path).status == "damaged"
    with pytest.raises(StoreError, match="is not a store"):
        verify(path.with_name("nothing"))


def test_a_jsonl_store_of_that_name(path: Path, chain: Chain) -> None:
    JsonlStore(path).open(chain.header, chain.hasher)
    with pytest.raises(StoreError, match="JSONL store"):
        LmdbStore(path).open(chain.header, chain.hasher)


def test_a_folder_that_is_moved(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        small_history(chain, store)
        path.rename(path.with_name("elsewhere.lmdb"))
        with pytest.raises(StoreMovedError):
            chain.append(store, chain.put)
        path.with_name("elsewhere.lmdb").rename(path)


def test_a_file_that_is_replaced(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        small_history(chain, store)
        data = (path / "data.mdb").read_bytes()
        (path / "data.mdb").unlink()
        (path / "data.mdb").write_bytes(data)
        with pytest.raises(StoreMovedError):
            chain.append(store, chain.put)
    assert (path / "data.mdb").read_bytes() == data


# --- rows --------------------------------------------------------------------------------------


def reopened(path: Path, chain: Chain) -> int:
    """Open it and compare everything; returns how many records had to be parsed."""
    store = LmdbStore(path)
    blocks = load(store, chain)
    count = store.recovery.records
    assert same_blocks(blocks, chain, len(chain.records))
    assert contents(store) == chain.records
    assert all_contexts(store, count) == contexts_of(chain.records)
    assert next(iter(store.contexts(600, 605))) == contexts_of(chain.records[600:605])
    store.close()
    return store.recovery.replayed


def test_opening_takes_rows_and_the_rest(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        many(chain, store)
    assert len(row_numbers(path)) == len(chain.records) // rows.ROW_RECORDS
    assert 0 < reopened(path, chain) < rows.ROW_RECORDS
    assert verify(path).status == "clean"


@pytest.mark.parametrize("which", [[0], [1], [0, 1]])
def test_a_row_that_is_lost_is_made_again(path: Path, chain: Chain, which: list[int]) -> None:
    with opened(path, chain) as store:
        many(chain, store)
    numbers = row_numbers(path)
    with table(path, b"rows", write=True) as stored:
        for i in which:
            stored.delete(key_of(numbers[i]))
    assert reopened(path, chain) > rows.ROW_RECORDS
    assert reopened(path, chain) < rows.ROW_RECORDS
    assert verify(path).status == "clean"


@pytest.mark.parametrize("place", [0, 4, 20, 100, 150, 180, -3])
def test_a_row_that_is_damaged_is_made_again(path: Path, chain: Chain, place: int) -> None:
    with opened(path, chain) as store:
        many(chain, store)
    first = row_numbers(path)[1]
    with table(path, b"rows", write=True) as stored:
        row = bytearray(stored.get(key_of(first)))
        row[place] ^= 1
        stored.put(key_of(first), bytes(row))
    assert verify(path).status == "damaged"
    assert reopened(path, chain) > rows.ROW_RECORDS
    assert reopened(path, chain) < rows.ROW_RECORDS
    assert verify(path).status == "clean"


# --- writers and readers -----------------------------------------------------------------------


def test_readers_and_a_writer_in_any_order(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        small_history(chain, store)
    reader = LmdbStore(path, read_only=True)
    blocks = load(reader, chain)
    with opened(path, chain) as store:
        with pytest.raises(StoreLockedError) as caught:
            LmdbStore(path).open(None, chain.hasher)
        assert caught.value.same_process
        many(chain, store, 700)
        blocks += reader.follow()
    assert same_blocks(blocks, chain, len(chain.records))
    assert contents(reader) == chain.records[: reader.recovery.records]
    assert reader.read(len(chain.records) - 1) == chain.records[-1]
    reader.close()


def test_a_child_of_fork(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        small_history(chain, store)
        pid = os.fork()
        if not pid:
            try:
                with pytest.raises(StoreError, match="before fork"):
                    store.read(0)
                with pytest.raises(StoreError, match="forked"):
                    LmdbStore(path, read_only=True).open(None, chain.hasher)
                store.close()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        chain.append(store, chain.put)
        with pytest.raises(StoreLockedError):
            LmdbStore(path).open(None, chain.hasher)
    with opened(path, chain) as store:
        assert contents(store) == chain.records


def test_closing_waits_for_reads(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        small_history(chain, store)
        session = store._session
        assert session is not None
        closing = threading.Thread(target=store.close)
        with session.environment.reading() as transaction:
            closing.start()
            closing.join(0.05)
            assert closing.is_alive()
            assert transaction.get(key_of(0), db=session.environment.records)
        closing.join()


def test_no_slot_for_a_reader(path: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "_READERS", 2)
    with opened(path, chain) as store:
        small_history(chain, store)
        session = store._session
        assert session is not None
        reading = session.environment.reading
        with reading(), reading(), pytest.raises(StoreError, match="2 reads are under way"):
            store.read(0)
        assert store.read(0) == chain.records[0]


ENDED_READER = """
import os, sys, lmdb
env = lmdb.open(sys.argv[1], max_dbs=3, readonly=True, map_size=1 << 30)
held = env.begin()
os._exit(0)
"""


def test_slots_of_readers_that_were_killed_are_free(
    path: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "_READERS", 2)
    with opened(path, chain) as store:
        small_history(chain, store)
        subprocess.run([sys.executable, "-c", ENDED_READER, path], check=True)
        session = store._session
        assert session is not None
        with session.environment.reading():
            assert store.read(0) == chain.records[0]


def test_little_address_space(path: Path) -> None:
    program = (
        "import asyncio, resource, sys\n"
        "import numpy\n"
        "from pmll_async import Lattice\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
        "async def main():\n"
        "    async with Lattice.open(sys.argv[1], dim=2) as lattice:\n"
        "        await lattice.put([1, 0])\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", program, path], check=True)


# --- formats and moving ------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"format": 2}, {"requires": ["wings"]}])
def test_a_store_of_a_later_version(path: Path, chain: Chain, change: dict[str, Any]) -> None:
    from pmll_async.stores.jsonl.frames import decode_object, encode_object

    with opened(path, chain):
        pass
    with table(path, b"meta", write=True) as meta:
        meta.put(b"store", encode_object(decode_object(meta.get(b"store")) | change))
    with pytest.raises(FormatError):
        LmdbStore(path).open(None, chain.hasher)
    with pytest.raises(FormatError):
        verify(path)


@pytest.mark.parametrize(("window", "features"), [(None, []), (9, ["novelty-window"])])
async def test_a_novelty_window_is_a_feature(
    path: Path, window: int | None, features: list[str]
) -> None:
    from pmll_async.stores.jsonl.frames import decode_object

    async with Lattice.open(path, dim=2, novelty_window=window):
        pass
    with table(path, b"meta") as meta:
        fields = decode_object(meta.get(b"store"))
    assert (fields["requires"], fields.get("novelty_window")) == (features, window)
    assert verify(path).status == "clean"


@pytest.mark.parametrize("key", [None, b"a key"])
def test_moving_keeps_every_anchor_and_the_digest(path: Path, key: bytes | None) -> None:
    chain, hasher = Chain(key=key), Hasher(key)
    with opened(path, chain) as store:
        many(chain, store, 600)
    exported = list(export_records(LmdbStore(path, read_only=True), hasher))
    folder = path.parent / "jsonl"
    import_records(exported, JsonlStore(folder), hasher)
    again = list(export_records(JsonlStore(folder, read_only=True), hasher))
    assert again == exported
    back = path.with_name("back.lmdb")
    import_records(again, LmdbStore(back), hasher)
    assert list(export_records(LmdbStore(back, read_only=True), hasher)) == exported
    # The copy is a store of its own.
    assert replace(verify(back, key), store="") == replace(verify(path, key), store="")
    assert verify(back, key).digest == chain.digest.hex()


async def test_a_lattice_by_its_suffix(path: Path) -> None:
    with pytest.raises(InvalidInputError):
        Lattice.open(path, sync="os")
    async with Lattice.open(path, dim=3) as lattice:
        first = await lattice.put([1, 0, 0], context={"topic": "a"})
        await lattice.put_many([Candidate(key=key) for key in ([0, 1, 0], [0, 0, 1])])
        async with Lattice.open(path, read_only=True) as follower:
            assert (await follower.query([1, 0, 0], k=1))[0].anchor == first
            fourth = await lattice.put([1, 1, 0])
            assert (await follower.query([1, 1, 0], k=1))[0].anchor == fourth
        digest = lattice.digest
    async with Lattice.open(path) as lattice:
        assert (lattice.head, lattice.digest) == (fourth, digest)
        assert (await lattice.get(first)).context == {"topic": "a"}
        assert [line.anchor for line in await lattice.query([1, 0, 0], where={"topic": "a"})] == [
            first
        ]
    assert (path / "data.mdb").exists()


async def test_a_text_memory_by_its_suffix(path: Path) -> None:
    async with TextMemory.open(path) as memory:
        kept = await memory.remember("the spare key is in the green drawer")
    async with TextMemory.open(path) as memory:
        [found] = await memory.recall("where is the spare key?", k=1)
        assert found.anchor == kept.anchor


def test_without_its_package(path: Path) -> None:
    program = (
        "import sys\n"
        "sys.modules['lmdb'] = None\n"
        "from pmll_async import Lattice\n"
        "try:\n"
        "    Lattice.open('memory.lmdb')\n"
        "except ImportError as exc:\n"
        "    print(exc)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout == "lmdb missing: pip install 'pmll-async[lmdb]'\n"
