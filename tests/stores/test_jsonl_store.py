"""The JSONL store in ordinary life: what is appended is there, in every way of asking."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from jsonl_tools import LOG, all_contexts, contents, contexts_of, load, opened, same_blocks
from make_records import Chain, small_history

from pmll_async.errors import (
    CorruptionError,
    DimensionMismatchError,
    ReadOnlyStoreError,
    StoreError,
    StoreLockedError,
    WrongKeyError,
)
from pmll_async.protocols import Store, StoreHeader, SupportsFollow
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.values.anchors import Hasher

pytestmark = pytest.mark.usefixtures("both_formats")


def as_store(store: JsonlStore) -> Store:
    return store


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def test_appended_records_are_read_back(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        small_history(chain, store)
        assert [store.read(n) for n in range(12)] == chain.records
        assert all_contexts(store, 12) == contexts_of(chain.records)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("cached", [True, False])
def test_reopening_gives_the_same(path: Path, chain: Chain, cached: bool, read_only: bool) -> None:
    with opened(path, chain) as store:
        small_history(chain, store)
    if not cached:
        (path / "cache/blocks.bin").unlink()
    store = JsonlStore(path, read_only=read_only)
    blocks = load(store, chain)
    assert same_blocks(blocks, chain, 12)
    assert store.recovery.clean
    assert store.recovery.replayed == (0 if cached else 12)
    assert contents(store) == chain.records
    assert all_contexts(store, 12) == contexts_of(chain.records)
    assert [c for piece in store.contexts(2, 5) for c in piece] == contexts_of(chain.records[2:5])
    store.close()


@pytest.mark.parametrize("asked", [True, False])
def test_a_block_of_the_cache_is_no_part_of_an_append(
    path: Path, chain: Chain, asked: bool
) -> None:
    cache = path / "cache/blocks.bin"
    with opened(path, chain, cache_records=3) as store:
        for _ in range(4):
            chain.append(store, chain.put)
        assert not cache.exists()
        if asked:
            store.keep_up()
        else:
            chain.append(store, chain.put)
        written = cache.stat().st_size
        assert written > 0
        store.keep_up()
        assert cache.stat().st_size == written
    store = JsonlStore(path)
    assert same_blocks(load(store, chain), chain, len(chain.records))
    assert store.recovery.replayed == 0
    store.close()


def test_a_cache_of_many_blocks_grows_over_sessions(path: Path, chain: Chain) -> None:
    for _ in range(7):
        with opened(path, chain, cache_records=4) as store:
            assert store.recovery.replayed == 0
            for _ in range(3):
                chain.append(store, chain.put)
            chain.append(store, lambda: chain.group(2))
            assert all_contexts(store, len(chain.records)) == contexts_of(chain.records)
    store = JsonlStore(path, cache_records=4)
    blocks = load(store, chain)
    assert same_blocks(blocks, chain, 35)
    assert len(blocks) < 20, "small blocks are joined"
    store.close()


def test_segments_rotate(path: Path, chain: Chain) -> None:
    for _ in range(3):
        with opened(path, chain, segment_bytes=1000, cache_records=3) as store:
            for _ in range(5):
                chain.append(store, lambda: [chain.put(), chain.note()])
            assert contents_match(store, chain)
    segments = sorted(file.name for file in path.glob("log-*.jsonl"))
    assert len(segments) > 3
    manifest = json.loads((path / "MANIFEST.json").read_bytes())
    assert [entry["file"] for entry in manifest["segments"]] == segments
    assert manifest["segments"][-1]["h"] == chain.digest.hex()
    (path / "cache/blocks.bin").unlink()
    for read_only in (True, False):
        store = JsonlStore(path, read_only=read_only)
        assert same_blocks(load(store, chain), chain, 30)
        assert contents(store) == chain.records
        store.close()


def contents_match(store: JsonlStore, chain: Chain) -> bool:
    return [store.read(n) for n in range(len(chain.records))] == chain.records


def test_nothing_happens_before_open(path: Path) -> None:
    store = JsonlStore(path)
    assert not path.exists()
    store.close()
    assert store.path == str(path)
    assert isinstance(as_store(store), SupportsFollow)
    with pytest.raises(StoreError, match="not open"):
        store.read(0)


def test_opening_nothing_without_dimensions_makes_nothing(path: Path) -> None:
    with pytest.raises(DimensionMismatchError):
        JsonlStore(path / "deep").open(None, Hasher())
    with pytest.raises(StoreError, match="is not a store"):
        JsonlStore(path, read_only=True).open(None, Hasher())
    assert not path.exists()
    path.mkdir()
    (path / "LOCK").touch()
    with pytest.raises(DimensionMismatchError):
        JsonlStore(path).open(None, Hasher())
    assert [file.name for file in path.iterdir()] == ["LOCK"]


def test_the_stored_header_wins(path: Path, chain: Chain) -> None:
    store = JsonlStore(path)
    made = store.open(StoreHeader(dim=3, value_dim=0, pins={"embedder": "e1"}), chain.hasher)
    store.close()
    assert len(made.store_id) == 32
    assert made.created > 0
    assert store.open(StoreHeader(dim=9, value_dim=9), chain.hasher) == made
    store.close()


def test_a_second_writer_is_refused_and_a_reader_is_not(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        chain.append(store, chain.put)
        with pytest.raises(StoreLockedError, match="this process") as caught:
            JsonlStore(path).open(None, chain.hasher)
        assert caught.value.same_process
        assert caught.value.holder["pid"] == os.getpid()
        with pytest.raises(StoreLockedError):
            store.open(None, chain.hasher)
        reader = JsonlStore(path, read_only=True)
        assert same_blocks(load(reader, chain), chain, 1)
        with pytest.raises(ReadOnlyStoreError):
            reader.append([chain.put()], chain.block([chain.records[-1]]))
        reader.close()
    assert (path / "LOCK").read_bytes() == b""


def test_a_writer_waits_for_the_lock(
    path: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, flock = threading.Event(), fcntl.flock

    def telling(fd: int, how: int) -> None:
        try:
            flock(fd, how)
        except BlockingIOError:
            refused.set()
            raise

    monkeypatch.setattr(fcntl, "flock", telling)
    with opened(path, chain) as store, ThreadPoolExecutor(1) as pool:
        second = JsonlStore(path, lock_timeout=60)
        opening = pool.submit(second.open, None, chain.hasher)
        assert refused.wait(60)
        assert not opening.done()
        store.close()
        opening.result(60)
        second.close()


def test_a_failed_open_leaves_nothing_locked(path: Path, chain: Chain) -> None:
    with opened(path, chain):
        pass
    for _ in range(2):
        with pytest.raises(WrongKeyError):
            JsonlStore(path).open(None, Hasher(b"secret"))
    with opened(path, chain):
        pass


def test_keys_are_checked(path: Path) -> None:
    keyed = Chain(key=b"secret")
    with opened(path, keyed) as store:
        small_history(keyed, store)
    assert b"secret" not in (path / "store.json").read_bytes()
    for wrong in (None, b"other"):
        for read_only in (True, False):
            with pytest.raises(WrongKeyError) as caught:
                JsonlStore(path, read_only=read_only).open(None, Hasher(wrong))
            assert caught.value.keyed
    with opened(path, keyed) as store:
        assert contents(store) == keyed.records


def test_append_waits_for_load(path: Path, chain: Chain) -> None:
    store = JsonlStore(path)
    store.open(chain.header, chain.hasher)
    record = chain.put()
    with pytest.raises(StoreError, match="not loaded"):
        store.append([record], chain.block([record]))
    store.close()
    with opened(path, chain) as store, pytest.raises(StoreError, match="loaded already"):
        list(store.load())


def test_a_batch_ends_with_its_group(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        records = chain.group(3)[:2]
        with pytest.raises(StoreError, match="group"):
            store.append(records, chain.block(records))
        assert (path / LOG).stat().st_size == 0


def test_records_out_of_range_are_refused(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        chain.append(store, chain.put)
        for n in (-1, 1):
            with pytest.raises(StoreError, match="has no record"):
                store.read(n)


def test_a_log_without_its_header_is_not_made_anew(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        chain.append(store, chain.put)
    (path / "store.json").unlink()
    for read_only in (True, False):
        with pytest.raises(CorruptionError, match=r"store\.json"):
            JsonlStore(path, read_only=read_only).open(chain.header, chain.hasher)


def test_a_crash_while_making_a_store_is_made_good(path: Path, chain: Chain) -> None:
    with opened(path, chain):
        pass
    (path / "store.json").unlink()
    with opened(path, chain) as store:
        small_history(chain, store)


def test_a_removed_lock_file_is_made_anew(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        chain.append(store, chain.put)
    (path / "LOCK").unlink()
    with opened(path, chain) as store:
        assert contents(store) == chain.records


def test_close_is_idempotent_and_reopening_works(path: Path, chain: Chain) -> None:
    store = JsonlStore(path)
    for _ in range(3):
        store.open(chain.header, chain.hasher)
        list(store.load())
        chain.append(store, chain.put)
        store.close()
        store.close()
        with pytest.raises(StoreError, match="not open"):
            store.sync()


def test_close_waits_for_readers(path: Path, chain: Chain) -> None:
    """Threads read until the store is closed; none meets a closed file."""
    with opened(path, chain) as store:
        small_history(chain, store)
        expected, failures = list(chain.records), []
        started = threading.Barrier(5)

        def read() -> None:
            started.wait()
            try:
                while True:
                    failures.extend(n for n in range(12) if store.read(n) != expected[n])
            except StoreError as exc:
                if "not open" not in str(exc) and "closed" not in str(exc):
                    failures.append(exc)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        started.wait()
        for _ in range(20):
            chain.append(store, chain.put)
        store.close()
        for thread in threads:
            thread.join()
    assert not failures


def test_descriptors_are_given_back(path: Path, chain: Chain) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    with opened(path, chain, segment_bytes=200) as store:
        for _ in range(100):
            chain.append(store, chain.put)
        assert contents_match(store, chain)
        assert descriptors() - before < 80, "a long log does not use up the descriptors"
    assert descriptors() == before


def test_syncing_now_and_then(path: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: calls.append(real(fd)))
    with opened(path, chain, sync="os", cache_records=2) as store:
        for _ in range(10):
            chain.append(store, chain.put)
        assert not calls
        assert contents_match(store, chain)
        assert all_contexts(store, 10) == contexts_of(chain.records)
        store.sync()
        store.sync()
        assert len(calls) == 1
        chain.append(store, chain.put)
    assert len(calls) == 2
    store = JsonlStore(path)
    assert same_blocks(load(store, chain), chain, 11)
    assert store.recovery.clean
    store.close()


def test_the_same_commits_give_the_same_bytes(tmp_path: Path) -> None:
    """One caller, one batch each: nothing of the writing process shows in the log."""
    for name in ("a", "b"):
        chain = Chain(seed=7)
        with opened(tmp_path / name, chain) as store:
            small_history(chain, store)
    assert (tmp_path / "a" / LOG).read_bytes() == (tmp_path / "b" / LOG).read_bytes()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_of_fork_cannot_use_the_store(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        chain.append(store, chain.put)
        assert in_child(lambda: store.append([chain.put()], chain.block(chain.records[-1:])))
        assert in_child(lambda: store.read(0))
        assert not in_child(store.close)
        with pytest.raises(StoreLockedError):
            JsonlStore(path).open(None, chain.hasher)
        chain.append(store, chain.put)
        assert contents_match(store, chain)
    with opened(path, chain) as store:
        assert contents(store) == chain.records


def in_child(act: object) -> bool:
    """Whether this raises `StoreError` in a child of fork."""
    with warnings.catch_warnings():
        # Of other threads, which Python 3.12 tells of: those of the test run hold nothing of ours.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        status = 9
        try:
            act()
            status = 0
        except StoreError:
            status = 1
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 1)
    return os.waitstatus_to_exitcode(status) == 1
