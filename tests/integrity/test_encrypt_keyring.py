"""The key ring: what it is to be refused, and other keys for a store."""

from __future__ import annotations

from pathlib import Path

import pytest
from encrypt_support import CHEAP, OTHER, RAW, files_of, fill, hidden, jsonl, made, sealed_in

from pmll_async import (
    InvalidInputError,
    KeyringError,
    Lattice,
    StoreError,
    WrongKeyError,
    WrongSecretError,
)
from pmll_async.integrity import EncryptedStore, Passphrase, rekey

WORDS = Passphrase("correct horse battery staple")


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pmll_async.integrity.passphrases.COSTS", CHEAP)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory"


# --- the key ring ------------------------------------------------------------------------------


async def test_a_lost_ring(path: Path) -> None:
    await made(path)
    (path / "keyring.json").unlink()
    before = files_of(path)
    for options in ({}, {"read_only": True}, {"dim": 4}):
        with pytest.raises(KeyringError, match=r"keyring\.json"):
            await Lattice.open(path, secret=RAW, **options)
    with pytest.raises(WrongKeyError, match=r"keyring\.json"):
        await Lattice.open(path)
    assert files_of(path) == before


async def test_the_ring_of_another_store_with_the_same_secret(tmp_path: Path) -> None:
    for name in "ab":
        await made(tmp_path / name)
    (tmp_path / "a/keyring.json").write_bytes((tmp_path / "b/keyring.json").read_bytes())
    before = files_of(tmp_path / "a")
    with pytest.raises(KeyringError, match="another store"):
        await hidden(tmp_path / "a")
    assert files_of(tmp_path / "a") == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"aes-256-gcm", b"xchacha20-poly1305"),
        (b"aes-256-gcm", b"none"),
        (b'"passes":1', b'"passes":2'),
        (b'"passes":1', b'"passes":1000000'),
        (b'"memory_kib":8', b'"memory_kib":1000000000'),
        (b"argon2id", b"raw"),
        (b"argon2id", b"md5"),
        (b"pmll keyring 1", b"pmll keyring 2"),
        (b'"id":1', b'"id":2'),
        (b"{", b'{"more":1,'),
        (b"{", b" {"),
        (b"}", b""),
    ],
)
async def test_an_edited_ring(path: Path, cheap: None, old: bytes, new: bytes) -> None:
    await made(path, WORDS)
    ring = (path / "keyring.json").read_bytes()
    assert old in ring
    (path / "keyring.json").write_bytes(ring.replace(old, new, 1))
    before = files_of(path)
    with pytest.raises((KeyringError, WrongSecretError)):
        await Lattice.open(path, secret=WORDS)
    assert files_of(path) == before


async def test_a_ring_whose_store_was_never_made(path: Path) -> None:
    """A crash between the two leaves a ring, which the next opening goes on with."""
    other = path.with_name("other")
    await made(other)
    path.mkdir()
    (path / "keyring.json").write_bytes((other / "keyring.json").read_bytes())
    with pytest.raises(WrongSecretError):
        await hidden(path, OTHER)
    assert await made(path)


def test_a_store_without_a_place_for_a_ring() -> None:
    with pytest.raises(InvalidInputError, match="SupportsKeyring"):
        EncryptedStore(object(), RAW)  # type: ignore[arg-type]  # refused


# --- other keys --------------------------------------------------------------------------------


async def test_a_changed_passphrase(path: Path, cheap: None) -> None:
    await made(path, WORDS)
    records = {name: data for name, data in files_of(path).items() if "keyring" not in name}
    assert rekey(jsonl(path), WORDS, Passphrase("another")) == 1
    assert {n: data for n, data in files_of(path).items() if "keyring" not in n} == records
    with pytest.raises(WrongSecretError):
        await hidden(path, WORDS)
    async with hidden(path, Passphrase("another")) as lattice:
        assert len(lattice) == 3
    assert rekey(jsonl(path), Passphrase("another"), RAW) == 1
    async with hidden(path, RAW) as lattice:
        assert (await lattice.verify()).holds


async def test_rotation(path: Path) -> None:
    await made(path)
    for epoch in (2, 3):
        assert rekey(jsonl(path), RAW) == epoch
        async with hidden(path) as lattice:
            await fill(lattice, 2, epoch * 10)
    epochs = [record.epoch for record in sealed_in(path)]
    assert epochs == [1, 1, 1, 2, 2, 3, 3]
    async with hidden(path) as lattice:
        assert len(lattice) == 7
        assert (await lattice.verify()).holds


async def test_a_ring_ends_somewhere(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await made(path)
    monkeypatch.setattr("pmll_async.integrity.keyring.MOST_EPOCHS", 2)
    assert rekey(jsonl(path), RAW) == 2
    with pytest.raises(StoreError, match="pmll encrypt"):
        rekey(jsonl(path), RAW)


async def test_an_old_ring_after_a_rotation(path: Path) -> None:
    await made(path)
    old = (path / "keyring.json").read_bytes()
    rekey(jsonl(path), RAW)
    async with hidden(path) as lattice:
        await fill(lattice, 1, 3)
    (path / "keyring.json").write_bytes(old)
    with pytest.raises(StoreError, match="epoch 2"):
        await hidden(path)


async def test_keys_are_not_changed_while_somebody_writes(path: Path) -> None:
    async with hidden(path) as lattice:
        await fill(lattice, 1)
        with pytest.raises(StoreError, match="open for writing"):
            rekey(jsonl(path), RAW)


@pytest.mark.parametrize("call", ["fsync", "rename"])
async def test_a_crash_while_keys_are_changed(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    await made(path)

    class KilledError(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(f"os.{call}", killed)
        with pytest.raises(KilledError):
            rekey(jsonl(path), RAW, OTHER)
    async with hidden(path) as lattice:
        assert len(lattice) == 3
    assert sorted(file.name for file in path.glob("keyring*")) == ["keyring.json"]
