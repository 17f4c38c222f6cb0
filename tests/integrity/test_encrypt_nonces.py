"""No key encrypts two messages under one nonce, whatever is killed, copied, undone or repeated."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drawing import examples
from encrypt_support import RAW, append, copy_of, jsonl, sealed_in, written

from pmll_async import StoreFullError
from pmll_async.integrity import EncryptedStore
from pmll_async.integrity.envelopes import Envelopes
from pmll_async.stores.jsonl.verify import verify
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing.chains import ChainBuilder

HERE = Path(__file__).parent
Use = tuple[bytes, int, bytes, int]


@pytest.fixture
def uses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Use]]:
    """Every key and nonce that was used; at the end none was used twice."""
    used: list[Use] = []
    whole = Envelopes._seal

    def watched(self: Envelopes, purpose: bytes, *rest: Any) -> Any:
        made = whole(self, purpose, *rest)
        used.append((purpose, made.epoch, made.salt, made.nonce))
        return made

    monkeypatch.setattr(Envelopes, "_seal", watched)
    yield used
    assert len(set(used)) == len(used) > 0


def test_across_openings_copies_and_rollbacks(uses: list[Use]) -> None:
    chance, chain = random.Random(1), ChainBuilder()
    stores = [MemoryStore()]
    for _ in range(examples(40)):
        inner = chance.choice(stores)
        kind = chance.randrange(3)
        if kind == 0 and len(stores) < 8:
            stores.append(copy_of(inner))
        elif kind == 1:
            # Somebody brings back an older state.
            inner._records = inner._records[: chance.randrange(len(inner._records) + 1)]
        with written(inner, chain) as store:
            held = len(inner._records)
            while len(chain.records) < held + 6:
                chain.lines(1)
            for first in range(held, held + chance.randrange(1, 4)):
                append(store, chain, first, first + 1)
            store.pin(f"pin {len(uses)}", "one")
    salts = {salt for _, _, salt, _ in uses}
    assert len(salts) >= examples(40)


def test_a_batch_that_found_no_room_is_encrypted_anew(
    uses: list[Use], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = ChainBuilder()
    chain.lines(6)

    def full(fd: int, data: bytes) -> None:
        os.write(fd, data[:100])
        raise OSError(errno.ENOSPC, "no room")

    with written(jsonl(tmp_path / "memory"), chain) as store:
        append(store, chain, 0, 2)
        before = uses[-1][2]
        with monkeypatch.context() as patch:
            patch.setattr("pmll_async.stores.jsonl.writer.write_all", full)
            for _ in range(3):
                with pytest.raises(StoreFullError):
                    append(store, chain, 2, 4)
        append(store, chain, 2, 4)
        append(store, chain, 4)
        salts = [salt for _, _, salt, _ in uses]
        assert len(set(salts)) == 4
        assert before not in salts[-4:]
    with written(jsonl(tmp_path / "memory"), chain) as store:
        assert [store.read(n) for n in range(6)] == chain.records


def test_a_key_is_used_up(uses: list[Use], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pmll_async.integrity.envelopes.MOST_NONCES", 5)
    chain, inner = ChainBuilder(), MemoryStore()
    chain.lines(17)
    with written(inner, chain) as store:
        append(store, chain, 0, 9)
        append(store, chain, 9)
    assert max(nonce for *_, nonce in uses) == 4
    with written(inner, chain) as store:
        assert [store.read(n) for n in range(17)] == chain.records


def test_a_salt_more_than_is_kept(uses: list[Use], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pmll_async.integrity.envelopes.KEPT_CIPHERS", 2)
    monkeypatch.setattr("pmll_async.integrity.envelopes.MOST_NONCES", 1)
    chain, inner = ChainBuilder(), MemoryStore()
    chain.lines(9)
    with written(inner, chain) as store:
        append(store, chain, 0)
        for n in (0, 8, 3, 0):
            assert store.read(n) == chain.records[n]


def test_killed_writers(tmp_path: Path) -> None:
    """Each begins where acknowledged records end; none of its nonces was used before."""
    path = tmp_path / "memory"
    places = os.pathsep.join(map(str, [HERE.parent.parent, HERE.parent]))
    seen: dict[tuple[int, bytes, int], bytes] = {}
    acknowledged, chance = 0, random.Random(2)
    for kill in range(4):
        command = [sys.executable, HERE / "encrypt_writer.py", path]
        environment = os.environ | {"PYTHONPATH": places}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment
        ) as writer:
            assert writer.stdout is not None
            found, child = writer.stdout.readline(), writer.stdout.readline()
            told = [writer.stdout.readline() for _ in range(5)]
            time.sleep(chance.uniform(0, 0.02))
            writer.kill()
            told += [line for line in writer.stdout if line.endswith("\n")]
        assert child == "the child was refused twice\n"
        assert int(found) >= acknowledged
        acknowledged = int(told[-1])
        shutil.copytree(path, tmp_path / f"copy-{kill}")
        for record in sealed_in(path):
            use = record.epoch, record.salt, record.nonce
            assert seen.setdefault(use, record.sealed) == record.sealed
    assert len({salt for _, salt, _ in seen}) >= 4
    store = EncryptedStore(jsonl(path), RAW)
    chain = ChainBuilder(dim=64, seed=1)
    store.open(None, chain.hasher)
    assert sum(len(block.times) for block in store.load()) >= acknowledged
    assert store.verify(chain.hasher).status == "clean"
    session = store._session
    assert session is not None
    key = session.inner_hasher._key
    store.close()
    assert verify(path, key).status == "clean"
