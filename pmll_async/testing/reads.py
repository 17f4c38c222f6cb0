"""The part of a store's conformance suite about appending, loading and reading."""

# ruff: noqa: D102, S101  # a suite asserts, and the names of its tests are sentences

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pmll_async.protocols import Store
from pmll_async.records.blocks import Block
from pmll_async.records.record import Record
from pmll_async.testing.chains import ChainBuilder

# How a log came to be written must not show in what is read from it.
SPLITS = [(100,), (1,) * 100, (3, 1, 5, 100)]


def append_split(store: Store, chain: ChainBuilder, sizes: Sequence[int]) -> None:
    """Append all records of a chain, in batches of these sizes until none is left."""
    first = 0
    for size in sizes:
        stop = min(first + size, len(chain.records))
        if stop > first:
            store.append(chain.records[first:stop], chain.block(first, stop))
        first = stop


def columns_of(blocks: Sequence[Block]) -> dict[str, Any]:
    """The columns of several blocks as if they were one."""
    merged: dict[str, Any] = {}
    for field in fields(Block):
        parts = [getattr(block, field.name) for block in blocks]
        if isinstance(parts[0], np.ndarray):
            merged[field.name] = np.concatenate(parts).tolist()
        elif isinstance(parts[0], tuple):
            merged[field.name] = sum(parts, ())
    return merged


class ReadingSuite(ABC):
    """What `StoreSuite` inherits; its hooks are explained there."""

    @abstractmethod
    def make_store(self, path: Path) -> Store:
        """An unopened store at `path`."""

    @abstractmethod
    def opened(
        self, path: Path, chain: ChainBuilder, *, header: bool = True
    ) -> AbstractContextManager[tuple[Store, list[Record]]]:
        """The store for the chain, opened and loaded, and its records."""

    @pytest.mark.parametrize("sizes", SPLITS, ids=["one batch", "one by one", "several"])
    @pytest.mark.parametrize("key", [None, b"key"], ids=["plain", "keyed"])
    def test_every_record_comes_back(
        self, path: Path, sizes: Sequence[int], key: bytes | None
    ) -> None:
        chain = ChainBuilder(value_dim=2, integrity_key=key)
        chain.one_of_each()
        with self.opened(path, chain) as (store, _):
            append_split(store, chain, sizes)
            assert [store.read(n) for n in range(len(chain.records))] == chain.records
        with self.opened(path, chain) as (store, records):
            assert records == chain.records
            assert store.recovery.records == len(records)
            assert store.recovery.moved_bytes == 0

    @pytest.mark.parametrize("sizes", SPLITS, ids=["one batch", "one by one", "several"])
    def test_load_gives_the_columns_that_were_appended(
        self, path: Path, sizes: Sequence[int]
    ) -> None:
        chain = ChainBuilder(value_dim=2)
        chain.one_of_each()
        with self.opened(path, chain) as (store, _):
            append_split(store, chain, sizes)
        store = self.make_store(path)
        store.open(None, chain.hasher)
        blocks = list(store.load())
        store.close()
        assert [block.first for block in blocks] == [0, *(block.stop for block in blocks[:-1])]
        assert blocks[-1].stop == len(chain.records)
        assert blocks[-1].digest == chain.digest
        assert columns_of(blocks) == columns_of([chain.block()])

    def test_a_new_store_has_nothing_to_load(self, path: Path) -> None:
        chain = ChainBuilder()
        store = self.make_store(path)
        store.open(chain.header, chain.hasher)
        assert sum(len(block.times) for block in store.load()) == 0
        assert list(store.contexts(0, 0)) == []
        store.close()

    def test_values_may_be_empty(self, path: Path) -> None:
        chain = ChainBuilder(value_dim=0)
        chain.lines(3)
        with self.opened(path, chain) as (store, _):
            append_split(store, chain, [3])
        with self.opened(path, chain) as (_, records):
            assert records == chain.records

    def test_a_group_stays_together(self, path: Path) -> None:
        chain = ChainBuilder()
        chain.lines(4)
        group = [
            replace(record, following=len(chain.records) - 1 - n)
            for n, record in enumerate(chain.records)
        ]
        with self.opened(path, chain) as (store, _):
            store.append(group, chain.block())
            assert [store.read(n) for n in range(4)] == group
        with self.opened(path, chain) as (_, records):
            assert records == group

    def test_a_large_record(self, path: Path) -> None:
        chain = ChainBuilder(value_dim=50_000)
        chain.put({"text": "long " * 50_000})
        chain.put()
        with self.opened(path, chain) as (store, _):
            append_split(store, chain, [1, 1])
            assert store.read(0) == chain.records[0]
        with self.opened(path, chain) as (_, records):
            assert records == chain.records

    def test_it_goes_on_where_it_stopped(self, path: Path) -> None:
        chain = ChainBuilder()
        for _ in range(4):
            first = len(chain.records)
            chain.one_of_each()
            with self.opened(path, chain) as (store, records):
                assert records == chain.records[:first]
                store.append(chain.records[first:], chain.block(first))
                assert store.read(len(chain.records) - 1) == chain.records[-1]
        with self.opened(path, chain) as (_, records):
            assert records == chain.records

    def test_contexts_of_any_range(self, path: Path) -> None:
        chain = ChainBuilder()
        chain.one_of_each()
        count = len(chain.records)
        with self.opened(path, chain) as (store, _):
            append_split(store, chain, [5, 100])
            for first, stop in [(0, count), (0, 1), (3, 7), (count - 1, count), (4, 4)]:
                found = [text for piece in store.contexts(first, stop) for text in piece]
                assert found == contexts_of(chain.records[first:stop])
        with self.opened(path, chain) as (store, _):
            found = [text for piece in store.contexts(2, count) for text in piece]
            assert found == contexts_of(chain.records[2:])

    def test_reading_in_threads_while_appending(self, path: Path) -> None:
        chain = ChainBuilder()
        chain.lines(200)
        with self.opened(path, chain) as (store, _), ThreadPoolExecutor(4) as threads:
            reads = []
            for first in range(0, 200, 20):
                store.append(chain.records[first : first + 20], chain.block(first, first + 20))
                reads += [(n, threads.submit(store.read, n)) for n in range(first, first + 20)]
                reads += [(n, threads.submit(store.read, n)) for n in (0, first // 2)]
            assert all(read.result() == chain.records[n] for n, read in reads)


def contexts_of(records: Sequence[Record]) -> list[bytes]:
    """The canonical contexts of all lines, in order."""
    return [line.content.context for record in records for line in record.lines]
