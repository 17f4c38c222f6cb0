"""Readers beside a writer: they see what is durable at once, and never less than before."""

from __future__ import annotations

import os
import select
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonl_tools import (
    LOG,
    all_contexts,
    contents,
    contexts_of,
    copy_as_killed,
    load,
    opened,
    quick_folder,
    same_blocks,
)
from make_records import Chain, small_history

from pmll_async.errors import StoreError
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.jsonl.verify import verify
from pmll_async.values.anchors import Hasher

HERE = Path(__file__).parent


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def test_a_follower_sees_each_batch_at_once(path: Path, chain: Chain) -> None:
    with opened(path, chain, cache_records=3, segment_bytes=700) as store:
        reader = JsonlStore(path, read_only=True)
        blocks = load(reader, chain)
        assert blocks == []
        assert list(reader.follow()) == []
        while len(chain.records) < 30:
            chain.append(store, lambda: chain.group(3))
            chain.append(store, lambda: [chain.put(), chain.decay()])
            blocks += reader.follow()
            assert same_blocks(blocks, chain, len(chain.records))
            chain.digest = blocks[-1].digest
        chain.append(store, lambda: chain.rollback(7))
        chain.append(store, chain.put)
        blocks += reader.follow()
        assert same_blocks(blocks, chain, len(chain.records))
        assert [reader.read(n) for n in range(len(chain.records))] == chain.records
        assert all_contexts(reader, 32) == contexts_of(chain.records)
    assert list(reader.follow()) == []
    reader.close()
    late = JsonlStore(path, read_only=True)
    with pytest.raises(StoreError, match="not open"):
        list(late.follow())


def test_only_what_is_durable_is_seen(path: Path, chain: Chain) -> None:
    with opened(path, chain, sync="os") as store:
        chain.append(store, chain.put)
        reader = JsonlStore(path, read_only=True)
        assert load(reader, chain) == []
        store.sync()
        assert [block.stop for block in reader.follow()] == [1]
        chain.append(store, chain.put)
        assert list(reader.follow()) == []
        reader.close()


def test_a_torn_tail_does_not_disturb_a_reader(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        small_history(chain, store)
        killed = copy_as_killed(path, path.parent / "killed")
    with (killed / LOG).open("ab") as file:
        file.write(b'{"n":12,"d":12,"op":"put"')
    before = {file: file.read_bytes() for file in killed.rglob("*") if file.is_file()}
    reader = JsonlStore(killed, read_only=True)
    assert same_blocks(load(reader, chain), chain, 12)
    assert list(reader.follow()) == []
    # The next writer moves the tail aside and the last batch into a new segment.
    with opened(killed, chain) as store:
        assert contents(reader) == chain.records
        chain.append(store, chain.put)
        assert [block.first for block in reader.follow()] == [12]
        assert [reader.read(n) for n in range(13)] == chain.records
    reader.close()
    assert before[killed / LOG].startswith((killed / LOG).read_bytes())


@pytest.fixture
def read_only_mount(tmp_path: Path) -> Iterator[Path]:
    """A place whose folder `memory` cannot be written to, not even by root."""
    yield tmp_path
    subprocess.run(["umount", str(tmp_path / "memory")], check=False, capture_output=True)


def test_a_folder_that_cannot_be_written_to(read_only_mount: Path, chain: Chain) -> None:
    path = read_only_mount / "memory"
    with opened(path, chain) as store:
        small_history(chain, store)
    if os.getuid():
        for place in (path, path / "cache"):
            place.chmod(0o555)
    else:
        mounted = subprocess.run(["mount", "--bind", path, path], check=False, capture_output=True)
        remount = ["mount", "-o", "remount,bind,ro", path]
        if mounted.returncode or subprocess.run(remount, check=False).returncode:
            pytest.skip("root may write everywhere, and may not mount read-only here")
    with pytest.raises(StoreError):
        JsonlStore(path).open(None, chain.hasher)
    reader = JsonlStore(path, read_only=True)
    assert same_blocks(load(reader, chain), chain, 12)
    assert contents(reader) == chain.records
    assert list(reader.follow()) == []
    reader.close()
    assert verify(path).status == "clean"
    path.chmod(0o755) if os.getuid() else None


@pytest.mark.slow
def test_following_writers_that_come_and_go() -> None:
    """Writers in other processes rotate, close and are killed; the next ones recover."""
    hasher, seen, acknowledged = Hasher(), 0, 0
    with quick_folder() as folder:
        path = folder / "memory"
        with opened(path, Chain(dim=8)):
            pass
        reader = JsonlStore(path, read_only=True)
        reader.open(None, hasher)
        list(reader.load())
        for number in range(6):
            how = ["kill"] if number % 3 else []
            command = [sys.executable, HERE / "live_writer.py", path, "60", str(number), *how]
            with subprocess.Popen(command, stdout=subprocess.PIPE, env=_environment()) as writer:
                for told in _told(writer):
                    acknowledged = max(acknowledged, told)
                    for block in reader.follow():
                        assert block.first == seen
                        seen = block.stop
                    assert seen >= acknowledged, "what was acknowledged is seen at once"
                    assert not seen or reader.read(seen - 1).t > 0
            assert writer.returncode == 0
        assert seen >= 6 * 60
        records = [reader.read(n) for n in range(seen)]
        assert all_contexts(reader, seen) == contexts_of(records)
        report = verify(path)
        assert report.status in ("clean", "torn")
        assert report.records == seen
        reader.close()


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent.parent)])}


def _told(writer: subprocess.Popen[bytes]) -> Iterator[int]:
    """What the writer says it has acknowledged, as soon as it does; every half millisecond 0."""
    stream = writer.stdout
    assert stream is not None
    while True:
        if not select.select([stream], [], [], 0.0005)[0]:
            yield 0
        elif told := os.read(stream.fileno(), 8):
            yield struct.unpack("<q", told)[0]
        else:
            return
