"""Where the text index waits: in the store's place for it, in a file of one's own, or nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from text_support import DIM, texts

from pmll_async import Lattice
from pmll_async.errors import StoreError
from pmll_async.protocols import Sidecar, StoreHeader, SupportsSidecar
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.lmdb import LmdbStore
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import HashingEmbedder, TextMemory
from pmll_async.values.anchors import Hasher


def memory_over(lattice: Lattice, shelf: Path | None = None) -> TextMemory:
    return TextMemory(lattice, HashingEmbedder(DIM), shelf=shelf)


async def remember(folder: Path, text: str, shelf: Path | None = None) -> list[str]:
    async with Lattice.open(folder, dim=DIM) as lattice, memory_over(lattice, shelf) as memory:
        await memory.remember(text)
        return await texts(memory, "heron")


async def test_a_lattice_of_ones_own_keeps_it_where_its_store_has_a_place(tmp_path: Path) -> None:
    assert await remember(tmp_path / "m", "a heron") == ["a heron"]
    assert (tmp_path / "m" / "text.sqlite").stat().st_mode & 0o777 == 0o600
    # What one memory left another finds, whichever way it was opened.
    async with TextMemory.open(tmp_path / "m", HashingEmbedder(DIM)) as memory:
        assert await texts(memory, "heron") == ["a heron"]


async def test_a_file_of_ones_own_comes_first(tmp_path: Path) -> None:
    await remember(tmp_path / "m", "a heron", tmp_path / "shelf")
    assert (tmp_path / "shelf").exists()
    assert not (tmp_path / "m" / "text.sqlite").exists()


async def test_a_store_without_a_place_has_nothing_on_the_disk(tmp_path: Path) -> None:
    store = MemoryStore()
    assert not isinstance(store, SupportsSidecar)
    async with Lattice(store, dim=DIM) as lattice, memory_over(lattice) as memory:
        await memory.remember("a heron")
        assert (await lattice.survey()).sidecar("text.sqlite") is None
        assert await texts(memory, "heron") == ["a heron"]
    assert not list(tmp_path.iterdir())


def test_a_folder_offers_a_place_while_it_is_open_and_at_its_path(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    store = JsonlStore(folder)
    with pytest.raises(StoreError):
        store.sidecar("derived")
    hasher = Hasher()
    header = store.open(StoreHeader(DIM, DIM), hasher)
    assert store.sidecar("derived") == Sidecar(folder / "derived", read_only=False)
    folder.rename(tmp_path / "moved")
    folder.mkdir()
    assert store.sidecar("derived") is None
    store.close()
    reader = JsonlStore(tmp_path / "moved", read_only=True)
    assert reader.open(None, hasher) == header
    assert reader.sidecar("derived") == Sidecar(tmp_path / "moved" / "derived", read_only=True)
    reader.close()


async def test_an_lmdb_store_has_a_place_in_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "m.lmdb"
    assert await remember(folder, "a heron") == ["a heron"]
    assert (folder / "text.sqlite").stat().st_mode & 0o777 == 0o600
    store = LmdbStore(folder, read_only=True)
    with pytest.raises(StoreError):
        store.sidecar("derived")
    store.open(None, Hasher())
    assert store.sidecar("derived") == Sidecar(folder / "derived", read_only=True)
    folder.rename(tmp_path / "moved")
    assert store.sidecar("derived") is None
    store.close()
    (tmp_path / "moved").rename(folder)
    # A wrong one is made anew.
    (folder / "text.sqlite").write_bytes(b"nothing of ours")
    assert await remember(folder, "a second heron") == ["a second heron", "a heron"]
