"""Power cuts: what was not synced is lost, cut, or full of zeros; the cache is of any age."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from jsonl_tools import (
    all_contexts,
    contents,
    contexts_of,
    copy_as_killed,
    quick_folder,
    same_blocks,
)
from make_records import Chain

from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.jsonl.verify import verify
from pmll_async.values.anchors import ROOT_ANCHOR, ROOT_DIGEST

CACHE = "cache/blocks.bin"


class PowerCutError(BaseException):
    """The machine stops here."""


class Disk:
    """Knows what of each log file was synced, and can fail to sync."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.synced: dict[str, int] = {}
        self.cut_soon = False
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, self._watched(getattr(os, name)))

    def _watched(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        def watching(fd: int) -> None:
            if self.cut_soon and sync.__name__ == "fdatasync":
                raise PowerCutError
            sync(fd)
            name = Path(f"/proc/self/fd/{fd}").readlink().name.removesuffix(".tmp")
            self.synced[name] = os.fstat(fd).st_size

        return watching

    def after_the_cut(self, path: Path, rng: random.Random, old_cache: bytes | None) -> None:
        """Damage whatever was not synced."""
        for log in path.glob("log-*.jsonl"):
            log.write_bytes(_maimed(log.read_bytes(), self.synced.get(log.name, 0), rng))
        if old_cache is not None and rng.random() < 0.5:
            (path / CACHE).write_bytes(old_cache)
        elif (path / CACHE).exists():
            cache = (path / CACHE).read_bytes()
            (path / CACHE).write_bytes(_maimed(cache, rng.randrange(len(cache) + 1), rng))
        if rng.random() < 0.3:
            (path / "LOCK").write_bytes(rng.choice([b"", bytes(90)]))


def _maimed(data: bytes, synced: int, rng: random.Random) -> bytes:
    if len(data) <= synced:
        return data
    first = rng.randrange(synced, len(data))
    stop = rng.randrange(first, len(data) + 1)
    return rng.choice(
        [data, data[:first], data[:first] + bytes(stop - first) + data[stop:], data[:synced]]
    )


class Agent:
    """Keeps a store through power cuts, and knows what must be there."""

    def __init__(self, folder: Path, rng: random.Random, disk: Disk) -> None:
        self.folder, self.rng, self.disk = folder, rng, disk
        self.path = folder / "memory"
        self.chain = Chain(dim=2, seed=rng.randrange(1000))
        self.acknowledged = 0
        self.old_cache: bytes | None = None
        self.options = {
            "cache_records": rng.choice([2, 5, 50]),
            "segment_bytes": rng.choice([300, 1500, 10**6]),
        }

    def session(self) -> None:
        """Open, check that everything is there, write, and close or lose the power."""
        sync = self.rng.choice(["group", "group", "os"])
        store = JsonlStore(self.path, sync=sync, **self.options)
        self._open(store)
        cut_at = self.rng.randrange(12)
        with self._power(store, cut_at < 8):
            for number in range(self.rng.randrange(9)):
                self.disk.cut_soon = number == cut_at
                self._write(store)

    def _open(self, store: JsonlStore) -> None:
        chain = self.chain
        store.open(chain.header, chain.hasher)
        blocks = list(store.load())
        found = store.recovery.records
        assert found >= self.acknowledged
        del chain.records[found:], chain.heads[found + 1 :]
        chain.digest = blocks[-1].digest if blocks else ROOT_DIGEST
        chain.forget_columns()
        assert same_blocks(blocks, chain, found)
        assert contents(store) == chain.records
        assert all_contexts(store, found) == contexts_of(chain.records)
        self.acknowledged = found

    def _write(self, store: JsonlStore) -> None:
        chain, rng = self.chain, self.rng
        records = len(chain.records)
        makers: list[Callable[[], object]] = [
            lambda: chain.group(rng.randrange(2, 5)),
            lambda: [chain.put() for _ in range(rng.randrange(1, 4))],
            chain.race,
            chain.decay if chain.heads[-1] != ROOT_ANCHOR else chain.put,
            lambda: chain.rollback(rng.randrange(records + 1)),
        ]
        chain.append(store, rng.choice(makers))
        if rng.random() < 0.2:
            store.sync()
        writer = store._session.writer if store._session else None
        self.acknowledged = writer._durable if writer else 0
        if rng.random() < 0.3 and (self.path / CACHE).exists():
            self.old_cache = (self.path / CACHE).read_bytes()

    @contextmanager
    def _power(self, store: JsonlStore, fails: bool) -> Iterator[None]:
        with suppress(PowerCutError):
            yield
        self.disk.cut_soon = False
        after = copy_as_killed(self.path, self.folder / "after")
        if fails:
            self.disk.after_the_cut(after, self.rng, self.old_cache)
            # What the dead process still does happens to a folder that is thrown away.
            synced = dict(self.disk.synced)
            store.close()
            self.disk.synced = synced
            shutil.rmtree(self.path)
            after.rename(self.path)
        else:
            store.close()
            self.acknowledged = len(self.chain.records)
        assert verify(self.path).status != "damaged" or fails
        findings = verify(self.path).findings
        assert not [f for f in findings if f.severity == "damage" and f.file != CACHE]


@pytest.mark.parametrize("seed", range(40))
def test_power_cuts(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was acknowledged as durable is there afterwards, and nothing else than a prefix."""
    rng = random.Random(seed)
    with quick_folder() as folder:
        agent = Agent(folder, rng, Disk(monkeypatch))
        for _ in range(5):
            agent.session()
