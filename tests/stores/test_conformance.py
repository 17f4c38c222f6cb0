from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import google_crc32c
import pytest

from pmll_async.protocols import Store, StoreHeader
from pmll_async.records.parser import decode_record, parse_object
from pmll_async.records.record import Record, encode_record
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import StoreSuite
from pmll_async.values.anchors import Hasher


class TestMemoryStore(StoreSuite):
    """A memory store is its own storage, so the same path means the same object."""

    @cached_property
    def stores(self) -> dict[Path, MemoryStore]:
        return {}

    def make_store(self, path: Path) -> Store:
        return self.stores.setdefault(path, MemoryStore())

    def plant(self, path: Path, header: StoreHeader, records: Sequence[Record]) -> None:
        store = self.stores.setdefault(path, MemoryStore())
        store.open(header, Hasher())
        store.close()
        store._records.extend(records)

    def raw(self, path: Path) -> list[Record]:
        return list(self.stores[path]._records)


@pytest.mark.usefixtures("both_formats")
class TestJsonlStore(StoreSuite):
    def make_store(self, path: Path) -> Store:
        return JsonlStore(path)

    def make_reader(self, path: Path) -> Store:
        return JsonlStore(path, read_only=True)

    def plant(self, path: Path, header: StoreHeader, records: Sequence[Record]) -> None:
        store = self.make_store(path)
        store.open(header, Hasher())
        list(store.load())
        store.close()
        lines = [framed(n, record) for n, record in enumerate(records)]
        log = min(path.glob("log-*.jsonl"), default=path / "log-00000001.jsonl")
        log.write_bytes(b"".join(lines))

    def raw(self, path: Path) -> list[Record]:
        lines = [
            line
            for log in sorted(path.glob("log-*.jsonl"))
            for line in log.read_bytes().splitlines(keepends=True)
        ]
        for n, line in enumerate(lines):
            body, found, check = line.rpartition(b',"c":"')
            assert found
            assert check == b'%08x"}\n' % google_crc32c.value(body)
            assert json.loads(line)["n"] == n
        return [decode_record(parse_object(line), Hasher()) for line in lines]


def framed(n: int, record: Record) -> bytes:
    """A log line as the format says, written without the store."""
    body = encode_record(record, f'"n":{n},"d":{n},').encode()
    return body + b',"c":"%08x"}\n' % google_crc32c.value(body)
