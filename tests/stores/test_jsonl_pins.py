"""Pins in files: `store.json` is replaced as a whole, and nothing else is touched."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonl_tools import CrashError, contents, copy_as_killed, crashing, load, opened
from make_records import Chain, small_history

from pmll_async.errors import (
    CorruptionError,
    DurabilityUnknownError,
    PinnedError,
    StoreError,
    StoreFullError,
)
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.jsonl.frames import decode_object, encode_object
from pmll_async.stores.jsonl.verify import verify

STORE = "store.json"


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def pins(path: Path) -> dict[str, str]:
    return json.loads((path / STORE).read_bytes())["pins"]


def everything_else(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name not in (STORE, "LOCK")
    }


def failing(code: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_the_file_differs_in_its_pins_alone(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        small_history(chain, store)
        before, others = (path / STORE).read_bytes(), everything_else(path)
        store.pin("embedder", "hash-é-1")
        assert (path / STORE).read_bytes() == encode_object(
            decode_object(before) | {"pins": {"embedder": "hash-é-1"}}
        )
        assert list(json.loads((path / STORE).read_bytes())) == list(json.loads(before))
        assert everything_else(path) == others
        written = (path / STORE).stat()
        store.pin("embedder", "hash-é-1")
        assert (path / STORE).stat() == written, "the same again writes nothing"
        chain.append(store, chain.put)
    assert verify(path).status == "clean"
    with opened(path, chain) as store:
        assert store.recovery.clean
        assert contents(store) == chain.records


def test_what_a_later_version_added_to_the_file_is_kept(path: Path, chain: Chain) -> None:
    with opened(path, chain):
        pass
    fields = decode_object((path / STORE).read_bytes()) | {"motto": [1.5, {"a": None}]}
    (path / STORE).write_bytes(encode_object(fields))
    with opened(path, chain) as store:
        store.pin("embedder", "e1")
    assert decode_object((path / STORE).read_bytes()) == fields | {"pins": {"embedder": "e1"}}


def test_a_pin_may_crash_at_every_step(tmp_path: Path, chain: Chain, monkeypatch: Any) -> None:
    with opened(tmp_path / "live", chain) as store:
        small_history(chain, store)
        store.pin("first", "1")
    steps, seen = 0, []
    while True:
        path = copy_as_killed(tmp_path / "live", tmp_path / "memory")
        store = JsonlStore(path)
        load(store, chain)
        crashed = False
        with crashing(monkeypatch, after=steps) as calls:
            try:
                store.pin("second", "2")
            except CrashError:
                crashed = True
        killed = copy_as_killed(path, tmp_path / "again")
        store.close()
        seen.append(_found(killed, chain))
        if not crashed:
            break
        steps += 1
    assert calls == ["write", "fsync", "rename", "fsync"]
    assert seen == [False, False, False, True, True]


def _found(path: Path, chain: Chain) -> bool:
    """Whether the second pin is there; all else must be."""
    for read_only in (True, False):
        store = JsonlStore(path, read_only=read_only)
        found = store.open(None, chain.hasher).pins
        list(store.load())
        assert contents(store) == chain.records
        store.close()
        assert found in ({"first": "1"}, {"first": "1", "second": "2"})
        assert found == pins(path)
    assert verify(path).status == "clean"
    assert not list(path.glob("*.tmp"))
    return "second" in found


@pytest.mark.parametrize("name", ["write", "fsync", "rename"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_an_error_leaves_the_old_file_and_the_store_in_use(
    path: Path, chain: Chain, name: str, code: int, monkeypatch: Any
) -> None:
    with opened(path, chain) as store:
        store.pin("first", "1")
        before = (path / STORE).read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, name, failing(code))
            with pytest.raises(StoreError) as caught:
                store.pin("second", "2")
        assert isinstance(caught.value, StoreFullError) == (code != errno.EIO)
        assert not isinstance(caught.value, DurabilityUnknownError)
        assert (path / STORE).read_bytes() == before
        assert not list(path.glob("*.tmp"))
        chain.append(store, chain.put)
        store.pin("second", "3")
    assert pins(path) == {"first": "1", "second": "3"}
    with opened(path, chain) as store:
        assert contents(store) == chain.records


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_new_name_that_the_disk_does_not_confirm_stops_the_store(
    path: Path, chain: Chain, code: int, monkeypatch: Any
) -> None:
    real = os.fsync

    def fsync(fd: int) -> None:
        if Path(f"/proc/self/fd/{fd}").readlink() == path:
            failing(code)()
        real(fd)

    with opened(path, chain) as store:
        chain.append(store, chain.put)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            with pytest.raises(DurabilityUnknownError):
                store.pin("embedder", "e1")
        with pytest.raises(DurabilityUnknownError):
            store.pin("embedder", "e1")
        record = chain.put()
        with pytest.raises(DurabilityUnknownError):
            store.append([record], chain.block([record]))
    with opened(path, chain) as store:
        assert contents(store) == chain.records[:1]
        store.pin("embedder", "e1")


@pytest.mark.parametrize("damage", [b"", b"{}\n", None])
def test_a_damaged_file_is_not_written_over(path: Path, chain: Chain, damage: bytes | None) -> None:
    with opened(path, chain) as store:
        if damage is None:
            (path / STORE).unlink()
        else:
            (path / STORE).write_bytes(damage)
        with pytest.raises(CorruptionError):
            store.pin("embedder", "e1")
        assert damage == ((path / STORE).read_bytes() if (path / STORE).exists() else None)


def test_pinning_waits_for_load_and_ends_with_close(path: Path, chain: Chain) -> None:
    store = JsonlStore(path)
    with pytest.raises(StoreError, match="not open"):
        store.pin("embedder", "e1")
    store.open(chain.header, chain.hasher)
    with pytest.raises(StoreError, match="not loaded"):
        store.pin("embedder", "e1")
    list(store.load())
    store.pin("embedder", "e1")
    store.close()
    with pytest.raises(StoreError, match="not open"):
        store.pin("embedder", "e1")


def test_a_follower_is_not_disturbed(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        reader = JsonlStore(path, read_only=True)
        header = reader.open(None, chain.hasher)
        list(reader.load())
        for number in range(5):
            store.pin(f"fact {number}", "x")
            chain.append(store, chain.put)
            [block] = reader.follow()
            assert (block.first, block.stop) == (number, number + 1)
        assert header.pins == {}
        assert [reader.read(n) for n in range(5)] == chain.records
        reader.close()
        assert len(reader.open(None, chain.hasher).pins) == 5
        reader.close()
        with pytest.raises(PinnedError, match="'fact 3' is pinned to 'x'"):
            store.pin("fact 3", "y")
