"""A lattice whose index leaves its keys to the store, beside one that has them in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lattice_support import must_be_off_loop

from pmll_async import Candidate, CorruptionError, Lattice, MemoryLine
from pmll_async.indexes import codes, keys, rows
from pmll_async.indexes.exact import ExactIndex
from pmll_async.protocols import Store
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import ManualClock
from pmll_async.text import HashingEmbedder

pytest.importorskip("numkong", reason="numkong missing: pip install 'pmll-async[fast]'")

DIM = 16
MakeStore = Callable[..., Store]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (keys, codes, rows):
        monkeypatch.setattr(module, "CHUNK_ROWS", 8)
    monkeypatch.setattr(codes, "_PACK_ROWS", (64, 16, 8))


@pytest.fixture(params=["jsonl", "lmdb", "memory"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """Makes stores, all on the same bytes."""
    if request.param == "memory":
        store = MemoryStore()
        return lambda: store
    if request.param == "jsonl":
        return lambda **options: JsonlStore(tmp_path / "memory", segment_bytes=8192, **options)
    pytest.importorskip("lmdb", reason="lmdb is not installed: pip install 'pmll-async[lmdb]'")
    from pmll_async.stores.lmdb import LmdbStore

    return lambda **options: LmdbStore(tmp_path / "memory.lmdb", **options)


class OffLoopIndex(ExactIndex):
    """Is asked in worker threads alone, however small it is: whatever it answers may be read."""

    def __init__(self) -> None:
        super().__init__(resident="mmap")

    def rank(self, *asked: Any) -> Any:
        must_be_off_loop("Index.rank")
        return super().rank(*asked)


def vectors(count: int, seed: int = 0) -> list[np.ndarray]:
    """Half of them a hashed text's, which are packed on disk."""
    dense = np.random.default_rng(seed).standard_normal((count // 2, DIM)).astype(np.float32)
    texts = [f"word{n % 7} and word{n % 11} for {n}" for n in range(count - count // 2)]
    every = [*dense, *HashingEmbedder(dim=DIM).embed(texts)]
    return [every[place] for place in np.random.default_rng(seed).permutation(count)]


async def fill(lattice: Lattice) -> None:
    """Lines, races, notes, and what takes lines off again."""
    given = vectors(120)
    await lattice.put_many((Candidate(key=key) for key in given[:90]), batch=17)

    def proposing(key: np.ndarray) -> Any:
        async def propose(_: Any) -> Candidate:
            return Candidate(key=key)

        return propose

    for first in range(90, 108, 3):
        await lattice.race([proposing(key) for key in given[first : first + 3]], decay=0.5)
        await lattice.note({"first": first})
    revision = lattice.revision
    anchors = [await lattice.put(key) for key in given[108:]]
    await lattice.forget(anchors[3])
    await lattice.rollback(revision)
    await lattice.put(given[110])


async def answers(lattice: Lattice) -> list[Any]:
    found: list[Any] = []
    for options in ({}, {"k": 200, "min_similarity": -1.0}, {"branches": False}):
        for vector in [*vectors(8, 5), *vectors(120)[::9]]:
            found += [told(await lattice.query(vector, now=1.8e9, **options))]
    together = [lattice.query(vector, 4, now=1.8e9) for vector in vectors(20, 6)]
    found += map(told, await asyncio.gather(*together))
    view = lattice.at(60)
    found.append(told(await view.query(vectors(2, 7)[0], 9)))
    return found


def told(lines: list[MemoryLine]) -> list[tuple[str, float, float]]:
    return [(line.anchor, line.similarity, line.weight) for line in lines]


async def test_every_answer_is_the_same(make_store: MakeStore) -> None:
    async with Lattice(MemoryStore(), dim=DIM, clock=ManualClock()) as held:
        await fill(held)
        expected, digest = await answers(held), held.digest
    async with Lattice(make_store(), dim=DIM, clock=ManualClock(), index=OffLoopIndex()) as lattice:
        await fill(lattice)
        assert lattice.digest == digest, "novelty is part of it"
        assert await answers(lattice) == expected
    async with Lattice(make_store(), index=OffLoopIndex()) as lattice:
        assert await answers(lattice) == expected
    async with Lattice(make_store()) as lattice:
        assert await answers(lattice) == expected


async def test_asked_while_written(make_store: MakeStore) -> None:
    given = vectors(400)
    async with Lattice(make_store(), dim=DIM, index=OffLoopIndex()) as lattice:
        await lattice.put_many(Candidate(key=key) for key in given[:40])

        async def write() -> None:
            for first in range(40, 400, 24):
                await asyncio.gather(*(lattice.put(key) for key in given[first : first + 24]))

        async def ask(key: np.ndarray) -> None:
            for _ in range(12):
                [line] = await lattice.query(key, 1, min_similarity=0.99)
                assert line.key.tobytes() == key.tobytes()

        await asyncio.gather(write(), *(ask(key) for key in given[:40:8]))
        for key in given[::19]:
            [line] = await lattice.query(key, 1, min_similarity=0.99)
            assert line.similarity > 0.999


@pytest.mark.parametrize("make_store", ["jsonl", "lmdb"], indirect=True)
async def test_a_reader_that_follows(make_store: MakeStore) -> None:
    given = vectors(90)
    async with (
        Lattice(make_store(), dim=DIM, clock=ManualClock()) as writer,
        Lattice(make_store(read_only=True), index=OffLoopIndex()) as reader,
    ):
        for first in range(0, 90, 30):
            await writer.put_many(Candidate(key=key) for key in given[first : first + 30])
            for key in given[: first + 30 : 7]:
                expected = told(await writer.query(key, 6, now=1.8e9))
                assert told(await reader.query(key, 6, now=1.8e9)) == expected


async def test_what_is_damaged_is_told_and_never_ranked(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    given = np.random.default_rng(1).standard_normal((64, DIM)).astype(np.float32)
    async with Lattice.open(path, dim=DIM, index=OffLoopIndex()) as lattice:
        await lattice.put_many(Candidate(key=key) for key in given)
        log = path / "log-00000001.jsonl"
        lines = log.read_bytes().splitlines(keepends=True)
        at = len(b"".join(lines[:5])) + lines[5].index(b'"key":"') + 20
        with log.open("r+b") as file:
            file.seek(at)
            file.write(b"A" if file.read(1) != b"A" else b"B")
        with pytest.raises(CorruptionError) as caught:
            await lattice.query(given[5], 1)
        assert caught.value.n == 5
        with pytest.raises(CorruptionError):
            await lattice.put(given[5] + np.float32(1e-3))
        assert len(lattice) == 64
        # Nothing else is wrong with it.
        [line] = await lattice.query(given[20], 1)
        assert line.similarity > 0.999
        await lattice.put(given[40] + np.float32(1e-3))
        assert len(lattice) == 65


async def test_another_record_in_its_place(tmp_path: Path) -> None:
    given = np.random.default_rng(2).standard_normal((64, DIM)).astype(np.float32)
    async with (
        Lattice.open(
            tmp_path / "one", dim=DIM, clock=ManualClock(), index=OffLoopIndex()
        ) as lattice,
        Lattice.open(tmp_path / "other", dim=DIM, clock=ManualClock()) as other,
    ):
        await lattice.put_many(Candidate(key=key) for key in given)
        await other.put_many(Candidate(key=key * np.float32(1.5)) for key in given)
        log = (tmp_path / "one" / "log-00000001.jsonl", tmp_path / "other" / "log-00000001.jsonl")
        first, wrong = (path.read_bytes().splitlines(keepends=True)[0] for path in log)
        assert len(first) == len(wrong)
        with log[0].open("r+b") as file:
            file.write(wrong)
        with pytest.raises(CorruptionError, match="another record"):
            await lattice.query(given[0], 1)
