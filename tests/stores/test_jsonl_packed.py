"""Packed keys: one way to write each, and older folders stay as they are."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from jsonl_tools import LOG

from pmll_async import CorruptionError, Lattice
from pmll_async.moving.transfer import export_records, import_records
from pmll_async.stores.jsonl import JsonlStore, store
from pmll_async.stores.jsonl.frames import close_line, decode_object
from pmll_async.stores.jsonl.verify import verify
from pmll_async.text import HashingEmbedder
from pmll_async.values.anchors import Hasher
from pmll_async.values.lines import Candidate
from pmll_async.values.packing import unpack

TEXTS = [f"text number {i}, of several words" for i in range(20)]
ROWS = HashingEmbedder(64).embed(TEXTS)
CACHE = "cache/blocks.bin"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory"


async def fill(path: Path, first: int, stop: int) -> None:
    """Lines that pack and lines that do not, a race of both and a note."""
    dense = np.random.default_rng(first).normal(size=64)

    async def packs(_: object) -> Candidate:
        return Candidate(key=ROWS[0], value=dense)

    async def packs_not(_: object) -> Candidate:
        return Candidate(key=dense, value=ROWS[first], confidence=0.5)

    async with Lattice.open(path, dim=64) as lattice:
        for i in range(first, stop):
            await lattice.put(ROWS[i], None, {"text": TEXTS[i]})
        await lattice.put(dense, ROWS[0])
        await lattice.note({"key": "~"})
        await lattice.race([packs, packs_not])


async def keys(path: Path) -> list[bytes]:
    async with Lattice.open(path, read_only=True) as lattice:
        return [line.key.tobytes() async for line in lattice.rewind()]


async def test_a_packed_line(path: Path) -> None:
    await fill(path, 0, 3)
    lines = [json.loads(line) for line in (path / LOG).read_bytes().splitlines()]
    for i in range(3):
        assert lines[i]["key"].startswith("~")
        assert unpack(base64.b64decode(lines[i]["key"][1:])) == ROWS[i].tobytes()
        assert lines[i]["ctx"] == {"text": TEXTS[i]}
    assert not lines[3]["key"].startswith("~")
    assert lines[3]["value"].startswith("~")
    winner, loser = lines[5]["lines"]
    assert [text[0] == "~" for text in (winner["key"], winner["value"])] == [True, False]
    assert [text[0] == "~" for text in (loser["key"], loser["value"])] == [False, True]
    assert verify(path).status == "clean"


@pytest.mark.parametrize("cached", [True, False])
async def test_keys_come_back(path: Path, cached: bool) -> None:
    """From the cache in any number of blocks, from the log, and after the last block has grown."""
    for first in (0, 7, 14):
        await fill(path, first, first + 6)
        if not cached:
            shutil.rmtree(path / "cache")
    async with Lattice.open(path) as lattice:
        assert bool(lattice.recovery.replayed) is not cached
        for i in (0, 5, 7, 14):
            (line,) = await lattice.query(ROWS[i], k=1, where={"text": TEXTS[i]})
            assert line.key.tobytes() == ROWS[i].tobytes()
            assert line.similarity == 1.0
    assert verify(path).status == "clean"


async def test_both_formats_have_one_digest(tmp_path: Path, monkeypatch) -> None:
    def copy(name: str, packs: bool) -> Path:
        monkeypatch.setattr(store, "PACKS", packs)
        export = export_records(JsonlStore(tmp_path / "memory"), Hasher())
        import_records(export, JsonlStore(tmp_path / name), Hasher())
        return tmp_path / name

    await fill(tmp_path / "memory", 0, 6)
    plain, packed = copy("plain", packs=False), copy("packed", packs=True)
    assert b"~" not in (plain / LOG).read_bytes().replace(b'{"key":"~"}', b"")
    assert (packed / LOG).stat().st_size < (plain / LOG).stat().st_size
    reports = [verify(path) for path in (plain, packed, tmp_path / "memory")]
    assert {report.status for report in reports} == {"clean"}
    assert len({report.digest for report in reports}) == 1
    assert await keys(plain) == await keys(packed)
    exports = [list(export_records(JsonlStore(p), Hasher())) for p in (plain, packed)]
    assert exports[0] == exports[1]
    assert "~" not in "".join(exports[0]).replace('{"key":"~"}', "")


async def test_an_older_folder_stays_what_it_is(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(store, "PACKS", False)
    await fill(path, 0, 6)
    assert (path / CACHE).read_bytes().startswith(b"PMLLBLK3")
    monkeypatch.undo()
    await fill(path, 6, 12)
    async with Lattice.open(path) as lattice:
        assert lattice.recovery.replayed == 0
        await lattice.pin("a", "b")
    assert decode_object((path / "store.json").read_bytes())["requires"] == []
    assert (path / CACHE).read_bytes().startswith(b"PMLLBLK3")
    assert b'"key":"~' not in (path / LOG).read_bytes().replace(b'{"key":"~"}', b"")
    assert verify(path).status == "clean"


@pytest.mark.parametrize("packs", [True, False])
async def test_the_other_format_s_line_is_damage(path: Path, monkeypatch, packs: bool) -> None:
    """Its anchor and its checksum hold, and it is not what a writer would write."""
    monkeypatch.setattr(store, "PACKS", packs)
    await fill(path, 0, 4)
    monkeypatch.setattr(store, "PACKS", not packs)
    other = path.with_name("other")
    import_records(export_records(JsonlStore(path), Hasher()), JsonlStore(other), Hasher())
    text = json.loads((other / LOG).read_bytes().splitlines()[2])["key"]
    lines = (path / LOG).read_bytes().splitlines(keepends=True)
    own = json.loads(lines[2])["key"]
    lines[2] = close_line(lines[2].rpartition(b',"c":"')[0].replace(own.encode(), text.encode()))
    (path / LOG).write_bytes(b"".join(lines))
    assert verify(path).status == "damaged"
    shutil.rmtree(path / "cache")
    with pytest.raises(CorruptionError):
        await Lattice.open(path)


async def test_a_store_without_its_header_is_told_of_that_alone(path: Path) -> None:
    await fill(path, 0, 4)
    (path / "store.json").unlink()
    assert {finding.file for finding in verify(path).findings} == {"store.json"}
