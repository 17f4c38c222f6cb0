"""The part of a store's conformance suite about erasing."""

# ruff: noqa: D102, S101  # a suite asserts, and the names of its tests are sentences

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import chain as joined
from pathlib import Path
from typing import Any

import pytest

from pmll_async.protocols import (
    DERIVED,
    Store,
    SupportsErase,
    SupportsSidecar,
    SupportsUpkeep,
    SupportsVerify,
    erase_now,
)
from pmll_async.records.blocks import Block
from pmll_async.records.record import Record
from pmll_async.testing.chains import ChainBuilder
from pmll_async.testing.reads import columns_of
from pmll_async.values.anchors import ROOT_DIGEST

SECRET = "the code of the safe is 4711"  # noqa: S105  # what is looked for in files


class ErasingSuite(ABC):
    """What `StoreSuite` inherits; its hooks are explained there."""

    @abstractmethod
    def opened(
        self, path: Path, chain: ChainBuilder, *, header: bool = True
    ) -> AbstractContextManager[tuple[Store, list[Record]]]:
        """The store for the chain, opened and loaded, and its records."""

    @pytest.mark.parametrize("split", [1, 4, 100], ids=["one by one", "several", "one batch"])
    def test_an_erased_line_leaves_its_digests(self, path: Path, split: int) -> None:
        chain, places = _with_secrets()
        with self.opened(path, chain) as (store, _):
            if not isinstance(store, SupportsErase):
                pytest.skip("this store has not got erasing")
            _append(store, chain, split)
            erase_now(store, places)
            _check(store, chain, places)
            chain.put({"after": "erasing"})
            _append(store, chain, 1, len(chain.records) - 1)
            _check(store, chain, places)
        _check_files(path)
        with self.opened(path, chain) as (store, records):
            assert records == _remaining(chain, places)
            _check(store, chain, places)
        assert self._loaded(path, chain) == columns_of(
            [Block.of(_remaining(chain, places), 0, ROOT_DIGEST, chain.dim)]
        )

    def test_what_comes_while_it_is_written_stays(self, path: Path) -> None:
        chain, places = _with_secrets()
        with self.opened(path, chain) as (store, _):
            if not isinstance(store, SupportsErase):
                pytest.skip("this store has not got erasing")
            _append(store, chain, 100)
            erasing = store.erase(places)
            _append_more(store, chain, 40)
            erasing.write()
            # Until it is finished all is as it was.
            assert [store.read(n) for n in range(len(chain.records))] == chain.records
            _append_more(store, chain, 5)
            erasing.finish()
            _check(store, chain, places)
            _append_more(store, chain, 3)
            _check(store, chain, places)
        _check_files(path)
        with self.opened(path, chain) as (store, records):
            assert records == _remaining(chain, places)
            _check(store, chain, places)
            assert store.recovery.clean

    def test_what_was_derived_is_erased_with_it(self, path: Path) -> None:
        chain, places = _with_secrets()
        with self.opened(path, chain) as (store, _):
            if not isinstance(store, SupportsErase) or not isinstance(store, SupportsSidecar):
                pytest.skip("this store has not got erasing, or nothing beside it")
            _append(store, chain, 100)
            derived = [place for name in DERIVED if (place := store.sidecar(name)) is not None]
            for place in derived:
                place.path.write_text(SECRET)
            erase_now(store, places)
            assert not [place for place in derived if place.path.exists()]

    def test_erasing_again_is_fine(self, path: Path) -> None:
        chain, places = _with_secrets()
        with self.opened(path, chain) as (store, _):
            if not isinstance(store, SupportsErase):
                pytest.skip("this store has not got erasing")
            _append(store, chain, 100)
            for n, gone in places.items():
                erase_now(store, {n: gone})
            erase_now(store, places)
            _check(store, chain, places)

    def _loaded(self, path: Path, chain: ChainBuilder) -> dict[str, Any]:
        store = self.make_store(path)
        store.open(chain.header, chain.hasher)
        try:
            return columns_of(list(store.load()))
        finally:
            store.close()

    @abstractmethod
    def make_store(self, path: Path) -> Store:
        """An unopened store at `path`."""


Places = dict[int, set[int]]


def _with_secrets() -> tuple[ChainBuilder, Places]:
    """A log, and where its records have secrets."""
    chain = ChainBuilder(dim=9, value_dim=2)
    chain.one_of_each()
    told = chain.put({"text": SECRET}, idempotency_key=SECRET)
    noted = chain.note({"text": SECRET})
    raced = chain.race([{"text": "won"}, {"text": SECRET}])
    lost = chain.race([{"text": SECRET}, {"text": "lost"}], idempotency_key=SECRET)
    packed = chain.put({"text": SECRET}, key=[0, 3, 0, 0, -4, 0, 0, 0, 0])
    chain.lines(20)
    chain.erase(
        told.line.anchor,
        noted.line.anchor,
        raced.entries[1].anchor,
        lost.entries[0].anchor,
        packed.line.anchor,
    )
    erased = {told: {0}, noted: {0}, raced: {1}, lost: {0}, packed: {0}}
    numbers = {id(record): n for n, record in enumerate(chain.records)}
    return chain, {numbers[id(each)]: places for each, places in erased.items()}


def _append(store: Store, chain: ChainBuilder, size: int, first: int = 0) -> None:
    for start in range(first, len(chain.records), size):
        stop = min(start + size, len(chain.records))
        store.append(chain.records[start:stop], chain.block(start, stop))


def _append_more(store: Store, chain: ChainBuilder, count: int) -> None:
    """New records, one by one, as a lattice has them stored."""
    for _ in range(count):
        chain.put({"text": "beside"})
        _append(store, chain, 1, len(chain.records) - 1)
        if isinstance(store, SupportsUpkeep):
            store.keep_up()


def _remaining(chain: ChainBuilder, places: Places) -> list[Record]:
    return [record.erased(places.get(n, ())) for n, record in enumerate(chain.records)]


def _check(store: Store, chain: ChainBuilder, places: Places) -> None:
    records = _remaining(chain, places)
    assert [store.read(n) for n in range(len(records))] == records
    contexts = [line.content.context for record in records for line in record.lines]
    assert list(joined.from_iterable(store.contexts(0, len(records)))) == contexts
    if isinstance(store, SupportsVerify):
        report = store.verify(chain.hasher)
        erased = [line.anchor for record in records for line in record.lines if line.content.erased]
        assert (report.status, report.findings) == ("clean", ())
        assert (report.digest, report.erased) == (chain.digest.hex(), tuple(erased))


def _check_files(path: Path) -> None:
    data = b"\n".join(_files(path))
    for start in range(3):
        # In base64 a text looks in three ways, by where it begins.
        encoded = base64.b64encode(bytes(start) + SECRET.encode())[4:-4]
        assert encoded not in data
    assert SECRET.encode() not in data


def _files(path: Path) -> Iterator[bytes]:
    return (file.read_bytes() for file in path.rglob("*") if file.is_file())
