"""Torn tails recover, other damage is told: truncation at any byte, a flip of any bit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pytest
from drawing import step
from jsonl_tools import (
    LOG,
    all_contexts,
    contents,
    contexts_of,
    copy_as_killed,
    load,
    manifest_of,
    opened,
    quick_folder,
    same_blocks,
)
from make_records import Chain, small_history

from pmll_async.errors import CorruptionError, StoreError
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.jsonl import store as store_module
from pmll_async.stores.jsonl.verify import verify


@pytest.fixture
def folder() -> Iterator[Path]:
    with quick_folder() as path:
        yield path


@pytest.fixture(autouse=True)
def _no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    # A reader looks again after a pause, in case a writer is at work; here none is.
    monkeypatch.setattr(store_module, "_ATTEMPTS", 0)


class Killed:
    """A small history whose writer was killed, and what its files were."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.folder, self.chain = folder, Chain(dim=2)
        with opened(folder / "live", self.chain, **options) as store:
            small_history(self.chain, store)
            self.path = copy_as_killed(folder / "live", folder / "killed")
        self.log = (self.path / LOG).read_bytes()
        self.lines = self.log.splitlines(keepends=True)

    def copy(self) -> Path:
        return copy_as_killed(self.path, self.folder / "copy")

    def whole_records(self, size: int) -> int:
        """How many records the first `size` bytes hold, without a part of a group."""
        ends = [sum(map(len, self.lines[: n + 1])) for n in range(len(self.lines))]
        count = sum(end <= size for end in ends)
        return 3 if count in (4, 5) else count


@pytest.mark.slow
def test_truncation_at_any_byte(folder: Path) -> None:
    """The store opens with a prefix and the rest is in a torn file, to the byte."""
    killed = Killed(folder)
    ends = accumulate(map(len, killed.lines[:-1]))
    near = {end + offset for end in ends for offset in (-2, -1, 0, 1, 2)}
    # At every place around the end of a record, and at some twenty within each.
    for size in sorted(near.union(range(0, len(killed.log), 16))):
        path = killed.copy()
        os.truncate(path / LOG, size)
        kept = killed.whole_records(size)
        place = sum(map(len, killed.lines[:kept]))
        expected = "torn" if place < size else "clean"
        assert verify(path).status == expected, size
        _opens_with(path, killed.chain, kept, read_only=True)
        _opens_with(path, killed.chain, kept, read_only=False, torn=killed.log[place:size])
        report = verify(path)
        assert (report.status, report.records) == ("clean", kept), (size, report)


def _opens_with(path: Path, chain: Chain, kept: int, *, read_only: bool, torn: bytes = b"") -> None:
    store = JsonlStore(path, read_only=read_only)
    blocks = load(store, chain)
    seen = store.recovery.records
    assert seen <= kept if read_only else seen == kept
    assert same_blocks(blocks, chain, seen)
    assert contents(store) == chain.records[:seen]
    assert all_contexts(store, seen) == contexts_of(chain.records[:seen])
    if torn:
        recovery = store.recovery
        assert (recovery.moved_bytes, recovery.source) == (len(torn), LOG)
        assert (path / recovery.moved_to).read_bytes() == torn
        assert not recovery.clean
    store.close()


def test_truncation_of_a_closed_store_is_damage(folder: Path) -> None:
    """The manifest proves that every record was durable."""
    chain = Chain(dim=2)
    with opened(folder / "closed", chain) as store:
        small_history(chain, store)
    log = (folder / "closed" / LOG).read_bytes()
    for size in range(0, len(log), 17):
        path = copy_as_killed(folder / "closed", folder / "copy")
        os.truncate(path / LOG, size)
        _is_refused(path, chain, log[:size])


def test_truncation_behind_a_proof_is_damage(folder: Path) -> None:
    """A later record says that this one was durable."""
    killed = Killed(folder)
    place = sum(map(len, killed.lines[:2]))
    for size in range(1, len(killed.lines[2]), 5):
        path = killed.copy()
        damaged = killed.log[:place] + killed.lines[2][size:] + b"".join(killed.lines[3:])
        (path / LOG).write_bytes(damaged)
        _is_refused(path, killed.chain, damaged, n=2)


def _is_refused(path: Path, chain: Chain, log: bytes, n: int | None = None) -> None:
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    for read_only in (True, False):
        store = JsonlStore(path, read_only=read_only)
        with pytest.raises(CorruptionError) as caught:
            load(store, chain)
        store.close()
        assert caught.value.file == str(path / LOG)
        assert caught.value.offset <= len(log)
        assert n is None or caught.value.n == n
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    assert verify(path).status == "damaged"


def test_the_last_batch_may_be_torn_anywhere(folder: Path) -> None:
    """Pages of one write reach the disk in any order: a later record of the batch may be whole."""
    chain = Chain(dim=2)
    with opened(folder / "live", chain) as store:
        chain.append(store, chain.put)
        chain.append(store, lambda: [chain.put(), chain.put(), chain.put()])
        path = copy_as_killed(folder / "live", folder / "killed")
    log = (path / LOG).read_bytes()
    place = log.index(b"\n") + 1
    (path / LOG).write_bytes(log[: place + 50] + bytes(60) + log[place + 110 :])
    assert verify(path).status == "torn"
    _opens_with(path, chain, 1, read_only=False, torn=(path / LOG).read_bytes()[place:])


@pytest.mark.parametrize("garbage", [b"\n", b"{", bytes(5000), b"\xff\n" * 9, b'{"n":12}\n'])
def test_garbage_behind_the_log_is_torn(folder: Path, garbage: bytes) -> None:
    for made in (Killed(folder).path, _closed(folder)):
        chain = Chain(dim=2)
        small_copy = copy_as_killed(made, folder / "copy")
        with (small_copy / LOG).open("ab") as file:
            file.write(garbage)
        _replay(chain)
        _opens_with(small_copy, chain, 12, read_only=True)
        _opens_with(small_copy, chain, 12, read_only=False, torn=garbage)


def _closed(folder: Path) -> Path:
    chain = Chain(dim=2)
    with opened(folder / "closed", chain) as store:
        small_history(chain, store)
    return folder / "closed"


def _replay(chain: Chain) -> None:
    """The small history once more, without a store."""

    class Nowhere:
        def append(self, *_: object) -> None: ...

    small_history(chain, Nowhere())


def test_later_segments_are_moved_whole(folder: Path) -> None:
    chain = Chain(dim=2)
    with opened(folder / "live", chain, sync="os", segment_bytes=10**6) as store:
        small_history(chain, store)
        path = copy_as_killed(folder / "live", folder / "killed")
    # Segments that were written and never synced: their frames prove nothing.
    log = (path / LOG).read_bytes()
    lines = log.splitlines(keepends=True)
    (path / LOG).write_bytes(b"".join(lines[:2]) + lines[2][:40])
    (path / "log-00000002.jsonl").write_bytes(b"".join(lines[3:6]))
    (path / "log-00000003.jsonl").write_bytes(b"".join(lines[6:]))
    store = JsonlStore(path)
    load(store, chain)
    assert store.recovery.records == 2
    assert store.recovery.moved_bytes == len(log) - len(lines[2]) + 40 - len(b"".join(lines[:2]))
    assert store.recovery.moved_to == f"{LOG}.torn-1"
    assert (path / "log-00000002.jsonl.torn-1").read_bytes() == b"".join(lines[3:6])
    assert (path / "log-00000003.jsonl.torn-1").read_bytes() == b"".join(lines[6:])
    store.close()
    assert verify(path).status == "clean"


def test_a_gap_is_damage(folder: Path) -> None:
    killed = Killed(folder)
    for missing in (0, 5, 10):
        path = killed.copy()
        (path / LOG).write_bytes(b"".join(killed.lines[:missing] + killed.lines[missing + 1 :]))
        _is_refused(path, killed.chain, killed.log, n=missing)


def test_a_repeated_record_is_damage(folder: Path) -> None:
    killed = Killed(folder)
    (killed.path / LOG).write_bytes(b"".join([*killed.lines, killed.lines[-1]]))
    _is_refused(killed.path, killed.chain, killed.log + killed.lines[-1], n=12)


def test_a_missing_segment_is_damage(folder: Path) -> None:
    chain = Chain(dim=2)
    with opened(folder / "store", chain, segment_bytes=900) as store:
        small_history(chain, store)
    for name in ("log-00000001.jsonl", "log-00000002.jsonl"):
        path = copy_as_killed(folder / "store", folder / "copy")
        (path / name).unlink()
        store = JsonlStore(path)
        with pytest.raises(CorruptionError, match="missing"):
            load(store, chain)
        store.close()
        assert verify(path).status == "damaged"


# --- every bit ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def closed_store(request: pytest.FixtureRequest) -> Iterator[tuple[Path, Chain]]:
    """Made as stores are now, or as releases made them that packed no keys."""
    with quick_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "PACKS", request.param == "packed")
        chain = Chain(dim=1)
        with opened(folder / "store", chain) as store:
            chain.append(store, lambda: chain.put({"é": 1}, idempotency_key="k"))
            chain.append(store, lambda: chain.race(1))
            chain.append(store, chain.decay)
            chain.append(store, lambda: chain.rollback(1))
        yield folder / "store", chain


BLOCKS = "cache/blocks.bin"
# The old format has another log and another cache; the other files are what they were.
FILES = [
    *(("packed", name) for name in (LOG, "MANIFEST.json", "store.json", BLOCKS)),
    *(("plain", name) for name in (LOG, BLOCKS)),
]
of_every_file = pytest.mark.parametrize(("closed_store", "name"), FILES, indirect=["closed_store"])


@pytest.mark.slow
@of_every_file
def test_a_flip_of_any_bit(closed_store: tuple[Path, Chain], name: str) -> None:
    """What is served is what was written, or an error; `verify` names the file."""
    path, chain = closed_store
    good = (path / name).read_bytes()
    # Some bit of every other byte, and in sixteen neighbours each bit that a byte has; in the
    # cache, which is long and whose sections are checked as wholes, of a byte in five.
    for bit in range(0, len(good) * 8, step(39 if name == BLOCKS else 15)):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        (path / name).write_bytes(damaged)
        findings = verify(path).findings
        assert any(finding.file == name and finding.severity == "damage" for finding in findings)
        assert any(finding.offset <= bit // 8 for finding in findings)
        _serves_only_what_was_written(path, chain, read_only=True)
    (path / name).write_bytes(good)
    assert verify(path).status == "clean"


@of_every_file
def test_a_flip_in_any_byte_before_a_writer_opens(
    closed_store: tuple[Path, Chain], name: str
) -> None:
    source, chain = closed_store
    good = (source / name).read_bytes()
    for place in range(0, len(good), step(11 if name == BLOCKS else 3)):
        path = copy_as_killed(source, source.parent / "copy")
        damaged = bytearray(good)
        damaged[place] ^= 1 << place % 8
        (path / name).write_bytes(damaged)
        _serves_only_what_was_written(path, chain, read_only=False)
        if name == BLOCKS:
            assert verify(path).status == "clean", "the cache is made anew"
        else:
            assert (path / name).read_bytes() == damaged, "nothing was changed"


@pytest.mark.slow
@pytest.mark.usefixtures("both_formats")
@pytest.mark.parametrize("cached", [True, False])
def test_a_flip_in_any_byte_of_an_unclean_log(folder: Path, cached: bool) -> None:
    """It is torn, and only the last batch is lost by it, or it is told; never is it served.

    What the manifest covers, as it does whenever a block of the cache is written, is never torn.
    """
    killed = Killed(folder, cache_records=4 if cached else 100)
    covered = max(11, sum(s["records"] for s in manifest_of(killed.path)["segments"]))
    last = sum(map(len, killed.lines[:covered]))
    for place in range(0, len(killed.log), step(27)):
        path = killed.copy()
        damaged = bytearray(killed.log)
        damaged[place] ^= 1 << place % 8
        (path / LOG).write_bytes(damaged)
        assert verify(path).status == ("torn" if place >= last else "damaged")
        store = JsonlStore(path)
        try:
            blocks = load(store, killed.chain)
            kept = store.recovery.records
            assert kept == 11 if place >= last else 12
            assert same_blocks(blocks, killed.chain, kept)
            _reads_or_refuses(store, killed.chain, kept)
        except CorruptionError as exc:
            offset = exc.offset
            assert offset <= place < last
            assert (path / LOG).read_bytes() == damaged
        finally:
            store.close()


def _reads_or_refuses(store: JsonlStore, chain: Chain, records: int) -> None:
    refused = 0
    for n, record in enumerate(chain.records[:records]):
        try:
            assert store.read(n) == record
        except CorruptionError:
            refused += 1
    assert refused <= 1, "one flip damages one record"


def _serves_only_what_was_written(path: Path, chain: Chain, *, read_only: bool) -> None:
    store = JsonlStore(path, read_only=read_only)
    try:
        blocks = load(store, chain)
        assert same_blocks(blocks, chain, 4)
        assert all_contexts(store, 4) == contexts_of(chain.records)
        _reads_or_refuses(store, chain, 4)
    except StoreError:
        return
    finally:
        store.close()
