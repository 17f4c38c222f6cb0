"""Erasing beside everything else: what goes on meanwhile, who waits, and who may leave."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pmll_async import (
    DurabilityUnknownError,
    ErasureUnfinishedError,
    Lattice,
    LineErasedError,
    StoreError,
)
from pmll_async.integrity.encrypted import EncryptedStore
from pmll_async.integrity.secrets import RawKey
from pmll_async.loop.workers import ERASURES
from pmll_async.protocols import Erasing, SupportsErase
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.lmdb import LmdbStore
from pmll_async.stores.memory import MemoryStore

DIM = 16
SECRET = "the code of the safe is 4711"
PATIENCE = 30.0
KEY = RawKey(bytes(32))
Made = EncryptedStore | JsonlStore | LmdbStore | MemoryStore


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)


@pytest.fixture(params=["memory", "jsonl", "lmdb", "encrypted"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Made]:
    """Gives the one store, anew for each opening."""
    path, one = tmp_path / "memory", MemoryStore()
    makers: dict[str, Callable[[], Made]] = {
        "memory": lambda: one,
        "jsonl": lambda: JsonlStore(path, segment_bytes=2_000, cache_records=4),
        "lmdb": lambda: LmdbStore(path),
        "encrypted": lambda: EncryptedStore(
            JsonlStore(path, segment_bytes=4_000), RawKey(bytes(32))
        ),
    }
    return makers[request.param]


class Held:
    """Holds the erasures of a store within `write`, whose order with `close` is noted."""

    def __init__(self, store: Made, patch: pytest.MonkeyPatch) -> None:
        assert isinstance(store, SupportsErase)
        self.erase, self.close = store.erase, store.close
        self.calls: list[str] = []
        self.arrived, self.gate = threading.Event(), threading.Event()
        self.error: BaseException | None = None
        patch.setattr(store, "erase", self._erase, raising=False)
        patch.setattr(store, "close", self._close)

    def _erase(self, *args: Any) -> Erasing:
        self.calls.append("begin")
        return HeldErasing(self, self.erase(*args))

    def _close(self) -> None:
        self.calls.append("close")
        self.close()

    async def wait(self) -> None:
        assert await asyncio.to_thread(self.arrived.wait, PATIENCE)


class HeldErasing:
    def __init__(self, held: Held, within: Erasing) -> None:
        self._held, self._within = held, within

    def write(self) -> None:
        self._held.arrived.set()
        assert self._held.gate.wait(PATIENCE)
        self._within.write()
        self._held.calls.append("written")
        if self._held.error is not None:
            raise self._held.error

    def finish(self) -> None:
        self._within.finish()
        self._held.calls.append("finished")


def wait_until(told: Callable[[], bool]) -> None:
    late = time.monotonic() + PATIENCE
    while not told():
        assert time.monotonic() < late
        time.sleep(0.001)


async def filled(lattice: Lattice) -> list[str]:
    texts = [SECRET if n % 5 == 2 else "x" for n in range(20)]
    return [await lattice.put(vector(n), None, {"text": text}) for n, text in enumerate(texts)]


def mentions(path: Path) -> list[str]:
    files = [file for file in path.rglob("*") if file.is_file()]
    return [file.name for file in files if SECRET.encode() in file.read_bytes()]


async def check(make: Callable[[], Made], gone: list[str], there: list[str], path: Path) -> None:
    """After reopening: what is erased is gone, and all that was answered is there."""
    assert not mentions(path)
    async with Lattice(make()) as lattice:
        assert lattice.recovery.clean
        for anchor in there:
            assert (await lattice.get(anchor)).anchor == anchor
        for anchor in gone:
            with pytest.raises(LineErasedError):
                await lattice.get(anchor)
        found = await lattice.verify()
        assert found.holds, found
        assert set(found.report.erased) == set(gone)


async def test_puts_and_queries_go_on_while_it_is_written(
    tmp_path: Path, make: Callable[[], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make()
    held = Held(store, monkeypatch)
    async with Lattice(store, dim=DIM) as lattice:
        anchors = await filled(lattice)
        erasing = asyncio.create_task(lattice.forget_where({"text": SECRET}, erase=True))
        await held.wait()
        # Enough for new segments and blocks of the cache; the erased are given to nobody now.
        later = [await lattice.put(vector(100 + n), None, {"n": n}) for n in range(30)]
        await lattice.pin("embedder", "none")
        assert len(await lattice.query(vector(0), 99, min_similarity=-1)) == 46
        assert (await lattice.query(vector(110), 1))[0].anchor == later[10]
        with pytest.raises(LineErasedError):
            await lattice.get(anchors[2])
        assert (await lattice.verify()).holds
        assert not erasing.done()
        held.gate.set()
        assert await erasing == tuple(anchors[2::5])
        assert not mentions(tmp_path)
        assert (await lattice.verify()).holds
        later.append(await lattice.put(vector(200)))
        there = [anchor for n, anchor in enumerate(anchors) if n % 5 != 2] + later
        for anchor in there:
            assert (await lattice.get(anchor)).anchor == anchor
    await check(make, anchors[2::5], there, tmp_path)


async def test_a_second_erasure_waits_for_the_first_and_takes_all_that_came_meanwhile(
    tmp_path: Path, make: Callable[[], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make()
    held = Held(store, monkeypatch)
    async with Lattice(store, dim=DIM) as lattice:
        anchors = await filled(lattice)
        first = asyncio.create_task(lattice.forget(anchors[2], erase=True))
        await held.wait()
        others = [asyncio.create_task(lattice.forget(each, erase=True)) for each in anchors[7::5]]
        # Their records are committed, and they wait for the files.
        while lattice.revision < 24:
            await lattice.query(vector(7), 1)
        await lattice.put(vector(50))
        assert held.calls == ["begin"]
        assert not any(task.done() for task in (first, *others))
        held.gate.set()
        await asyncio.gather(first, *others)
        assert held.calls[:4] == ["begin", "written", "finished", "begin"]
        assert not mentions(tmp_path)
    await check(make, anchors[2::5], anchors[3:5], tmp_path)


async def test_who_is_cancelled_leaves_it_to_go_on_and_closing_waits(
    tmp_path: Path, make: Callable[[], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make()
    held = Held(store, monkeypatch)
    lattice = await Lattice(store, dim=DIM)
    anchors = await filled(lattice)
    erasing = asyncio.create_task(lattice.forget_where({"text": SECRET}, erase=True))
    await held.wait()
    erasing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await erasing
    trace = lattice._open.trace
    closing = asyncio.create_task(lattice.aclose())
    await asyncio.to_thread(wait_until, lambda: trace._leaving is not None)
    assert not closing.done()
    held.gate.set()
    await closing
    assert held.calls == ["begin", "written", "finished", "close"]
    await check(make, anchors[2::5], anchors[3:7], tmp_path)


async def test_closing_answers_who_erases(
    tmp_path: Path, make: Callable[[], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make()
    held = Held(store, monkeypatch)
    lattice = await Lattice(store, dim=DIM)
    anchors = await filled(lattice)
    erasing = asyncio.create_task(lattice.forget(anchors[2], erase=True))
    await held.wait()
    closing = asyncio.create_task(lattice.aclose())
    held.gate.set()
    await asyncio.gather(erasing, closing)
    assert held.calls == ["begin", "written", "finished", "close"]


def test_a_loop_that_ends_meanwhile_leaves_it_to_be_done(
    tmp_path: Path, make: Callable[[], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make()
    held = Held(store, monkeypatch)
    anchors: list[str] = []

    async def leave() -> Lattice:
        lattice = await Lattice(store, dim=DIM)
        anchors.extend(await filled(lattice))
        task = asyncio.create_task(lattice.forget_where({"text": SECRET}, erase=True))
        await held.wait()
        assert not task.done()
        return lattice

    lattice = asyncio.run(leave())
    trace = lattice._open.trace
    closing = threading.Thread(target=lambda: asyncio.run(lattice.aclose()))
    closing.start()
    wait_until(lambda: trace._leaving is not None)
    assert closing.is_alive()
    held.gate.set()
    closing.join(PATIENCE)
    assert held.calls == ["begin", "written", "finished", "close"]
    asyncio.run(check(make, anchors[2::5], anchors[3:7], tmp_path))


async def test_what_fails_is_told_and_done_by_the_next(
    tmp_path: Path, make: Callable[[], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make()
    held = Held(store, monkeypatch)
    held.gate.set()
    async with Lattice(store, dim=DIM) as lattice:
        anchors = await filled(lattice)
        for error in (OSError(errno.EIO, os.strerror(errno.EIO)), MemoryError(), KeyError("odd")):
            held.error = error
            with pytest.raises(ErasureUnfinishedError):
                await lattice.forget_where({"text": SECRET}, erase=True)
            await lattice.put(vector(60))
        held.error = None
        # It is asked for something else, and does what is left.
        await lattice.forget(anchors[0], erase=True)
        assert not mentions(tmp_path)
        assert (await lattice.verify()).holds
    await check(make, [anchors[0], *anchors[2::5]], anchors[3:7], tmp_path)


async def test_a_disk_in_doubt_leaves_it_to_the_next_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "memory"
    store = JsonlStore(path, segment_bytes=2_000)
    held = Held(store, monkeypatch)

    def failing(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with Lattice(store, dim=DIM) as lattice:
        anchors = await filled(lattice)
        erasing = asyncio.create_task(lattice.forget_where({"text": SECRET}, erase=True))
        await held.wait()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", failing)
            with pytest.raises(DurabilityUnknownError):
                await lattice.put(vector(50))
        held.gate.set()
        with pytest.raises(ErasureUnfinishedError):
            await erasing
        with pytest.raises(StoreError):
            await lattice.forget(anchors[0], erase=True)
    assert mentions(path)
    async with Lattice(JsonlStore(path)) as lattice:
        assert not mentions(path)
        found = await lattice.verify()
        assert found.holds
        assert set(found.report.erased) == set(anchors[2::5])


async def test_without_a_thread_for_it_writers_wait(
    tmp_path: Path, make: Callable[[], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(_: object) -> None:
        raise RuntimeError("can't start new thread")

    async with Lattice(make(), dim=DIM) as lattice:
        anchors = await filled(lattice)
        with monkeypatch.context() as patch:
            patch.setattr(ERASURES, "submit", refusing)
            await lattice.forget_where({"text": SECRET}, erase=True)
        await lattice.put(vector(50))
    await check(make, anchors[2::5], anchors[3:7], tmp_path)


async def test_many_lines_are_erased_by_several_records_and_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pmll_async.changes._ERASED_TOGETHER", 3)
    store = JsonlStore(tmp_path / "memory")
    held = Held(store, monkeypatch)
    held.gate.set()
    async with Lattice(store, dim=DIM) as lattice:
        await filled(lattice)
        assert len(await lattice.forget_where({"text": SECRET}, erase=True)) == 4
        assert (lattice.revision, held.calls.count("begin")) == (22, 1)
        assert not mentions(tmp_path)
