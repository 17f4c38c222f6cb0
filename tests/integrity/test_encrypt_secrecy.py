"""Nothing of what a lattice was told is on the disk, in a log line, an error or a repr."""

from __future__ import annotations

import base64
import logging
import os
import re
import shutil
import subprocess
import sys
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encrypt_support import RAW, SUITE_NAMES, hidden, jsonl
from encrypted_runs import Contents, check_files, watch
from structlog.testing import capture_logs

from pmll_async import CorruptionError, Lattice
from pmll_async.integrity import EncryptedStore, Passphrase, RawKey
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import TextMemory
from pmll_async.values.anchors import Hasher

ROOT = Path(__file__).resolve().parent.parent.parent
SENTINEL = "SENTINEL-of-this-test"
KEY = np.frombuffer(SENTINEL[:20].encode(), dtype="<f4")
# Of `PMLL_TEST_ENCRYPTED=1 python -m pytest tests/lattice tests/text tests/controllers`.
SAMPLE = ["lattice/test_lattice_put.py", "text/test_text_memory.py", "controllers/test_loop.py"]


@pytest.mark.parametrize("suite", SUITE_NAMES)
async def test_a_sentinel_is_nowhere(
    tmp_path: Path, suite: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    contents, path = watch(monkeypatch), tmp_path / "memory"
    for name in (SENTINEL, "embedder-of-ours", "Ann"):
        contents.pieces.add(name.encode())
    contents.pieces.add(KEY.tobytes())
    caplog.set_level(logging.DEBUG)
    with capture_logs() as logs:
        async with hidden(path, suite=suite) as lattice:
            assert repr(lattice).count(SENTINEL) == 0
            await lattice.pin("embedder", "embedder-of-ours")
            first = await lattice.put(
                KEY[:4], KEY[:4], {"text": SENTINEL}, idempotency_key=f"{SENTINEL} key"
            )
            await lattice.put([1, 2, 3, 4], None, {"of": SENTINEL}, revises=[first])
            await lattice.note({"pmll-note": SENTINEL})
            await lattice.forget(first)
            await lattice.query(KEY[:4])
    assert check_files(contents, tmp_path) >= 5
    told = repr(logs) + caplog.text
    assert SENTINEL not in told
    assert first not in told


async def test_a_text_memory_leaves_no_index_and_no_speaker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents, path = watch(monkeypatch), tmp_path / "memory"
    contents.pieces |= {SENTINEL.encode(), b"Annabel the speaker"}
    for _ in range(2):
        async with TextMemory.open(path, secret=RAW) as memory:
            for n in range(80):
                await memory.remember(f"{SENTINEL} sings {n}", speaker="Annabel the speaker")
            assert (await memory.recall("who sings 7?"))[0].text.startswith(SENTINEL)
    assert sorted(file.name for file in path.iterdir()) == sorted(
        ["LOCK", "MANIFEST.json", "cache", "keyring.json", "log-00000001.jsonl", "store.json"]
    )
    assert check_files(contents, tmp_path) >= 5


async def test_what_a_crash_leaves_is_encrypted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents, path = watch(monkeypatch), tmp_path / "memory"
    async with hidden(path) as lattice:
        for n in range(5):
            await lattice.put([1, 2, 3, n], None, {"text": f"{SENTINEL} {n}"})
        crashed = shutil.copytree(path, tmp_path / "crashed")
    log = crashed / "log-00000001.jsonl"
    log.write_bytes(log.read_bytes()[:-30])
    async with hidden(crashed) as lattice:
        assert lattice.recovery.moved_to
        assert len(lattice) == 4
    assert list(crashed.glob("*.torn-1"))
    assert check_files(contents, tmp_path) >= 10


async def test_errors_quote_nothing(tmp_path: Path) -> None:
    """Also where what was encrypted is no record, such as by a bug of ours."""
    inner = MemoryStore()
    store = EncryptedStore(inner, RAW)
    async with Lattice(store, dim=4) as lattice:
        await lattice.put([1, 2, 3, 4], None, {"text": SENTINEL})
    for text in (
        f'{{"n":0,"d":0,"op":"put","t":1,"key":"{SENTINEL}","ctx":{{}},"anchor":"x"}}',
        f'{{"{SENTINEL}',
        f'["{SENTINEL}"]',
        f'{{"op":"decay","t":1,"anchor":"{SENTINEL}","factor":"{SENTINEL}"}}',
        f'{{"op":"cipher","t":0,"{SENTINEL}":1}}',
    ):
        store = EncryptedStore(inner, RAW)
        store.open(None, Hasher())
        session = store._session
        assert session is not None
        made = session.reading.envelopes.seal_record(0, bytes(16), text.encode(), 0)
        inner._records[0] = made
        with pytest.raises(CorruptionError) as caught:
            list(store.load())
        store.close()
        told = "".join(traceback.format_exception(caught.value))
        assert SENTINEL not in told
        assert SENTINEL not in repr(caught.value)


async def test_reprs_of_everything_on_the_way(tmp_path: Path) -> None:
    words, raw = "the passphrase itself", RAW.reveal()
    lattice = Lattice.open(tmp_path / "memory", dim=4, secret=RAW)
    store = EncryptedStore(jsonl(tmp_path / "memory"), Passphrase(words))
    async with lattice:
        made: Any = lattice._usable().store
        session = made._session
        parts = [lattice, lattice._lifecycle.__dict__, made, session, session.reading.envelopes]
        parts += [session.facts, session.reading, made._unlocking.__dict__]
        told = "".join(map(repr, [*parts, store, store._unlocking.__dict__]))
    for secret in (words, repr(raw)[2:-1], raw.hex(), base64.b64encode(raw).decode()):
        assert secret not in told
    assert "not shown" in told
    assert repr(RawKey(raw)) == "<RawKey, not shown>"


def test_a_sample_of_the_other_suites_runs_over_encrypted_stores() -> None:
    """Puts, recall and a controller's loop, as they are, each lattice within an encrypted store."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow"]
        + [str(ROOT / "tests" / name) for name in SAMPLE],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PMLL_TEST_ENCRYPTED": "1"},
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\d{2,} passed", done.stdout)


def test_the_search_finds_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests above prove nothing."""
    contents = Contents()
    contents.take(
        b'{"n":0,"d":0,"op":"put","ctx":{"text":"some words"},"anchor":"0123456789abcdef"}'
    )
    plain = b'-- {"text":"some words"} --'
    ways: list[Callable[[bytes], bytes]] = [bytes, base64.b64encode, zlib.compress]
    for way in (*ways, lambda data: base64.b64encode(zlib.compress(data))):
        assert contents.found_in(way(plain)), way
    assert contents.found_in(b"0123456789abcdef")
    assert not contents.found_in(b"other words")
