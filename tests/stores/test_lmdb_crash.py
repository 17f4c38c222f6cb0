"""Kills, power cuts and full disks: what was acknowledged is there, and nothing but a prefix."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from jsonl_tools import contents, quick_folder
from kill_writer import KILLS
from lmdb_tools import LmdbStore, lmdb, load, opened
from make_records import Chain, small_history

from pmll_async.errors import DurabilityUnknownError, NotStoredError, StoreError, StoreFullError
from pmll_async.stores.lmdb import verify
from pmll_async.testing import FailingStore

HERE = Path(__file__).parent
PAGE = 4096


@pytest.mark.slow
def test_many_kills() -> None:
    with quick_folder() as folder:
        path = folder / "memory.lmdb"
        done = subprocess.run(
            [sys.executable, HERE / "kill_writer.py", path, str(KILLS), "1"],
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        )
        told = json.loads(done.stdout)
        assert told["lost"] == 0
        assert told["wrote"] > KILLS * 0.1
        assert verify(path).status == "clean"


def test_following_a_writer_that_is_killed(tmp_path: Path) -> None:
    path, chain = tmp_path / "memory.lmdb", Chain(dim=8, seed=1)
    with opened(path, chain):
        pass
    reader = LmdbStore(path, read_only=True)
    load(reader, chain)
    command = [sys.executable, HERE / "live_writer.py", path, "40", "1", "kill"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        records = 0
        while told := writer.stdout.read(8):
            (acknowledged,) = struct.unpack("<q", told)
            records = max([records, *(block.stop for block in reader.follow())])
            assert records >= acknowledged
    assert len([reader.read(n) for n in range(records)]) == records
    reader.close()
    with opened(path, chain) as store:
        assert store.recovery.records == records
        assert not store.recovery.clean


# --- power cuts --------------------------------------------------------------------------------


def cuts(before: bytes, after: bytes, rng: random.Random) -> Iterator[bytes]:
    """Files that a power cut during a commit may leave.

    LMDB writes pages in any order, syncs them, and then writes one of the first two pages, which
    alone makes them count.
    """
    size = max(len(before), len(after))
    old, new = before.ljust(size, b"\0"), after.ljust(size, b"\0")
    changed = [n for n in range(size // PAGE) if _page(old, n) != _page(new, n)]
    data = [n for n in changed if n > 1]
    for _ in range(3):
        written = set(rng.sample(data, rng.randrange(len(data) + 1)))
        torn = rng.choice(data)
        pages = [_page(new if n in written else old, n) for n in range(size // PAGE)]
        half = rng.randrange(1, PAGE)
        pages[torn] = _page(new, torn)[:half] + _page(old, torn)[half:]
        yield b"".join(pages)
    yield b"".join(_page(new if n > 1 else old, n) for n in range(size // PAGE))
    yield after


def _page(data: bytes, n: int) -> bytes:
    return data[n * PAGE : (n + 1) * PAGE]


@pytest.mark.parametrize("seed", range(4))
def test_power_cuts(seed: int) -> None:
    rng = random.Random(seed)
    with quick_folder() as folder:
        path, chain = folder / "memory.lmdb", Chain(seed=seed)
        states = [b""]
        with opened(path, chain) as store:
            states[0] = (path / "data.mdb").read_bytes()
            counts = [0]
            for size in (1, 3, 1, 20, 1):
                chain.append(store, lambda count=size: chain.group(count))
                states.append((path / "data.mdb").read_bytes())
                counts.append(len(chain.records))
        for (before, after), (least, most) in zip(pairwise(states), pairwise(counts), strict=True):
            for number, left in enumerate(cuts(before, after, rng)):
                copy = folder / f"cut-{least}-{number}.lmdb"
                copy.mkdir()
                (copy / "data.mdb").write_bytes(left)
                assert verify(copy).status == "clean"
                again = LmdbStore(copy)
                load(again, chain)
                found = again.recovery.records
                assert found == (most if left == after else least)
                assert contents(again) == chain.records[:found]
                again.close()


# --- full and failing disks --------------------------------------------------------------------


def test_a_full_map(tmp_path: Path) -> None:
    path, chain = tmp_path / "memory.lmdb", Chain(dim=64)
    with opened(path, chain, map_bytes=1 << 18) as store:
        full = None
        while full is None:
            heads, records, digest = list(chain.heads), list(chain.records), chain.digest
            try:
                chain.append(store, lambda: chain.group(8))
            except StoreFullError as exc:
                full = exc
        assert "larger map_bytes" in str(full)
        chain.heads, chain.records, chain.digest = heads, records, digest
        assert contents_of(store, len(records)) == records
    with opened(path, chain) as store:
        assert contents(store) == chain.records
        chain.append(store, lambda: chain.group(8))
    assert verify(path).status == "clean"


def contents_of(store: LmdbStore, count: int) -> list[Any]:
    return [store.read(n) for n in range(count)]


FULL_DISK = """
    import resource, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from lmdb_tools import opened
    from jsonl_tools import contents
    from make_records import Chain
    from pmll_async.errors import StoreFullError

    path, chain = Path(sys.argv[1]), Chain(dim=64)
    with opened(path, chain) as store:
        chain.append(store, lambda: chain.group(20))
        kept = list(chain.records), list(chain.heads), chain.digest
        size = (path / "data.mdb").stat().st_size
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 6000, most))
        for _ in range(3):
            try:
                chain.append(store, lambda: chain.group(200))
                raise SystemExit("it found room")
            except StoreFullError:
                chain.records, chain.heads, chain.digest = map(
                    lambda it: it if isinstance(it, bytes) else list(it), kept
                )
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        chain.append(store, lambda: chain.group(200))
    with opened(path, chain) as store:
        assert contents(store) == chain.records
"""


def test_a_full_disk(tmp_path: Path) -> None:
    program = textwrap.dedent(FULL_DISK)
    command = [sys.executable, "-c", program, tmp_path / "memory.lmdb", HERE]
    subprocess.run(command, check=True, timeout=120)


class FailingCommit:
    """An LMDB environment whose next commit fails as it would on a failing disk."""

    def __init__(self, environment: Any, code: int) -> None:
        self._environment, self._code = environment, code

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)

    def begin(self, **options: Any) -> Any:
        if not options.get("write"):
            return self._environment.begin(**options)
        return self

    def __enter__(self) -> Any:
        self._transaction = self._environment.begin(write=True)
        return self._transaction

    def __exit__(self, *_: object) -> None:
        self._transaction.abort()
        error = lmdb.Error("mdb_txn_commit")
        error.code = self._code
        raise error

    def abort(self) -> None:
        """Nothing was begun."""


@pytest.mark.parametrize("code", [5, 30])
def test_a_failed_sync_stops_the_store(tmp_path: Path, code: int) -> None:
    path, chain = tmp_path / "memory.lmdb", Chain()
    with opened(path, chain) as store:
        small_history(chain, store)
        kept, digest = list(chain.records), chain.digest
        session = store._session
        assert session is not None
        real = session.environment.env
        session.environment.env = FailingCommit(real, code)
        with pytest.raises(DurabilityUnknownError):
            chain.append(store, chain.put)
        session.environment.env = real
        for _ in range(2):
            with pytest.raises(DurabilityUnknownError):
                store.append(kept[:1], chain.columns(1))
        with pytest.raises(DurabilityUnknownError):
            store.pin("name", "value")
        assert store.read(0) == kept[0]
    with opened(path, chain) as store:
        assert not store.recovery.clean
        assert contents(store) == kept
    chain.digest = digest


def test_a_full_disk_that_says_so(tmp_path: Path) -> None:
    path, chain = tmp_path / "memory.lmdb", Chain()
    with opened(path, chain) as store:
        session = store._session
        assert session is not None
        real = session.environment.env
        session.environment.env = FailingCommit(real, 28)
        with pytest.raises(StoreFullError):
            chain.append(store, chain.put)
        session.environment.env = real
        again = Chain()
        again.append(store, again.put)
        assert store.read(0) == again.records[0]


def test_what_is_told_as_not_stored_is_not_stored() -> None:
    """An append that fails at any step says what is so, or that nobody knows."""
    with quick_folder() as folder:
        step, has_failed = 0, True
        while has_failed:
            path, chain = folder / f"{step}.lmdb", Chain()
            with opened(path, chain) as store:
                failing = FailingStore(store)
                failing.fail_at(step)
                told: int | None = 1
                try:
                    chain.append(failing, chain.put)
                except NotStoredError:
                    told = 0
                except (StoreError, MemoryError):
                    told = None
                has_failed = failing.has_failed
            with opened(path, Chain()) as store:
                assert told in (None, store.recovery.records), f"at step {step}"
            step += 1
    assert step > 50


def test_a_hard_linked_copy_is_never_changed(tmp_path: Path) -> None:
    path, chain = tmp_path / "memory.lmdb", Chain()
    with opened(path, chain) as store:
        small_history(chain, store)
    copy = tmp_path / "copy.lmdb"
    shutil.copytree(path, copy, copy_function=os.link)
    before = (copy / "data.mdb").read_bytes()
    with opened(path, chain) as store:
        chain.append(store, chain.put)
        (tmp_path / "third").hardlink_to(path / "data.mdb")
        kept = list(chain.records), list(chain.heads), chain.digest
        with pytest.raises(NotStoredError, match="another folder"):
            chain.append(store, chain.put)
        (tmp_path / "third").unlink()
        chain.records, chain.heads, chain.digest = kept
        chain.append(store, chain.put)
    assert (copy / "data.mdb").read_bytes() == before
    with opened(path, chain) as store:
        assert contents(store) == chain.records
