"""What the tests of encryption share."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from pmll_async import Lattice
from pmll_async.integrity import EncryptedStore, RawKey
from pmll_async.records.record import Record
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing.chains import ChainBuilder

RAW: Final = RawKey(bytes(range(100, 132)))
OTHER: Final = RawKey(bytes(range(32)))
SUITE_NAMES: Final = ("aes-256-gcm", "xchacha20-poly1305")
CHEAP: Final = {"passes": 1, "memory_kib": 8, "lanes": 1}
"""What Argon2id costs in a test that is not about its cost."""


def hidden(path: Path, secret: Any = RAW, **options: Any) -> Lattice:
    return Lattice.open(path, dim=4, secret=secret, **options)


async def fill(lattice: Lattice, count: int, start: int = 0) -> list[str]:
    random = np.random.default_rng(start)
    return [
        await lattice.put(random.normal(size=4), None, {"n": n, "text": f"line {n} of them"})
        for n in range(start, start + count)
    ]


async def made(path: Path, secret: Any = RAW, **options: Any) -> list[str]:
    async with hidden(path, secret, **options) as lattice:
        await lattice.pin("embedder", "e1")
        return await fill(lattice, 3)


def files_of(path: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@contextmanager
def written(inner: Any, chain: ChainBuilder, secret: Any = RAW) -> Iterator[EncryptedStore]:
    """An encrypted store that is open and loaded."""
    store = EncryptedStore(inner, secret)
    store.open(chain.header, chain.hasher)
    try:
        for _ in store.load():
            pass
        yield store
    finally:
        store.close()


def append(store: EncryptedStore, chain: ChainBuilder, first: int, stop: int | None = None) -> None:
    store.append(chain.records[first:stop], chain.block(first, stop))


def records_of(inner: Any, chain: ChainBuilder, secret: Any = RAW) -> list[Record]:
    """All records, decrypted."""
    with written(inner, chain, secret) as store:
        return [store.read(n) for n in range(store.recovery.records)]


def copy_of(store: MemoryStore) -> MemoryStore:
    """As of a folder: the same header, key ring and records."""
    made = MemoryStore()
    made._header, made._keyring = copy.copy(store._header), store._keyring
    made._records = list(store._records)
    return made


def sealed_in(path: Path) -> list[Any]:
    """The encrypted records in a folder's files, also those that were moved aside, parsed."""
    from pmll_async.records.cipher import decode_cipher

    lines = [
        line
        for file in sorted(path.glob("log-*"))
        for line in file.read_bytes().splitlines()
        if line.endswith(b"}")
    ]
    return [record for record in map(decode_cipher, lines) if record is not None]


def jsonl(path: Path, **options: Any) -> JsonlStore:
    return JsonlStore(path, **options)
