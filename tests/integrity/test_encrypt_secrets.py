"""Secrets: what opens an encrypted store, what does not, and what is said of it."""

from __future__ import annotations

import asyncio
import copy
import pickle
import secrets
from pathlib import Path
from typing import Any

import pytest
from encrypt_support import CHEAP, RAW, files_of, fill, hidden, jsonl, made

from pmll_async import (
    InvalidInputError,
    Lattice,
    PinnedError,
    StoreError,
    WrongKeyError,
    WrongSecretError,
)
from pmll_async.integrity import EncryptedStore, Passphrase, RawKey, rekey
from pmll_async.integrity.keyring import read_ring, unlock
from pmll_async.protocols import StoreHeader
from pmll_async.stores.memory import MemoryStore
from pmll_async.values.anchors import Hasher

WORDS = Passphrase("correct horse battery staple")


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pmll_async.integrity.passphrases.COSTS", CHEAP)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory"


# --- opening -----------------------------------------------------------------------------------


async def test_what_was_written_is_there_again(path: Path) -> None:
    anchors = await made(path)
    async with Lattice.open(path, secret=RAW) as lattice:
        assert [line.anchor async for line in lattice.rewind()] == anchors[::-1]
        assert lattice.pins["embedder"] == "e1"
        assert (lattice.dim, lattice.value_dim) == (4, 4)
        found = await lattice.verify()
        assert found.holds
        assert found.report.records == 3


async def test_anchors_and_digest_are_those_of_a_store_in_clear(path: Path) -> None:
    ticks = [float(n) for n in range(1000, 1010)]
    async with hidden(path, clock=iter(ticks).__next__) as lattice:
        await fill(lattice, 3)
        one = lattice.head, lattice.digest
    async with Lattice(MemoryStore(), dim=4, clock=iter(ticks).__next__) as lattice:
        await fill(lattice, 3)
        assert (lattice.head, lattice.digest) == one


async def test_a_passphrase_opens_however_its_letters_are_coded(path: Path, cheap: None) -> None:
    await made(path, Passphrase("Zürich"))
    async with Lattice.open(path, secret=Passphrase("Zu\u0308rich")) as lattice:
        assert len(lattice) == 3


async def test_an_encrypted_store_without_its_secret(path: Path) -> None:
    await made(path)
    before = files_of(path)
    for key in (None, b"an integrity key"):
        with pytest.raises(WrongSecretError, match="open it with the secret="):
            await Lattice.open(path, integrity_key=key)
    assert files_of(path) == before


async def test_a_store_in_clear_with_a_secret(path: Path) -> None:
    async with Lattice.open(path, dim=4) as lattice:
        await fill(lattice, 1)
    before = files_of(path)
    for options in ({}, {"read_only": True}, {"dim": 4}):
        with pytest.raises(WrongSecretError, match="pmll encrypt"):
            await Lattice.open(path, secret=RAW, **options)
    assert files_of(path) == before


async def test_an_older_release_refuses_it(path: Path) -> None:
    """It knows neither the record nor the ring, and asks for the key first."""
    await made(path)
    store = jsonl(path)
    with pytest.raises(WrongKeyError, match="needs the integrity_key"):
        store.open(None, Hasher())


async def test_keyed_and_encrypted(path: Path) -> None:
    await made(path, integrity_key=b"key")
    for key in (None, b"another"):
        with pytest.raises(WrongKeyError):
            await Lattice.open(path, secret=RAW, integrity_key=key)
    async with Lattice.open(path, secret=RAW, integrity_key=b"key") as lattice:
        assert (await lattice.verify()).holds


async def test_a_reader_follows_a_writer_over_a_rotation(path: Path) -> None:
    await made(path)
    async with Lattice.open(path, secret=RAW, read_only=True) as reader:
        rekey(jsonl(path), RAW)
        async with hidden(path) as writer:
            anchor = (await fill(writer, 1, 3))[0]
            await reader.query([1, 0, 0, 0])
            assert (await reader.get(anchor)).context["n"] == 3


async def test_the_suite_is_chosen_when_the_store_is_made(path: Path) -> None:
    await made(path, suite="xchacha20-poly1305")
    async with Lattice.open(path, secret=RAW, suite="xchacha20-poly1305") as lattice:
        assert len(lattice) == 3
    with pytest.raises(PinnedError, match="xchacha20"):
        await Lattice.open(path, secret=RAW, suite="aes-256-gcm")
    with pytest.raises(InvalidInputError, match="aes-256-gcm"):
        Lattice.open(path, secret=RAW, suite="rot13")  # type: ignore[arg-type]  # refused
    with pytest.raises(InvalidInputError, match="secret="):
        Lattice.open(path, suite="aes-256-gcm")


# --- wrong secrets -----------------------------------------------------------------------------


async def test_ten_thousand_wrong_raw_keys(path: Path) -> None:
    await made(path)
    ring = read_ring((path / "keyring.json").read_bytes(), str(path))
    assert unlock(ring, RAW, "").epoch == 1
    for _ in range(10_000):
        with pytest.raises(WrongSecretError):
            unlock(ring, RawKey(secrets.token_bytes(32)), "")


async def test_keys_that_differ_in_one_bit(path: Path) -> None:
    await made(path)
    ring, right = read_ring((path / "keyring.json").read_bytes(), ""), RAW.reveal()
    for bit in range(256):
        wrong = bytearray(right)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WrongSecretError):
            unlock(ring, RawKey(bytes(wrong)), "")


async def test_twenty_wrong_passphrases(path: Path, cheap: None) -> None:
    await made(path, WORDS)
    before = files_of(path)
    for n in range(20):
        with pytest.raises(WrongSecretError, match="does not open with this secret"):
            await Lattice.open(path, secret=Passphrase(f"correct horse {n}"))
    with pytest.raises(WrongSecretError, match="it opens with a Passphrase"):
        await Lattice.open(path, secret=RAW)
    assert files_of(path) == before


async def test_a_key_where_a_passphrase_was_meant(path: Path) -> None:
    await made(path)
    with pytest.raises(WrongSecretError, match="it opens with a RawKey"):
        await Lattice.open(path, secret=WORDS)


# --- fetching ----------------------------------------------------------------------------------


async def test_a_key_that_is_fetched(path: Path) -> None:
    asked: list[str] = []

    async def fetch(store: str) -> bytes:
        asked.append(store)
        await asyncio.sleep(0)
        return RAW.reveal()

    for _ in range(2):
        async with hidden(path, fetch) as lattice:
            await fill(lattice, 1)
            assert (await lattice.seal(path.with_name("seal.json"))).store == asked[0]
    assert asked == asked[:1] * 2
    async with hidden(path, RAW) as lattice:
        assert len(lattice) == 2


async def test_fetching_may_be_cancelled(path: Path) -> None:
    began = asyncio.Event()

    async def fetch(store: str) -> bytes:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    lattice = hidden(path, fetch)
    opening = asyncio.ensure_future(lattice._opened())
    await began.wait()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await lattice.aclose()
    assert not path.exists()


async def test_what_fetching_raises_goes_through(path: Path) -> None:
    class RefusedError(Exception):
        pass

    async def fetch(store: str) -> bytes:
        raise RefusedError

    with pytest.raises(RefusedError):
        await hidden(path, fetch)

    async def short(store: str) -> bytes:
        return b"too short"

    with pytest.raises(InvalidInputError, match="32 random bytes"):
        await hidden(path, short)
    assert not path.exists()


def test_a_key_to_be_fetched_needs_a_loop() -> None:
    async def fetch(store: str) -> bytes:
        return RAW.reveal()

    store = EncryptedStore(MemoryStore(), fetch)
    with pytest.raises(StoreError, match="event loop"):
        store.open(StoreHeader(4, 4), Hasher())


# --- objects -----------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [Passphrase("sesame"), RawKey(b"sesame" * 5 + b"!!")])
def test_secrets_show_nothing_and_stay(secret: Any) -> None:
    assert "sesame" not in f"{secret!r} {secret} {[secret]}"
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            leave(secret)
    with pytest.raises(TypeError):
        hash(secret)
    assert not hasattr(secret, "__dict__")


def test_secrets_are_equal_by_what_they_hold() -> None:
    assert Passphrase("a") == Passphrase("a") != Passphrase("b")
    assert RawKey(bytes(32)) == RawKey(bytes(32))
    assert Passphrase("a" * 32) != RawKey(b"a" * 32)


@pytest.mark.parametrize("wrong", [b"", b"short", b"x" * 33])
def test_what_is_no_raw_key(wrong: bytes) -> None:
    with pytest.raises(InvalidInputError, match="32 random bytes"):
        RawKey(wrong)


@pytest.mark.parametrize("wrong", ["", "\ud800sesame"])
def test_what_is_no_passphrase(wrong: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Passphrase(wrong)
    assert "sesame" not in repr(caught.value)


def test_what_is_no_secret(path: Path) -> None:
    for wrong in (b"sesame", "sesame", 7):
        with pytest.raises(InvalidInputError) as caught:
            Lattice.open(path, secret=wrong)  # type: ignore[arg-type]  # refused
        assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("raw", ["a" * 32, None, 32, bytearray(31)])
def test_what_is_no_raw_key_is_refused(raw: Any) -> None:
    with pytest.raises(InvalidInputError):
        RawKey(raw)


@pytest.mark.parametrize("text", [b"words", None, "", " \t"])
def test_what_is_no_passphrase_is_refused(text: Any) -> None:
    with pytest.raises(InvalidInputError):
        Passphrase(text)


async def test_a_function_that_is_not_async_is_told(tmp_path: Path) -> None:
    def fetch(store_id: str) -> bytes:
        return bytes(32)

    with pytest.raises(InvalidInputError, match="async"):
        await Lattice.open(tmp_path / "memory", dim=2, secret=fetch)  # type: ignore[arg-type]  # that
    assert not (tmp_path / "memory").exists()
