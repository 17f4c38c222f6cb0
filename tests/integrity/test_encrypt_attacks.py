"""Somebody who may write every file of an encrypted store, and has not got its secret."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from drawing import examples
from encrypt_support import RAW, append, copy_of, fill, hidden, records_of, written

from pmll_async import CorruptionError, Lattice, MalformedExportError, PmllError
from pmll_async.cli.verify import Expected, checked
from pmll_async.integrity import EncryptedStore, read_trust
from pmll_async.moving.transfer import import_records
from pmll_async.records.cipher import CipherRecord
from pmll_async.records.record import Record, encode_record
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing.chains import ChainBuilder
from pmll_async.values.anchors import Hasher

EVERY_BIT: Final = "PMLL_EVERY_BIT"
"""Set, every bit of a store is flipped and not some hundred of them: half an hour."""
LINES: Final = 18


def is_found(path: Path) -> bool:
    try:
        return not checked(path, None, Expected(), secret=RAW).holds
    except PmllError:
        return True


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """At least 16 KiB of files, of two epochs of writing, with a cache and a pin."""
    path = tmp_path_factory.mktemp("large") / "memory"

    async def make() -> None:
        for start in (0, LINES):
            async with hidden(path) as lattice:
                await fill(lattice, LINES, start)
                await lattice.pin("embedder", "e1")

    asyncio.run(make())
    assert sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) >= 16 << 10
    assert not is_found(path)
    return path


def bits_of(path: Path) -> list[tuple[Path, int]]:
    """Every bit of every file, or a spread of them."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    bits = [(file, bit) for file in files for bit in range(file.stat().st_size * 8)]
    if EVERY_BIT in os.environ:
        return bits
    return random.Random(7).sample(bits, examples(400))


def test_every_flipped_bit_is_found(large: Path, tmp_path: Path) -> None:
    path = shutil.copytree(large, tmp_path / "memory")
    missed = []
    for file, bit in bits_of(path):
        whole = file.read_bytes()
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        if not is_found(path):
            missed.append((file.name, bit))
        file.write_bytes(whole)
    assert missed == []
    assert not is_found(path)


@pytest.mark.parametrize("name", ["keyring.json", "store.json", "MANIFEST.json"])
def test_a_file_that_is_gone_is_found(large: Path, tmp_path: Path, name: str) -> None:
    path = shutil.copytree(large, tmp_path / "memory")
    (path / name).unlink()
    assert is_found(path)


# --- records in other places -------------------------------------------------------------------
# The memory store keeps records as objects, so that whatever needs no key is as it should be.


@pytest.fixture(scope="module")
def chain() -> ChainBuilder:
    chain = ChainBuilder()
    chain.one_of_each()
    return chain


@pytest.fixture
def inner(chain: ChainBuilder) -> MemoryStore:
    store = MemoryStore()
    with written(store, chain) as encrypted:
        append(encrypted, chain, 0)
    return store


def swap(records: list[Record]) -> None:
    records[2], records[3] = records[3], records[2]


def repeat(records: list[Record]) -> None:
    records.insert(3, records[2])


def drop(records: list[Record]) -> None:
    del records[2]


def drop_effect(records: list[Record]) -> None:
    del records[-3]


def move_to_the_end(records: list[Record]) -> None:
    records.append(records[0])


def in_clear(records: list[Record]) -> None:
    chain = ChainBuilder()
    chain.one_of_each()
    records[1] = chain.records[1]


def change(name: str, value: Callable[[Any], Any]) -> Callable[[list[Record]], None]:
    def edit(records: list[Record]) -> None:
        records[2] = replace(records[2], **{name: value(getattr(records[2], name))})

    return edit


EDITS: Final[dict[str, Callable[[list[Record]], None]]] = {
    "swap": swap,
    "repeat": repeat,
    "drop": drop,
    "drop an effect": drop_effect,
    "move to the end": move_to_the_end,
    "in clear": in_clear,
    "another epoch": change("epoch", lambda epoch: epoch + 1),
    "another salt": change("salt", lambda salt: salt[::-1]),
    "a shorter salt": change("salt", lambda salt: salt[:-1]),
    "another nonce": change("nonce", lambda nonce: nonce + 1),
    "a nonce below zero": change("nonce", lambda nonce: -1),
    "a nonce too large": change("nonce", lambda nonce: 2**200),
    "cut off": change("sealed", lambda sealed: sealed[:-1]),
    "made longer": change("sealed", lambda sealed: sealed + b"\0"),
    "emptied": change("sealed", lambda sealed: b""),
    "another group": change("following", lambda following: following + 1),
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_is_edited_is_not_opened(inner: MemoryStore, chain: ChainBuilder, edit: str) -> None:
    EDITS[edit](inner._records)
    with pytest.raises(CorruptionError) as caught:
        records_of(inner, chain)
    assert caught.value.n is not None
    assert chain.records[2].lines[0].content.context.decode() not in str(caught.value)


@pytest.mark.parametrize("edit", EDITS)
def test_what_is_edited_while_it_is_open_is_never_given_out(
    inner: MemoryStore, chain: ChainBuilder, edit: str
) -> None:
    with written(inner, chain) as store:
        EDITS[edit](inner._records)
        wrong = 0
        for n, record in enumerate(chain.records[: len(inner._records)]):
            try:
                assert store.read(n) == record
            except CorruptionError:
                wrong += 1
        assert wrong or edit == "move to the end"
        # A memory store has no words for records that are gone from its list.
        if wrong and len(inner._records) >= len(chain.records):
            assert store.verify(chain.hasher).status == "damaged"


def test_no_record_of_another_store_with_the_same_secret(chain: ChainBuilder) -> None:
    stores = [MemoryStore(), MemoryStore()]
    for store in stores:
        with written(store, chain) as encrypted:
            append(encrypted, chain, 0)
    for n in range(len(chain.records)):
        mixed = copy_of(stores[0])
        mixed._records[n] = stores[1]._records[n]
        with pytest.raises(CorruptionError) as caught:
            records_of(mixed, chain)
        assert caught.value.n == n


def forks(first: int, count: int) -> tuple[list[MemoryStore], ChainBuilder]:
    """A store and its copy, which share their first records and have others from then on."""
    chains = [ChainBuilder(seed=0), ChainBuilder(seed=0)]
    for chain in chains:
        chain.lines(first)
    one = MemoryStore()
    with written(one, chains[0]) as store:
        append(store, chains[0], 0)
    stores = [one, copy_of(one)]
    for number, (store, chain) in enumerate(zip(stores, chains, strict=True)):
        for n in range(count):
            chain.put({"fork": number, "n": n})
        with written(store, chain) as encrypted:
            append(encrypted, chain, first)
    return stores, chains[0]


def test_no_record_of_a_fork_of_the_same_store() -> None:
    (one, other), chain = forks(3, 4)
    for n in range(4, 7):
        mixed = copy_of(one)
        mixed._records[n] = other._records[n]
        with pytest.raises(CorruptionError) as caught:
            records_of(mixed, chain)
        assert caught.value.n == n
    # The first of a fork follows what both share; then nothing of this store follows it.
    mixed = copy_of(one)
    mixed._records[3] = other._records[3]
    with pytest.raises(CorruptionError) as caught:
        records_of(mixed, chain)
    assert caught.value.n == 4


def test_random_mixtures_of_two_forks_are_one_of_them_or_found() -> None:
    stores, chain = forks(3, 4)
    whole = [records_of(store, chain) for store in stores]
    chance = random.Random(3)
    pool = [record for store in stores for record in store._records]
    for _ in range(examples(200)):
        mixed = copy_of(stores[0])
        mixed._records = [chance.choice(pool) for _ in range(chance.randrange(1, 8))]
        if chance.random() < 0.5:
            at = chance.randrange(8)
            mixed._records = stores[0]._records[:at] + mixed._records
        try:
            got = records_of(mixed, chain)
        except CorruptionError:
            continue
        assert any(got == records[: len(got)] for records in whole)


def test_pins_are_what_was_pinned(chain: ChainBuilder) -> None:
    inner = MemoryStore()
    with written(inner, chain) as store:
        store.pin("embedder", "e1")
        store.pin("zone", "UTC")
    header = inner._header
    assert header is not None
    names = [name for name in header.pins if name != "encrypted"]
    assert not {"embedder", "zone"} & set(names)
    pins = dict(header.pins)
    pins[names[0]], pins[names[1]] = pins[names[1]], pins[names[0]]
    object.__setattr__(header, "pins", pins)
    with pytest.raises(CorruptionError, match="a fact about the store"):
        EncryptedStore(inner, RAW).open(None, Hasher())


async def test_an_older_copy_is_found_by_a_trust_file(tmp_path: Path) -> None:
    path, trust = tmp_path / "memory", tmp_path / "trust.json"
    async with hidden(path) as lattice:
        await fill(lattice, 2)
        await lattice.seal(trust=trust)
    shutil.copytree(path, tmp_path / "older")
    async with hidden(path) as lattice:
        await fill(lattice, 2, 2)
        await lattice.seal(trust=trust)
    shutil.rmtree(path)
    (tmp_path / "older").rename(path)
    async with Lattice.open(path, secret=RAW) as lattice:
        assert (await lattice.verify()).holds
        assert not (await lattice.verify(trust=read_trust(trust))).holds


def test_encrypted_records_are_no_export(tmp_path: Path) -> None:
    record = CipherRecord(epoch=1, salt=bytes(32), nonce=0, sealed=bytes(20))
    header = (
        '{"pmll":"export","format":1,"dim":2,"value_dim":2,"keyed":false,"key_check":"","pins":{},'
        '"created":1.0,"records":1,"digest":"00"}\n'
    )
    lines = [header, encode_record(record, '"n":0,') + "}\n"]
    with pytest.raises(MalformedExportError, match="encrypted"):
        import_records(lines, JsonlStore(tmp_path / "memory"), Hasher(None))
