"""Erasures that are cut short: the next opening for writing does the rest, and loses nothing."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonl_tools import CrashError, crashing

from pmll_async import ErasureUnfinishedError, Lattice, LineErasedError
from pmll_async.integrity.encrypted import EncryptedStore
from pmll_async.integrity.secrets import RawKey
from pmll_async.protocols import SupportsErase, SupportsUpkeep, erase_now
from pmll_async.records.blocks import Block
from pmll_async.records.changes import EraseRecord
from pmll_async.records.findings import Report
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.jsonl.verify import verify
from pmll_async.stores.lmdb import LmdbStore
from pmll_async.stores.lmdb import verify as verify_lmdb
from pmll_async.testing import ChainBuilder
from pmll_async.values.anchors import Hasher

DIM = 16
SECRET = b"the code of the safe"
KEY = RawKey(bytes(32))
Made = EncryptedStore | JsonlStore | LmdbStore
MAKERS: dict[str, Callable[[Path], Made]] = {
    "encrypted": lambda path: EncryptedStore(JsonlStore(path, segment_bytes=4_000), KEY),
    "jsonl": lambda path: JsonlStore(path, segment_bytes=2_000, cache_records=4),
    # Written in small segments, which become one where they are written anew.
    "joined": lambda path: JsonlStore(path, segment_bytes=1 << 20 if path.exists() else 2_000),
    "lmdb": LmdbStore,
}


@pytest.fixture(params=sorted(MAKERS))
def make(request: pytest.FixtureRequest) -> Callable[[Path], Made]:
    return MAKERS[request.param]


def key(n: int) -> np.ndarray:
    return np.random.default_rng(n).standard_normal(DIM).astype(np.float32)


async def filled(path: Path, make: Callable[[Path], Made]) -> list[str]:
    async with Lattice(make(path), dim=DIM) as lattice:
        texts = [SECRET.decode() if n % 5 == 2 else "plain" for n in range(20)]
        return [await lattice.put(key(n), None, {"text": text}) for n, text in enumerate(texts)]


def erase(store: Made, anchors: list[str]) -> None:
    """What the trace does: first the record, then the files."""
    header = store.open(None, Hasher(None))
    *_, last = store.load()
    record = EraseRecord(t=1.0, anchors=tuple(anchors))
    store.append([record], Block.of([record], last.stop, last.digest, header.dim))
    erase_now(store, {n: {0} for n in (2, 7, 12, 17)})
    store.close()


def mentions(path: Path) -> list[str]:
    return [file.name for file in path.rglob("*") if file.is_file() and SECRET in file.read_bytes()]


def looked_at(path: Path, make: Callable[[Path], Made]) -> Report | None:
    """What verifying the files says before anybody opens them."""
    if make is MAKERS["encrypted"]:
        return None
    return (verify_lmdb if make is MAKERS["lmdb"] else verify)(path)


async def check(path: Path, make: Callable[[Path], Made], anchors: list[str]) -> None:
    """Nothing is lost, and what the log says is erased is in no file."""
    before = looked_at(path, make)
    async with Lattice(make(path)) as lattice:
        gone = anchors[2::5] if lattice.revision == 21 else []
        if before is not None and gone:
            # What is left to do was told before it was done.
            assert before.status == "torn" or set(before.erased) == set(gone), before
        for anchor in anchors:
            if anchor in gone:
                with pytest.raises(LineErasedError):
                    await lattice.get(anchor)
            else:
                assert (await lattice.get(anchor)).anchor == anchor
        assert bool(mentions(path)) == (not gone and make is not MAKERS["encrypted"])
        assert len(await lattice.query(key(0), 50, min_similarity=-1)) == 20 - len(gone)
        found = await lattice.verify()
        assert found.holds, found
        assert set(found.report.erased) == set(gone)
        await lattice.put(key(99))
    assert bool(mentions(path)) == (not gone and make is not MAKERS["encrypted"])
    async with Lattice(make(path)) as lattice:
        assert lattice.recovery.clean
        assert len(lattice) == 21


async def test_an_erasure_may_be_cut_at_any_step(
    tmp_path: Path, make: Callable[[Path], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    anchors = await filled(tmp_path / "whole", make)
    after = 0
    while True:
        path, dead = tmp_path / f"live-{after}", tmp_path / f"dead-{after}"
        shutil.copytree(tmp_path / "whole", path)
        store = make(path)
        try:
            with crashing(monkeypatch, after) as calls:
                erase(store, anchors[2::5])
                shutil.copytree(path, dead)
                break
        except CrashError:
            monkeypatch.undo()
            shutil.copytree(path, dead)
            # A dead process lets go of what it has; here somebody has to.
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, "fdatasync", lambda _: None)
                store.close()
        await check(dead, make, anchors)
        shutil.rmtree(path)
        shutil.rmtree(dead)
        after += 1
    assert len(calls) == after
    assert after > 6
    await check(dead, make, anchors)


def erase_beside(store: Made, chain: ChainBuilder, acknowledged: list[int]) -> None:
    """An erasure with writers beside it; how many records are acknowledged is told as it grows."""

    def append(count: int) -> None:
        for _ in range(count):
            n = len(chain.records)
            chain.put({"text": "beside"})
            store.append(chain.records[n:], chain.block(n))
            acknowledged.append(n + 1)
            if isinstance(store, SupportsUpkeep):
                store.keep_up()

    store.open(None, chain.hasher)
    for _ in store.load():
        pass
    assert isinstance(store, SupportsErase)
    erasing = store.erase({n: {0} for n in (2, 7, 12, 17)})
    append(8)
    erasing.write()
    append(3)
    erasing.finish()
    append(2)
    store.close()


def recorded(path: Path, make: Callable[[Path], Made]) -> ChainBuilder:
    """A log of 20 lines, 4 of which a further record erases."""
    chain = ChainBuilder(dim=DIM, value_dim=DIM)
    for n in range(20):
        chain.put({"text": SECRET.decode() if n % 5 == 2 else "plain"})
    anchors = [record.lines[0].anchor for record in chain.records]
    chain.erase(*anchors[2::5])
    store = make(path)
    store.open(chain.header, chain.hasher)
    assert not list(store.load())
    for n in range(len(chain.records)):
        store.append(chain.records[n : n + 1], chain.block(n, n + 1))
    store.close()
    return chain


async def check_beside(
    path: Path, make: Callable[[Path], Made], chain: ChainBuilder, acknowledged: int
) -> None:
    async with Lattice(make(path)) as lattice:
        # What was being appended may be there or not.
        assert acknowledged <= lattice.revision <= len(chain.records)
        assert not mentions(path)
        found = await lattice.verify()
        assert found.holds, found
        gone = {chain.records[n].lines[0].anchor for n in (2, 7, 12, 17)}
        assert set(found.report.erased) == gone
        for record in chain.records[: lattice.revision]:
            for line in record.lines:
                if line.anchor not in gone:
                    stored = await lattice.get(line.anchor)
                    assert stored.key.tobytes() == line.content.key
    async with Lattice(make(path)) as lattice:
        assert lattice.recovery.clean
        assert acknowledged <= lattice.revision


async def test_a_crash_at_any_step_keeps_what_came_meanwhile(
    tmp_path: Path, make: Callable[[Path], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = recorded(tmp_path / "whole", make)
    after, done = 0, False
    while not done:
        path, dead = tmp_path / f"live-{after}", tmp_path / f"dead-{after}"
        shutil.copytree(tmp_path / "whole", path)
        store, chain = make(path), deepcopy(log)
        acknowledged = [len(chain.records)]
        try:
            with crashing(monkeypatch, after):
                erase_beside(store, chain, acknowledged)
                done = True
        except CrashError:
            monkeypatch.undo()
        shutil.copytree(path, dead)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fdatasync", lambda _: None)
            store.close()
        await check_beside(dead, make, chain, acknowledged[-1])
        shutil.rmtree(path)
        shutil.rmtree(dead)
        after += 1
    assert after > 6


async def test_the_cache_keeps_up_with_a_log_that_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "memory"

    def make(place: Path) -> JsonlStore:
        return JsonlStore(place, segment_bytes=2_000, cache_records=4)

    chain = recorded(path, make)
    erase_beside(make(path), chain, [])
    again = make(path)
    again.open(None, chain.hasher)
    list(again.load())
    # Nothing had to be parsed: blocks of before, of meanwhile and of afterwards hold.
    assert (again.recovery.records, again.recovery.replayed) == (34, 0)
    assert again.verify(chain.hasher).findings == ()
    again.close()


async def test_a_full_disk_leaves_it_for_later(
    tmp_path: Path, make: Callable[[Path], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "memory"
    anchors = await filled(path, make)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with Lattice(make(path)) as lattice:
        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", full)
            with pytest.raises(ErasureUnfinishedError):
                await lattice.forget(anchors[2], erase=True)
        with pytest.raises(LineErasedError):
            await lattice.get(anchors[2])
        assert len(await lattice.query(key(0), 50, min_similarity=-1)) == 19
        for anchor in anchors[7::5]:
            await lattice.forget(anchor, erase=True)
        assert not mentions(path)
        await lattice.put(key(50))
    await check_reopened(path, make)


async def check_reopened(path: Path, make: Callable[[Path], Made]) -> None:
    async with Lattice(make(path)) as lattice:
        assert len(lattice) == 21
        assert (await lattice.verify()).holds
        assert len(await lattice.query(key(0), 50, min_similarity=-1)) == 17


async def test_erasing_the_newest_again_and_again_leaves_few_files(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    async with Lattice.open(path, dim=DIM) as lattice:
        stays = [await lattice.put(key(n), None, {"n": n}) for n in range(5)]
        for n in range(30):
            anchor = await lattice.put(key(100 + n), None, {"text": SECRET.decode()})
            await lattice.forget(anchor, erase=True)
            stays.append(await lattice.put(key(200 + n), None, {"n": n}))
        assert len(list(path.glob("log-*"))) <= 3
        for anchor in stays:
            assert (await lattice.get(anchor)).anchor == anchor
    assert not mentions(path)
    async with Lattice.open(path) as lattice:
        assert lattice.recovery.clean
        found = await lattice.verify()
        assert (found.holds, len(found.report.erased)) == (True, 30)
        assert len(await lattice.query(key(0), 99, min_similarity=-1)) == 35


async def test_a_replaced_file_that_cannot_be_removed_is_removed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "memory"
    anchors = await filled(path, MAKERS["jsonl"])
    unlink = os.unlink

    def refusing(name: Any, **options: Any) -> None:
        if str(name).startswith("log-"):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), name)
        unlink(name, **options)

    async with Lattice(MAKERS["jsonl"](path)) as lattice:
        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", refusing)
            with pytest.raises(ErasureUnfinishedError):
                await lattice.forget(anchors[2], erase=True)
            # Manifests that are written meanwhile still say that it is no part of the log.
            for n in range(20):
                await lattice.put(key(50 + n))
    assert mentions(path)
    async with Lattice(MAKERS["jsonl"](path)) as lattice:
        assert len(lattice) == 40
        for anchor in anchors[7::5]:
            await lattice.forget(anchor, erase=True)
        assert not mentions(path)
        assert (await lattice.verify()).holds


async def test_verify_tells_of_an_erasure_that_is_not_done(
    tmp_path: Path, make: Callable[[Path], Made]
) -> None:
    path = tmp_path / "memory"
    anchors = await filled(path, make)
    store = make(path)
    store.open(None, Hasher(None))
    *_, last = store.load()
    record = EraseRecord(t=1.0, anchors=(anchors[2],))
    store.append([record], Block.of([record], last.stop, last.digest, DIM))
    report = store.verify(Hasher(None))
    store.close()
    report = looked_at(path, make) or report
    assert (report.status, [finding.n for finding in report.findings]) == ("torn", [2])
    assert "opening for writing" in report.findings[0].reason
    async with Lattice(make(path)) as lattice:
        assert (await lattice.verify()).report.erased == (anchors[2],)
