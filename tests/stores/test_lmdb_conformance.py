from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lmdb_tools import LmdbStore, frames_of, key_of, table

from pmll_async.protocols import Store, StoreHeader
from pmll_async.records.record import Record
from pmll_async.stores.lmdb.frames import decode_frame, encode_frame
from pmll_async.testing import StoreSuite
from pmll_async.values.anchors import Hasher


class TestLmdbStore(StoreSuite):
    def make_store(self, path: Path) -> Store:
        return LmdbStore(path)

    def make_reader(self, path: Path) -> Store:
        return LmdbStore(path, read_only=True)

    def plant(self, path: Path, header: StoreHeader, records: Sequence[Record]) -> None:
        store = self.make_store(path)
        store.open(header, Hasher())
        list(store.load())
        store.close()
        with table(path, b"records", write=True) as planted:
            for n, record in enumerate(records):
                planted.put(key_of(n), encode_frame(record, n))

    def raw(self, path: Path) -> list[Record]:
        return [decode_frame(frame, n, Hasher()) for n, frame in enumerate(frames_of(path))]
