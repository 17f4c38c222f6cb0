"""What erasing leaves as it was: seals, proofs, who is hidden, what is derived and copied."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from pmll_async import (
    InvalidInputError,
    Lattice,
    LineErasedError,
    StoreError,
)
from pmll_async.indexes.exact import ExactIndex
from pmll_async.integrity import Ed25519Key
from pmll_async.integrity.trust import read_trust
from pmll_async.moving.reembed import reembed
from pmll_async.moving.transfer import export_records, import_records
from pmll_async.protocols import erase_now
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.jsonl.frames import checked_body, close_line
from pmll_async.stores.jsonl.verify import verify
from pmll_async.stores.lmdb import LmdbStore
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import GatedStore
from pmll_async.text import TextMemory
from pmll_async.text.embedders.hashing import HashingEmbedder
from pmll_async.values.anchors import Hasher

DIM = 16
SECRET = "the code of the safe is 4711"
LOG = "log-00000001.jsonl"


def key(n: int) -> np.ndarray:
    return np.random.default_rng(n).standard_normal(DIM).astype(np.float32)


async def filled(lattice: Lattice, count: int = 10) -> list[str]:
    return [await lattice.put(key(n), None, {"n": n}) for n in range(count)]


# --- seals and proofs ---------------------------------------------------------------------------


async def test_seals_and_proofs_of_before_hold_after_an_erasure(tmp_path: Path) -> None:
    path, signer = tmp_path / "memory", Ed25519Key(os.urandom(32))
    async with Lattice.open(path, dim=DIM) as lattice:
        anchors = await filled(lattice)
        old = await lattice.seal(signer=signer, trust=tmp_path / "trust.json")
        proof = await lattice.prove(anchors[3], old)
        await lattice.forget(anchors[3], erase=True)
        again = await lattice.prove(anchors[3], old)
        assert (again, again.holds) == (proof, True)
        new = await lattice.seal(signer=signer, trust=tmp_path / "trust.json")
        assert (new.records, new.previous) == (11, old.own_digest)
        assert (await lattice.prove_growth(old, new)).holds
        for seal in (old, new):
            found = await lattice.verify(expect=seal, checker=signer.checker)
            assert found.holds, found
        assert found.standing is not None
    found = verify(path)
    assert (found.status, found.erased) == ("clean", (anchors[3],))
    async with Lattice.open(path) as lattice:
        trust = read_trust(tmp_path / "trust.json")
        assert (await lattice.verify(trust=trust, checker=signer.checker)).holds
        again = await lattice.seal(signer=signer, trust=tmp_path / "trust.json")
        assert again == new


async def test_a_line_that_had_a_key_cannot_be_proven_anew(tmp_path: Path) -> None:
    async with Lattice.open(tmp_path / "memory", dim=DIM) as lattice:
        anchor = await lattice.put(key(0), None, {"n": 0}, idempotency_key="k")
        seal = await lattice.seal()
        proof = await lattice.prove(anchor, seal)
        await lattice.forget(anchor, erase=True)
        with pytest.raises(LineErasedError):
            await lattice.prove(anchor, seal)
        assert proof.holds


async def test_content_that_is_gone_without_a_record_of_it_is_found(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    async with Lattice.open(path, dim=DIM) as lattice:
        anchors = await filled(lattice)
        digest = lattice.digest
    _take_content_away(path, 4)
    report = verify(path)
    assert report.status == "damaged"
    assert [finding.n for finding in report.findings if "not erased" in finding.reason] == [4]
    assert (report.erased, report.digest) == ((anchors[4],), digest)


def _take_content_away(path: Path, n: int) -> None:
    """As an attacker would, who writes anew whatever has no key; the L_n stay as they were."""
    store = JsonlStore(path)
    from pmll_async.values.anchors import Hasher  # this test alone goes so deep

    store.open(None, Hasher(None))
    list(store.load())
    erase_now(store, {n: {0}})
    store.close()


async def test_a_record_that_says_what_it_was_and_lost_nothing_is_found(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    async with Lattice.open(path, dim=DIM) as lattice:
        await filled(lattice, 3)
    lines = (path / LOG).read_bytes().splitlines(keepends=True)
    lines[1] = close_line(checked_body(lines[1]) + b',"was":"' + b"00" * 32 + b'"')
    (path / LOG).write_bytes(b"".join(lines))
    assert verify(path).status == "damaged"


@pytest.mark.parametrize("kind", [JsonlStore, LmdbStore])
async def test_a_keyed_lattice_erases(tmp_path: Path, kind: type[JsonlStore | LmdbStore]) -> None:
    secret = os.urandom(32)
    async with Lattice(kind(tmp_path / "memory"), dim=DIM, integrity_key=secret) as lattice:
        anchors = await filled(lattice)
        seal = await lattice.seal()
        await lattice.forget(anchors[0], erase=True)
    async with Lattice(kind(tmp_path / "memory"), integrity_key=secret) as lattice:
        found = await lattice.verify(expect=seal)
        assert found.holds
        assert found.report.erased == (anchors[0],)


# --- who is hidden ------------------------------------------------------------------------------


async def test_what_came_of_a_hidden_line_stays_hidden_when_that_is_erased(tmp_path: Path) -> None:
    async with Lattice.open(tmp_path / "memory", dim=DIM) as lattice:
        stranger, agent = lattice.as_writer("stranger", trust=0.5), lattice.as_writer("agent")
        lie = await stranger.put(key(1), None, {"text": "a lie"})
        fine = await lattice.put(key(2), None, {"text": "a note"})
        summary = await agent.derived_from(lie).put(key(3), None, {"text": "of a lie"})
        other = await agent.derived_from(fine).put(key(4), None, {"text": "of a note"})
        act = await lattice.revoke("stranger")
        await lattice.forget(lie, erase=True)
        await lattice.forget(fine, erase=True)
        with pytest.raises(InvalidInputError, match="undone"):
            await lattice.forget(act, erase=True)
        assert await _shown(lattice) == {other}
    async with Lattice.open(tmp_path / "memory") as lattice:
        assert await _shown(lattice) == {other}
        assert (await lattice.get(summary)).context["text"] == "of a lie"


async def _shown(lattice: Lattice) -> set[str]:
    lines = await lattice.query(np.ones(DIM), 50, min_similarity=-1)
    return {line.anchor for line in lines}


# --- what is derived and copied -----------------------------------------------------------------


@pytest.mark.parametrize("kind", [JsonlStore, LmdbStore])
async def test_a_text_leaves_the_index_and_its_file(
    tmp_path: Path, kind: type[JsonlStore | LmdbStore]
) -> None:
    path, texts = tmp_path / "memory", ["The zebra sleeps in Wuppertal.", "The cat is at home."]

    def mentions() -> list[str]:
        files = [file for file in path.rglob("*") if file.is_file()]
        return [file.name for file in files if b"zebra" in file.read_bytes().lower()]

    async with Texts(kind, path) as memory:
        for text in texts:
            await memory.remember(text)
        assert [found.text for found in await memory.recall("zebra")] == texts[:1]
    assert "text.sqlite" in mentions()
    async with Texts(kind, path) as memory:
        (found,) = await memory.recall("zebra")
        await memory.remember("The dog is in the garden.")
        await memory.forget(found.anchor, erase=True)
        assert await memory.recall("zebra Wuppertal") == []
        assert not mentions()
    assert not mentions()
    async with Texts(kind, path) as memory:
        assert await memory.recall("zebra Wuppertal") == []
        assert len(await memory.recent(5)) == 2
        assert (await memory.recall("where is the dog?"))[0].text == "The dog is in the garden."
    assert not mentions()


class Texts:
    """A text memory over a store of some kind, opened and closed with it."""

    def __init__(self, kind: type[JsonlStore | LmdbStore], path: Path) -> None:
        self._lattice = Lattice(kind(path), dim=HashingEmbedder().dim)

    async def __aenter__(self) -> TextMemory:
        await self._lattice
        self._memory = TextMemory(self._lattice)
        return await self._memory.__aenter__()

    async def __aexit__(self, *exc: object) -> None:
        await self._memory.aclose()
        await self._lattice.aclose()


async def test_an_index_that_leaves_its_keys_to_the_store_goes_on(tmp_path: Path) -> None:
    async with Lattice.open(
        tmp_path / "memory", dim=DIM, index=ExactIndex(resident="mmap")
    ) as lattice:
        anchors = await filled(lattice, 50)
        await lattice.forget_where({"n": {"$lt": 20}}, erase=True)
        for n in (20, 30, 49):
            assert (await lattice.query(key(n), 1))[0].anchor == anchors[n]
        later = await lattice.put(key(77))
        assert (await lattice.query(key(77), 1))[0].anchor == later
    async with Lattice.open(tmp_path / "memory", index=ExactIndex(resident="mmap")) as lattice:
        for n in (20, 30, 49):
            assert (await lattice.query(key(n), 1))[0].anchor == anchors[n]
        assert len(await lattice.query(key(1), 100, min_similarity=-1)) == 31


async def test_a_reader_elsewhere_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    async with Lattice(JsonlStore(path, segment_bytes=1500, cache_records=4), dim=DIM) as lattice:
        anchors = await filled(lattice, 30)
        async with Lattice.open(path, read_only=True) as reader:
            assert (await reader.get(anchors[7])).context == {"n": 7}
            await lattice.forget(anchors[3], erase=True)
            later = await lattice.put(key(99), None, {"n": 99})
            assert (await reader.get(later)).context == {"n": 99}
            for n in (0, 5, 12, 20, 29):
                assert (await reader.get(anchors[n])).context == {"n": n}
            with pytest.raises(LineErasedError):
                await reader.get(anchors[3])
            assert len(await reader.query(key(1), 50, min_similarity=-1)) == 30


async def test_a_reader_of_lmdb_beside_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    async with Lattice(LmdbStore(path), dim=DIM) as lattice:
        anchors = await filled(lattice, 30)
        async with Lattice(LmdbStore(path, read_only=True)) as reader:
            # In one process they share what is open.
            await lattice.forget(anchors[3], erase=True)
            assert (await reader.get(anchors[5])).context == {"n": 5}
            with pytest.raises(LineErasedError):
                await reader.get(anchors[3])


READER = """
import asyncio, sys
from pmll_async import Lattice, StoreError

async def main():
    async with Lattice.open(sys.argv[1], read_only=True) as reader:
        print((await reader.get(sys.argv[2])).context, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        try:
            await reader.get(sys.argv[2])
        except StoreError as error:
            print(error)

asyncio.run(main())
"""


async def test_a_reader_of_lmdb_in_another_process_is_told_to_open_anew(tmp_path: Path) -> None:
    path = tmp_path / "memory.lmdb"
    async with Lattice.open(path, dim=DIM) as lattice:
        anchors = await filled(lattice, 5)
        reader = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", READER, str(path), anchors[3]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert reader.stdout is not None
        assert await reader.stdout.readline() == b"{'n': 3}\n"
        await lattice.forget(anchors[3], erase=True)
        told, _ = await reader.communicate(b"\n")
    assert reader.returncode == 0
    assert b"open it again" in told


@pytest.mark.parametrize("kind", [JsonlStore, LmdbStore])
async def test_an_export_carries_erased_lines_and_no_content(
    tmp_path: Path, kind: type[JsonlStore | LmdbStore]
) -> None:
    async with Lattice.open(tmp_path / "memory", dim=DIM) as lattice:
        await lattice.put(key(0), None, {"text": SECRET}, idempotency_key="k0")
        anchors = [*[line.anchor async for line in lattice.rewind()], *await filled(lattice)]
        await lattice.forget(anchors[0], erase=True)
        digest, head = lattice.digest, lattice.head
    with (tmp_path / "export.jsonl").open("wb") as out:
        for text in export_records(JsonlStore(tmp_path / "memory"), Hasher(None)):
            out.write(text.encode())
    data = (tmp_path / "export.jsonl").read_bytes()
    assert SECRET.encode() not in data
    import_records(data.splitlines(keepends=True), kind(tmp_path / "copy"), Hasher(None))
    async with Lattice(kind(tmp_path / "copy")) as copy:
        assert (copy.digest, copy.head) == (digest, head)
        assert (await copy.verify()).report.erased == (anchors[0],)
        with pytest.raises(LineErasedError):
            await copy.get(anchors[0])


async def test_reembedding_leaves_the_place_of_an_erased_text(tmp_path: Path) -> None:
    async with TextMemory.open(tmp_path / "memory") as memory:
        gone = (await memory.remember(SECRET)).anchor
        stays = (await memory.remember("The cat is at home.")).anchor
        await memory.forget(gone, erase=True)
    anchors = await reembed(
        JsonlStore(tmp_path / "memory"), JsonlStore(tmp_path / "new"), HashingEmbedder(dim=64)
    )
    async with TextMemory.open(tmp_path / "new", HashingEmbedder(dim=64)) as memory:
        assert [found.anchor for found in await memory.recall("cat")] == [anchors[stays]]
        with pytest.raises(LineErasedError):
            await memory.lattice.get(anchors[gone])
        assert (await memory.lattice.verify()).holds


async def test_a_store_that_cannot_erase_says_so_first() -> None:
    async with Lattice(GatedStore(MemoryStore()), dim=DIM) as lattice:
        anchors = await filled(lattice, 2)
        with pytest.raises(StoreError, match="SupportsErase"):
            await lattice.forget(anchors[0], erase=True)
        assert lattice.revision == 2


async def test_an_older_release_refuses_a_store_with_erased_lines(tmp_path: Path) -> None:
    async with Lattice.open(tmp_path / "memory", dim=DIM) as lattice:
        anchors = await filled(lattice, 2)
        await lattice.forget(anchors[0], erase=True)
    assert "erased-lines" in json.loads((tmp_path / "memory/store.json").read_bytes())["requires"]
