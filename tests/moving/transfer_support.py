"""Exports and what an import says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pmll_async import StoreFullError
from pmll_async.errors import MalformedExportError
from pmll_async.moving.transfer import export_records, import_records
from pmll_async.records.blocks import Block
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.stores.memory import MemoryStore
from pmll_async.values.anchors import Hasher

PLAIN = Hasher()
RECORDS = 10
"""How many `make_lattice` makes."""


def exported(path: Path, hasher: Hasher = PLAIN) -> list[str]:
    return list(export_records(JsonlStore(path, read_only=True), hasher))


def refusal(lines: list[Any], store: Any = None) -> MalformedExportError:
    with pytest.raises(MalformedExportError) as caught:
        import_records(lines, store or MemoryStore(), PLAIN)
    return caught.value


def with_line(lines: list[str], number: int, line: str) -> list[str]:
    return [*lines[: number - 1], line, *lines[number:]]


def edited(lines: list[str], number: int, **fields: object) -> list[str]:
    """The export with fields of one line changed, None for taken away."""
    record = json.loads(lines[number - 1]) | fields
    kept = {name: value for name, value in record.items() if value is not None}
    text = json.dumps(kept, ensure_ascii=False, separators=(",", ":"))
    return with_line(lines, number, text + "\n")


def line_of(lines: list[str], op: str) -> int:
    return next(n for n, line in enumerate(lines, 1) if f'"op":"{op}"' in line)


class Batches(MemoryStore):
    """Remembers how it was written to, and fails where it is told to."""

    def __init__(self, room: int = 1_000_000) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self._room = room

    def append(self, records: Any, block: Block) -> None:
        if sum(self.sizes) + len(records) > self._room:
            raise StoreFullError(self.path)
        self.sizes.append(len(records))
        super().append(records, block)
