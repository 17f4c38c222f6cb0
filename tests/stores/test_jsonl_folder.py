"""The folder around a store: what else may be in it, and what may be done to it meanwhile."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonl_tools import LOG, closed, contents, copy_as_killed, load, open_files, opened
from make_records import Chain, small_history

from pmll_async.errors import CorruptionError, StoreError, StoreLockedError, StoreMovedError
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.jsonl.verify import verify

FILES = ("store.json", "MANIFEST.json", "LOCK", LOG, "cache/blocks.bin")


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def path(tmp_path: Path, chain: Chain) -> Path:
    """A closed store with a small history."""
    return closed(tmp_path / "memory", chain)


@pytest.fixture
def patience() -> Iterator[None]:
    """Ends a test that hangs, as opening a FIFO does."""
    signal.alarm(60)
    yield
    signal.alarm(0)


# --- what is no plain file ---------------------------------------------------------------------


def make_fifo(path: Path, _: Path) -> None:
    os.mkfifo(path)


def make_link(path: Path, aside: Path) -> None:
    path.symlink_to(aside)


def make_folder(path: Path, _: Path) -> None:
    path.mkdir()


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("make", [make_fifo, make_link, make_folder])
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_plain_file(tmp_path: Path, chain: Chain, path: Path, name: str, make) -> None:
    """Nothing hangs, nothing is written through, and the sentence names the file."""
    aside = tmp_path / "aside"
    shutil.move(path / name, aside)
    victim = aside.read_bytes()
    make(path / name, aside)
    assert verify(path).status == "damaged"
    for read_only in (True, False):
        store = JsonlStore(path, read_only=read_only)
        if name == "cache/blocks.bin":
            load(store, chain)
            assert contents(store) == chain.records
            if not read_only:
                chain.append(store, chain.put)
        else:
            with pytest.raises(StoreError, match=re.escape(name)):
                load(store, chain)
        store.close()
    assert aside.read_bytes() == victim
    assert not [fd for fd in open_files() if fd.startswith(str(path))]


def test_a_linked_cache_folder_is_not_followed(tmp_path: Path, chain: Chain, path: Path) -> None:
    (path / "cache").rename(tmp_path / "aside")
    victim = (tmp_path / "aside/blocks.bin").read_bytes()
    (path / "cache").symlink_to(tmp_path / "aside")
    with opened(path, chain) as store:
        chain.append(store, chain.put)
    assert (tmp_path / "aside/blocks.bin").read_bytes() == victim


def test_the_folder_itself_may_be_a_link(tmp_path: Path, chain: Chain, path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    with opened(tmp_path / "link", chain) as store:
        chain.append(store, chain.put)
        with pytest.raises(StoreLockedError):
            JsonlStore(path).open(None, chain.hasher)
    assert verify(path).records == len(chain.records)


def test_temporaries_of_others_are_theirs(path: Path, chain: Chain) -> None:
    (path / "x.tmp").mkdir()
    (path / "notes.tmp").write_text("mine")
    for name in ("MANIFEST.json.tmp", "store.json.tmp", f"{LOG}.tmp", f"{LOG}.torn-1.tmp"):
        (path / name).write_text("what a crash left")
    with opened(path, chain) as store:
        chain.append(store, chain.put)
    assert {entry.name for entry in path.glob("*.tmp")} == {"x.tmp", "notes.tmp"}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_files_are_private(tmp_path: Path, chain: Chain, umask: int) -> None:
    before = os.umask(umask)
    try:
        with opened(tmp_path / "a/memory", chain, segment_bytes=500) as store:
            small_history(chain, store)
        killed = copy_as_killed(tmp_path / "a/memory", tmp_path / "killed")
        with opened(killed, chain):
            pass
    finally:
        os.umask(before)
    for place in (tmp_path / "a/memory", tmp_path / "a/memory/cache"):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
    for file in (tmp_path / "a/memory").rglob("*"):
        assert file.is_dir() or stat.S_IMODE(file.stat().st_mode) == 0o600, file


# --- what is done to it while it is open -------------------------------------------------------


def test_a_folder_moved_away_and_replaced(tmp_path: Path, chain: Chain, path: Path) -> None:
    """Neither store gets a byte of the other."""
    other = Chain(seed=1)
    with opened(path, chain) as store:
        path.rename(tmp_path / "moved")
        with opened(path, other) as new:
            other.append(new, other.put)
            with pytest.raises(StoreMovedError) as caught:
                chain.append(store, chain.put)
            assert caught.value.path == str(path)
            with pytest.raises(StoreError):
                chain.append(store, chain.put)
            assert store.read(0) == chain.records[0]
    assert verify(path).status == "clean"
    assert (verify(path).records, verify(path).digest) == (1, other.digest.hex())
    assert verify(tmp_path / "moved").status == "clean"
    assert verify(tmp_path / "moved").records >= 12


def test_a_moved_folder_is_closed_where_it_is(tmp_path: Path, chain: Chain, path: Path) -> None:
    with opened(path, chain) as store:
        chain.append(store, chain.put)
        path.rename(tmp_path / "moved")
    assert not path.exists()
    with opened(tmp_path / "moved", chain) as store:
        assert store.recovery.clean
        assert contents(store) == chain.records


def test_the_current_folder_may_change(
    tmp_path: Path, chain: Chain, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with opened(Path("memory"), chain, cache_records=2) as store:
        monkeypatch.chdir("/")
        for _ in range(5):
            chain.append(store, chain.put)
        assert [store.read(n) for n in range(17)] == chain.records
    assert verify(path).records == 17


def test_a_folder_that_was_removed(path: Path, chain: Chain) -> None:
    store = JsonlStore(path)
    load(store, chain)
    shutil.rmtree(path)
    with pytest.raises(StoreMovedError):
        chain.append(store, chain.put)
    store.close()
    assert not path.exists()


def test_closing_a_folder_that_was_removed(path: Path, chain: Chain) -> None:
    store = JsonlStore(path)
    load(store, chain)
    chain.append(store, chain.put)
    shutil.rmtree(path)
    with pytest.raises(StoreMovedError):
        store.close()


@pytest.mark.parametrize("replaced", [True, False])
def test_a_lock_that_was_deleted(path: Path, chain: Chain, replaced: bool) -> None:
    """No second writer comes in, and the first one stops before it tells anything."""
    with opened(path, chain) as store:
        (path / "LOCK").unlink()
        if replaced:
            (path / "LOCK").write_bytes(b"")
        with pytest.raises(StoreLockedError):
            JsonlStore(path).open(None, chain.hasher)
        with pytest.raises(StoreMovedError):
            chain.append(store, chain.put)
    with opened(path, chain) as store:
        assert store.recovery.records >= 12
    assert verify(path).status == "clean"


def test_somebody_else_wrote_into_the_log(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        with (path / LOG).open("ab") as log:
            log.write(b"something")
        with pytest.raises(StoreMovedError):
            chain.append(store, chain.put)
    with opened(path, chain) as store:
        assert store.recovery.records == 12
        assert store.recovery.moved_bytes == len("something")


def test_a_hard_linked_copy_has_a_life_of_its_own(tmp_path: Path, chain: Chain, path: Path) -> None:
    """Both are written to, one after the other and side by side; neither sees the other."""
    copy = tmp_path / "copy"
    with opened(path, chain) as store:
        chain.append(store, chain.put)
        subprocess.run(["cp", "-al", path, copy], check=True)
        records, digest = list(chain.records), chain.digest
        twin = Chain(seed=5)
        twin.records, twin.heads, twin.digest = records, list(chain.heads), digest
        with opened(copy, twin) as other:
            assert contents(other) == records
            for _ in range(3):
                chain.append(store, chain.put)
                twin.append(other, twin.put)
    for place, own in ((path, chain), (copy, twin)):
        assert verify(place).status == "clean"
        with opened(place, own, cache_records=2) as store:
            assert contents(store) == own.records
    assert chain.digest != twin.digest


def test_an_unclean_hard_linked_copy_leaves_the_original(tmp_path: Path, path: Path, chain) -> None:
    copy = tmp_path / "copy"
    with opened(path, chain) as store:
        chain.append(store, chain.put)
        killed = copy_as_killed(path, tmp_path / "killed")
    with (killed / LOG).open("ab") as log:
        log.write(b'{"n":13,"d":')
    subprocess.run(["cp", "-al", killed, copy], check=True)
    before = {file: (killed / file).read_bytes() for file in FILES}
    with opened(copy, chain) as store:
        assert store.recovery.moved_bytes
    assert {file: (killed / file).read_bytes() for file in FILES} == before
    with opened(killed, chain) as store:
        assert contents(store) == chain.records


def test_an_error_while_locking_leaves_nothing_open(path: Path, chain: Chain, monkeypatch) -> None:
    real = os.stat
    calls = []

    def failing(name, *args, **options):
        if name == "LOCK":
            calls.append(name)
            raise OSError(5, "Input/output error", "LOCK")
        return real(name, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", failing)
        with pytest.raises(StoreError, match="Input/output error"):
            JsonlStore(path).open(None, chain.hasher)
    assert calls
    with opened(path, chain) as store:
        assert contents(store) == chain.records


def test_damage_is_told_as_such(path: Path) -> None:
    (path / "store.json").unlink()
    (path / "store.json").mkdir()
    with pytest.raises(CorruptionError, match="no plain file"):
        JsonlStore(path, read_only=True).open(None, Chain().hasher)
