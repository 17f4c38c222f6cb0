"""The conformance suite of stores, over encrypted ones on every store that there is."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import pytest
from encrypt_support import RAW, SUITE_NAMES

from pmll_async.integrity import EncryptedStore
from pmll_async.protocols import Store
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import StoreSuite


class EncryptedSuite(StoreSuite):
    """What is the same over any store: records are planted and read raw by another wrapper."""

    suite = SUITE_NAMES[0]

    def inner(self, path: Path, *, read_only: bool = False) -> Store:
        raise NotImplementedError

    def make_store(self, path: Path) -> Store:
        return EncryptedStore(self.inner(path), RAW, suite=self.suite)

    def make_reader(self, path: Path) -> Store:
        return EncryptedStore(self.inner(path, read_only=True), RAW)


class TestEncryptedMemoryStore(EncryptedSuite):
    # The wrapper's own steps are those over the JSONL store.
    test_an_append_may_fail_at_every_step = None  # type: ignore[assignment]  # so pytest has it not

    @cached_property
    def stores(self) -> dict[Path, MemoryStore]:
        return {}

    def inner(self, path: Path, *, read_only: bool = False) -> Store:
        if read_only:
            pytest.skip("a memory store has no readers")
        return self.stores.setdefault(path, MemoryStore())


class TestEncryptedJsonlStore(EncryptedSuite):
    def inner(self, path: Path, *, read_only: bool = False) -> Store:
        return JsonlStore(path, read_only=read_only)


class TestXChaCha20JsonlStore(TestEncryptedJsonlStore):
    suite = SUITE_NAMES[1]
    # The same steps as with the other cipher, half a minute of them.
    test_an_append_may_fail_at_every_step = None  # type: ignore[assignment]  # so pytest has it not


class TestEncryptedLmdbStore(EncryptedSuite):
    # The wrapper's own steps are those over the JSONL store.
    test_an_append_may_fail_at_every_step = None  # type: ignore[assignment]  # so pytest has it not

    def inner(self, path: Path, *, read_only: bool = False) -> Store:
        lmdb = pytest.importorskip("pmll_async.stores.lmdb")
        store: Store = lmdb.LmdbStore(path, read_only=read_only)
        return store
