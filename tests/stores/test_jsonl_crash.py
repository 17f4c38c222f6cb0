"""Crashes: killed writers, recoveries that are cut short, disks that fill up or fail."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonl_tools import (
    LOG,
    CrashError,
    all_contexts,
    contents,
    contexts_of,
    copy_as_killed,
    crashing,
    load,
    opened,
    same_blocks,
)
from kill_writer import KILLS, resume
from make_records import Chain, small_history

from pmll_async.errors import DurabilityUnknownError, StoreError, StoreFullError
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.jsonl.verify import verify

HERE = Path(__file__).parent


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory"


@pytest.mark.slow
def test_acknowledged_records_survive_kill_9(path: Path) -> None:
    """Writers are killed one after the other; each finds all that was acknowledged."""
    done = subprocess.run(
        [sys.executable, HERE / "kill_writer.py", path, str(KILLS), "1"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(["", str(HERE), str(HERE.parent.parent)])},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["lost"] == 0
    assert told["wrote"] > KILLS * 0.3, "most writers came to write"
    assert verify(path).status in ("clean", "torn")
    chain = Chain(dim=8)
    store = JsonlStore(path)
    assert resume(store, chain) >= told["acknowledged"]
    store.close()
    report = verify(path)
    assert (report.status, report.records) == ("clean", store.recovery.records)
    assert report.digest == chain.digest.hex()


# --- a recovery that is cut short ---------------------------------------------------------------


def _unproven(path: Path, chain: Chain) -> None:
    """The last batch is whole, but nothing proves it durable."""
    with opened(path / "live", chain) as store:
        small_history(chain, store)
        copy_as_killed(path / "live", path / "crashed")


def _torn(path: Path, chain: Chain) -> None:
    """As before, and the last line is cut."""
    _unproven(path, chain)
    chain.records[11:] = []
    log = path / "crashed" / LOG
    os.truncate(log, log.stat().st_size - 9)


def _many_segments(path: Path, chain: Chain) -> None:
    """Unproven records in three segments and a torn one after them."""
    _unproven(path, chain)
    log = path / "crashed" / LOG
    lines = log.read_bytes().splitlines(keepends=True)
    for number, (first, stop) in enumerate([(0, 11), (11, 12), (12, 12)], 1):
        (path / "crashed" / f"log-{number:08d}.jsonl").write_bytes(b"".join(lines[first:stop]))
    (path / "crashed" / "log-00000004.jsonl").write_bytes(b'{"n":12,"d":10')


def _first_session(path: Path, chain: Chain) -> None:
    """Nothing at all is proven."""
    with opened(path / "live", chain) as store:
        chain.append(store, lambda: chain.group(4))
        copy_as_killed(path / "live", path / "crashed")


@pytest.mark.parametrize("case", [_unproven, _torn, _many_segments, _first_session])
def test_a_recovery_may_crash_at_every_step(
    tmp_path: Path, chain: Chain, case: Callable[[Path, Chain], None], monkeypatch: Any
) -> None:
    case(tmp_path, chain)
    steps = 0
    while True:
        path = copy_as_killed(tmp_path / "crashed", tmp_path / "memory")
        store = JsonlStore(path)
        crashed = False
        with crashing(monkeypatch, after=steps) as calls:
            try:
                load(store, chain)
            except CrashError:
                crashed = True
        if not crashed:
            store.close()
            break
        killed = copy_as_killed(path, tmp_path / "again")
        store.close()
        for place in (path, killed):
            _recovers(place, chain)
        steps += 1
    assert steps > 5, calls


def _recovers(path: Path, chain: Chain) -> None:
    records = len(chain.records)
    reader = JsonlStore(path, read_only=True)
    load(reader, chain)
    assert contents(reader) == chain.records[: reader.recovery.records]
    reader.close()
    assert verify(path).status in ("clean", "torn")
    store = JsonlStore(path)
    blocks = load(store, chain)
    assert same_blocks(blocks, chain, records), (store.recovery, list(path.iterdir()))
    assert contents(store) == chain.records
    assert all_contexts(store, records) == contexts_of(chain.records)
    store.close()
    assert verify(path).status == "clean"
    assert not list(path.glob("*.tmp"))


def test_an_unclean_open_writes_the_unproven_records_again(tmp_path: Path, chain: Chain) -> None:
    _unproven(tmp_path, chain)
    path = tmp_path / "crashed"
    lines = (path / LOG).read_bytes().splitlines(keepends=True)
    with opened(path, chain) as store:
        assert not store.recovery.clean
        assert (path / LOG).read_bytes() == b"".join(lines[:11])
        assert (path / "log-00000002.jsonl").read_bytes() == lines[11]
        chain.append(store, chain.put)
    with opened(path, chain) as store:
        assert store.recovery.clean
        assert contents(store) == chain.records
        assert len(list(path.glob("log-*"))) == 2


# --- disks ---------------------------------------------------------------------------------------


def _failing(code: int) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_a_failed_sync_stops_the_store(path: Path, chain: Chain, monkeypatch: Any) -> None:
    store = JsonlStore(path)
    store.open(chain.header, chain.hasher)
    list(store.load())
    small_history(chain, store)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", _failing(errno.EIO))
        with pytest.raises(DurabilityUnknownError) as caught:
            chain.append(store, chain.put)
        assert isinstance(caught.value, OSError)
    with pytest.raises(DurabilityUnknownError):
        chain.append(store, chain.put)
    assert [store.read(n) for n in range(12)] == chain.records[:12]
    store.close()
    assert (path / "MANIFEST.json").read_bytes().count(b'"records":0') == 1
    store = JsonlStore(path)
    load(store, chain)
    assert not store.recovery.clean
    assert contents(store) == chain.records[:13], "the record was written, though not confirmed"
    store.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_takes_nothing_and_goes_on(
    path: Path, chain: Chain, code: int, monkeypatch: Any
) -> None:
    real, full = os.write, False

    def write(fd: int, data: memoryview) -> int:
        nonlocal full
        if full:
            _failing(code)()
        full = True
        return real(fd, data[: len(data) // 2])

    with opened(path, chain) as store:
        chain.append(store, chain.put)
        size = (path / LOG).stat().st_size
        record = chain.put()
        block = chain.block([record])
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write)
            with pytest.raises(StoreFullError) as caught:
                store.append([record], block)
            assert isinstance(caught.value, OSError)
        assert (path / LOG).stat().st_size == size
        store.append([record], block)
        chain.append(store, chain.put)
    with opened(path, chain) as store:
        assert store.recovery.clean
        assert contents(store) == chain.records


def test_when_the_partial_record_cannot_be_cut_off_the_store_stops(
    path: Path, chain: Chain, monkeypatch: Any
) -> None:
    with opened(path, chain) as store:
        chain.append(store, chain.put)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", _failing(errno.ENOSPC))
            patch.setattr(os, "ftruncate", _failing(errno.EIO))
            with pytest.raises(DurabilityUnknownError):
                chain.append(store, chain.put)
        with pytest.raises(DurabilityUnknownError):
            chain.append(store, chain.put)


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS])
def test_any_other_write_error_stops_the_store(
    path: Path, chain: Chain, code: int, monkeypatch: Any
) -> None:
    with opened(path, chain) as store:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", _failing(code))
            with pytest.raises(DurabilityUnknownError):
                chain.append(store, chain.put)
        with pytest.raises(DurabilityUnknownError):
            chain.append(store, chain.put)


def test_a_failing_cache_fails_nothing(path: Path, chain: Chain, monkeypatch: Any) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", _failing(errno.ENOSPC))
        with opened(path, chain, cache_records=2) as store:
            small_history(chain, store)
            assert [store.read(n) for n in range(12)] == chain.records
            assert all_contexts(store, 12) == contexts_of(chain.records)
    with opened(path, chain) as store:
        assert store.recovery.clean
        assert contents(store) == chain.records


def test_a_failing_rotation_loses_nothing(path: Path, chain: Chain, monkeypatch: Any) -> None:
    real = os.open

    def no_new_files(name: Any, flags: int, *args: Any, **options: Any) -> int:
        if flags & os.O_CREAT:
            _failing(errno.ENOSPC)()
        return real(name, flags, *args, **options)

    with opened(path, chain, segment_bytes=100) as store:
        chain.append(store, chain.put)
        record = chain.put()
        block = chain.block([record])
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", no_new_files)
            with pytest.raises(StoreFullError):
                store.append([record], block)
        store.append([record], block)
        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", _failing(errno.ENOSPC))
            chain.append(store, chain.put)
        killed = copy_as_killed(path, path.parent / "killed")
        chain.append(store, chain.put)
    for place, records in ((path, 4), (killed, 3)):
        with opened(place, chain) as store:
            assert contents(store) == chain.records[:records]
        assert verify(place).status == "clean"


def test_a_failing_sync_of_the_folder_stops_the_store(
    path: Path, chain: Chain, monkeypatch: Any
) -> None:
    with opened(path, chain, segment_bytes=100) as store:
        chain.append(store, chain.put)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", _failing(errno.EIO))
            with pytest.raises(DurabilityUnknownError):
                chain.append(store, chain.put)
        with pytest.raises(DurabilityUnknownError):
            chain.append(store, chain.put)
    with opened(path, chain) as store:
        assert contents(store) == chain.records[:1]


def test_other_errors_of_the_system_are_store_errors(
    path: Path, chain: Chain, monkeypatch: Any
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", _failing(errno.EACCES))
        with pytest.raises(StoreError, match="Permission denied"):
            JsonlStore(path).open(chain.header, chain.hasher)
    path.parent.joinpath("file").write_text("")
    with pytest.raises(StoreError):
        JsonlStore(path.parent / "file" / "deep").open(chain.header, chain.hasher)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "pmll-test", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("only root may mount the small file system that is to fill up")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_really_fills_up(tiny_disk: Path) -> None:
    chain = Chain(dim=64)
    (tiny_disk / "ballast").write_bytes(bytes(32768))
    with opened(tiny_disk / "memory", chain, cache_records=20) as store:
        stored = 0
        while True:
            record = chain.put()
            block = chain.block([record])
            try:
                store.append([record], block)
            except StoreFullError:
                break
            stored += 1
        assert stored > 50
        assert [store.read(n) for n in range(stored)] == chain.records[:stored]
        (tiny_disk / "ballast").unlink()
        store.append([record], block)
    with opened(tiny_disk / "memory", chain) as store:
        assert contents(store) == chain.records
