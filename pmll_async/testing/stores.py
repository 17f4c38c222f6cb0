"""The conformance suite of a store: what stands on `protocols.Store`, sentence by sentence."""

# ruff: noqa: ARG002, D102, S101  # hooks refuse, suites assert, tests are named by sentences

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from pmll_async.errors import (
    DimensionMismatchError,
    PinnedError,
    ReadOnlyStoreError,
    StoreError,
    StoreLockedError,
    WrongKeyError,
)
from pmll_async.lattice import Lattice
from pmll_async.protocols import Store, StoreHeader, SupportsFollow, SupportsKeys, SupportsSync
from pmll_async.records.record import Record
from pmll_async.testing.chains import ChainBuilder
from pmll_async.testing.erasing import ErasingSuite
from pmll_async.testing.faults import FailingStore
from pmll_async.testing.reads import ReadingSuite
from pmll_async.values.anchors import Hasher

KEY = b"0123456789abcdef"


def append(store: Store, chain: ChainBuilder, first: int = 0, stop: int | None = None) -> None:
    """Append these records of the chain as one batch."""
    store.append(chain.records[first:stop], chain.block(first, stop))


def check_keys(store: SupportsKeys, chain: ChainBuilder, records: int) -> None:
    """The store has the keys of these records, asked for in one piece, one by one and in part."""
    lines = [
        (n, place, line.content.key)
        for n, record in enumerate(chain.records[:records])
        for place, line in enumerate(record.lines)
        if line.content.key
    ]
    for asked in (lines, *[[line] for line in lines], lines[::2], [*lines[:1] * 3, *lines[4:]], []):
        numbers = np.array([n for n, _, _ in asked], dtype=np.int64)
        places = np.array([place for _, place, _ in asked], dtype=np.int64)
        keys = store.keys(numbers, places)
        assert keys.shape == (len(asked), chain.dim)
        assert keys.dtype == np.float32
        assert keys.tobytes() == b"".join([key for _, _, key in asked])


class StoreSuite(ReadingSuite, ErasingSuite, ABC):
    """Inherit and give `make_store`; the other hooks are for those who can.

    `make_store(path)` is called once for every opening and with the same path for the same store. A
    store of another kind takes the path as a name. The hooks `plant` and `raw` go around the store,
    so that a broken `read` cannot hide a broken `append`; `make_reader` gives a read-only store.
    """

    @abstractmethod
    def make_store(self, path: Path) -> Store:
        """An unopened store at `path`, which need not exist."""

    def make_reader(self, path: Path) -> Store:
        """An unopened read-only store at `path`."""
        _lacks("read-only stores")

    def plant(self, path: Path, header: StoreHeader, records: Sequence[Record]) -> None:
        """Make a store with these records without `append`, as if its writer had been killed."""
        _lacks("a way to plant records")

    def raw(self, path: Path) -> list[Record]:
        """What is stored at `path`, read without `Store.read`."""
        _lacks("a way to read its raw records")

    @contextmanager
    def opened(
        self, path: Path, chain: ChainBuilder, *, header: bool = True
    ) -> Iterator[tuple[Store, list[Record]]]:
        """The store for the chain, opened and loaded, and the records that it had."""
        store = self.make_store(path)
        store.open(chain.header if header else None, chain.hasher)
        try:
            count = sum(len(block.times) for block in store.load())
            yield store, [store.read(n) for n in range(count)]
        finally:
            store.close()

    def header_of(
        self, path: Path, header: StoreHeader | None, hasher: Hasher | None = None
    ) -> StoreHeader:
        """What the store says of itself when it is opened with this header, loaded and closed."""
        store = self.make_store(path)
        found = store.open(header, hasher or Hasher())
        list(store.load())
        store.close()
        return found

    @contextmanager
    def followed(self, path: Path, chain: ChainBuilder) -> Iterator[tuple[Store, int]]:
        """A reader of the chain's store, opened and loaded, and how many records it found."""
        reader = self.make_reader(path)
        reader.open(None, chain.hasher)
        try:
            yield reader, sum(len(block.times) for block in reader.load())
        finally:
            reader.close()

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """Where the test's store is."""
        return tmp_path / "store"

    # --- opening -------------------------------------------------------------------------------

    def test_a_new_store_takes_its_header(self, path: Path) -> None:
        chain = ChainBuilder(dim=3, value_dim=2)
        with self.opened(path, chain) as (store, records):
            assert records == []
            assert store.recovery.records == 0
            assert store.recovery.clean
        header = self.header_of(path, None)
        assert (header.dim, header.value_dim, header.key_check) == (3, 2, "")
        assert header.store_id

    def test_the_header_never_changes(self, path: Path) -> None:
        given = (ChainBuilder(dim=3).header, None, ChainBuilder(dim=7).header)
        headers = [self.header_of(path, header) for header in given]
        assert headers == headers[:1] * 3

    def test_two_new_stores_differ_in_their_id(self, tmp_path: Path) -> None:
        one, other = (self.header_of(tmp_path / name, ChainBuilder().header) for name in "ab")
        assert one.store_id != other.store_id

    def test_no_store_and_no_header(self, path: Path) -> None:
        with pytest.raises(DimensionMismatchError):
            self.make_store(path).open(None, Hasher())
        with self.opened(path, ChainBuilder(dim=5)) as (_, records):
            assert records == []

    @pytest.mark.parametrize(("key", "wrong"), [(None, KEY), (KEY, None), (KEY, KEY[::-1])])
    def test_another_key(self, path: Path, key: bytes | None, wrong: bytes | None) -> None:
        chain = ChainBuilder(integrity_key=key)
        chain.lines(2)
        with self.opened(path, chain) as (store, _):
            append(store, chain)
        with pytest.raises(WrongKeyError):
            self.make_store(path).open(None, Hasher(wrong))
        with self.opened(path, chain, header=False) as (_, records):
            assert records == chain.records

    def test_only_one_writer(self, path: Path) -> None:
        chain = ChainBuilder()
        chain.lines(2)
        with self.opened(path, chain) as (store, _):
            with pytest.raises(StoreLockedError) as caught:
                self.make_store(path).open(chain.header, chain.hasher)
            assert caught.value.same_process
            append(store, chain)
        with self.opened(path, chain) as (_, records):
            assert records == chain.records

    def test_closing_twice_is_closing_once(self, path: Path) -> None:
        chain = ChainBuilder()
        store = self.make_store(path)
        store.open(chain.header, chain.hasher)
        list(store.load())
        store.close()
        store.close()
        with self.opened(path, chain) as (_, records):
            assert records == []

    def test_closing_before_loading(self, path: Path) -> None:
        chain = ChainBuilder()
        chain.lines(3)
        with self.opened(path, chain) as (store, _):
            append(store, chain)
        store = self.make_store(path)
        store.open(None, chain.hasher)
        store.close()
        with self.opened(path, chain) as (_, records):
            assert records == chain.records

    def test_it_has_a_name_for_errors(self, path: Path) -> None:
        store = self.make_store(path)
        assert isinstance(store.path, str)
        assert store.path
        assert store.read_only is False

    # --- pins ----------------------------------------------------------------------------------

    def test_a_pin_is_there_from_then_on(self, path: Path) -> None:
        chain = ChainBuilder()
        chain.lines(6)
        with self.opened(path, chain) as (store, _):
            store.pin("embedder", "e1")
            append(store, chain, 0, 4)
            store.pin("é", 'several\nlines of "text" \\ and none: \0')
            store.pin("", "")
        pins = {"embedder": "e1", "é": 'several\nlines of "text" \\ and none: \0', "": ""}
        assert self.pins(path) == pins
        with self.opened(path, chain) as (store, records):
            assert records == chain.records[:4]
            append(store, chain, 4)
            store.pin("later", "x" * 4096)
        assert self.pins(path) == {**pins, "later": "x" * 4096}
        with self.opened(path, chain, header=False) as (_, records):
            assert records == chain.records

    def test_nothing_but_the_pins_changes(self, path: Path) -> None:
        chain = ChainBuilder(dim=3, value_dim=2, integrity_key=KEY)
        store = self.make_store(path)
        before = store.open(chain.header, chain.hasher)
        list(store.load())
        store.pin("embedder", "e1")
        store.close()
        after = self.make_store(path).open(None, chain.hasher)
        assert after == replace(before, pins={"embedder": "e1"})

    def test_a_pin_never_changes(self, path: Path) -> None:
        chain = ChainBuilder()
        with self.opened(path, chain) as (store, _):
            store.pin("embedder", "e1")
        with self.opened(path, chain) as (store, _):
            store.pin("embedder", "e1")
            with pytest.raises(PinnedError) as caught:
                store.pin("embedder", "e2")
            assert (caught.value.pinned, caught.value.given) == ("e1", "e2")
            store.pin("other", "e2")
        assert self.pins(path) == {"embedder": "e1", "other": "e2"}

    def test_pins_of_a_new_store(self, path: Path) -> None:
        chain = ChainBuilder()
        store = self.make_store(path)
        store.open(replace(chain.header, pins={"embedder": "e1"}), chain.hasher)
        list(store.load())
        with pytest.raises(PinnedError):
            store.pin("embedder", "e2")
        store.pin("other", "e2")
        store.close()
        assert self.pins(path) == {"embedder": "e1", "other": "e2"}

    def test_a_novelty_window_stays(self, path: Path) -> None:
        chain = ChainBuilder(integrity_key=KEY, novelty_window=65536)
        chain.lines(3)
        with self.opened(path, chain) as (store, _):
            append(store, chain, 0, 2)
            store.pin("embedder", "e1")
        for given in (None, replace(chain.header, novelty_window=None)):
            assert self.header_of(path, given, chain.hasher).novelty_window == 65536
        with self.opened(path, chain, header=False) as (store, records):
            assert records == chain.records[:2]
            append(store, chain, 2)
        assert self.header_of(path, None, chain.hasher).novelty_window == 65536

    def pins(self, path: Path) -> dict[str, str]:
        """What is pinned, after opening the store again."""
        return self.header_of(path, None).pins

    # --- around the store ----------------------------------------------------------------------

    def test_what_append_writes(self, path: Path) -> None:
        chain = ChainBuilder(value_dim=2)
        chain.one_of_each()
        with self.opened(path, chain) as (store, _):
            append(store, chain, 0, 5)
            append(store, chain, 5)
        assert self.raw(path) == chain.records

    def test_what_load_and_read_find(self, path: Path) -> None:
        chain = ChainBuilder(value_dim=2)
        chain.one_of_each()
        self.plant(path, chain.header, chain.records)
        with self.opened(path, chain, header=False) as (store, records):
            assert records == chain.records
            assert store.recovery.records == len(chain.records)

    def test_planted_records_are_continued(self, path: Path) -> None:
        chain = ChainBuilder()
        chain.lines(4)
        self.plant(path, chain.header, chain.records)
        chain.lines(3)
        with self.opened(path, chain) as (store, _):
            append(store, chain, 4)
        assert self.raw(path) == chain.records

    # --- failing -------------------------------------------------------------------------------

    def test_an_append_may_fail_at_every_step(self, path: Path) -> None:
        """Whatever is raised where: what was acknowledged before and after it is there."""
        step = 0
        while asyncio.run(self._fails_at(path.with_name(f"store-{step}"), step)):
            step += 1
        assert step, "an append has steps"

    async def _fails_at(self, path: Path, step: int) -> bool:
        store, acknowledged = FailingStore(self.make_store(path)), []
        async with Lattice(store, dim=2) as lattice:
            acknowledged.append(await lattice.put([1, 0]))
            store.fail_at(step)
            for key in ([0, 1], [1, 1], [1, 2]):
                # An error says that nothing is stored, or that it is not known.
                with suppress(StoreError, MemoryError):
                    acknowledged.append(await lattice.put(key))
        async with Lattice(self.make_store(path)) as lattice:
            assert lattice.recovery.records >= len(acknowledged)
            lines = [await lattice.get(anchor) for anchor in acknowledged]
            assert all(line.position is not None for line in lines)
            await lattice.put([2, 1])
        return store.has_failed

    # --- powers --------------------------------------------------------------------------------

    def test_syncing(self, path: Path) -> None:
        chain = ChainBuilder()
        chain.lines(2)
        with self.opened(path, chain) as (store, _):
            if not isinstance(store, SupportsSync):
                _lacks("a later sync")
            store.sync()
            append(store, chain)
            store.sync()
            store.sync()

    def test_the_keys_of_lines(self, path: Path) -> None:
        chain = ChainBuilder(dim=9)
        chain.put(key=[0, 3, 0, 0, -4, 0, 0, 0, 0])
        chain.one_of_each()
        chain.put(key=[1e-40, 0, 0, 0, 0, 0, 0, 0, 3e38])
        with self.opened(path, chain) as (store, _):
            if not isinstance(store, SupportsKeys):
                _lacks("keys of lines read quickly")
            append(store, chain, 0, 7)
            check_keys(store, chain, 7)
            append(store, chain, 7)
            check_keys(store, chain, len(chain.records))
        with self.opened(path, chain) as (store, _):
            assert isinstance(store, SupportsKeys)
            check_keys(store, chain, len(chain.records))

    def test_a_reader_needs_a_store(self, path: Path) -> None:
        with pytest.raises(StoreError):
            self.make_reader(path).open(None, Hasher())

    def test_a_reader_beside_a_writer(self, path: Path) -> None:
        chain = ChainBuilder()
        chain.lines(3)
        with self.opened(path, chain) as (writer, _):
            append(writer, chain)
            with self.followed(path, chain) as (reader, count):
                assert count == 3
                assert reader.read_only
                with pytest.raises(ReadOnlyStoreError):
                    append(reader, chain)
                with pytest.raises(ReadOnlyStoreError):
                    reader.pin("embedder", "e1")
                writer.pin("embedder", "e1")
                assert reader.read(2) == chain.records[2]
            assert writer.read(2) == chain.records[2]

    def test_a_reader_follows(self, path: Path) -> None:
        chain = ChainBuilder()
        chain.lines(3)
        with self.opened(path, chain) as (writer, _):
            append(writer, chain, 0, 2)
            with self.followed(path, chain) as (reader, _):
                if not isinstance(reader, SupportsFollow):
                    _lacks("following a writer")
                assert list(reader.follow()) == []
                append(writer, chain, 2)
                [block] = reader.follow()
                assert (block.first, block.stop) == (2, 3)
                assert block.digest == chain.digest
                assert reader.read(2) == chain.records[2]


def _lacks(power: str) -> NoReturn:
    pytest.skip(f"this store has not got {power}")
