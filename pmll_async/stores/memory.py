"""A store that lives and dies with its process: for tests, scratch lattices and measurements."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pmll_async.errors import DimensionMismatchError, StoreLockedError, WrongKeyError
from pmll_async.protocols import Erasing, Left, Recovery, StoreHeader
from pmll_async.records.blocks import Block
from pmll_async.records.chain import Dimensions
from pmll_async.records.checking import check_records
from pmll_async.records.findings import Report, Watch
from pmll_async.records.record import Record
from pmll_async.values.anchors import ROOT_DIGEST, Hasher
from pmll_async.values.concert import Float32


class MemoryStore:
    """Keeps its records in a list; one lattice at a time may open it, again and again."""

    path = "memory"
    read_only = False

    def __init__(self) -> None:
        self._header: StoreHeader | None = None
        self._records: list[Record] = []
        self._open = False
        self._keyring: bytes | None = None
        self.recovery = Recovery()

    def open(self, header: StoreHeader | None, hasher: Hasher) -> StoreHeader:
        if self._open:
            raise StoreLockedError(self.path, {}, same_process=True)
        if self._header is None:
            if header is None:
                raise DimensionMismatchError("the lattice", None, None)
            self._header = replace(header, store_id=header.store_id or uuid.uuid4().hex)
        if self._header.key_check != hasher.check_value():
            raise WrongKeyError(self.path, bool(self._header.key_check))
        self._open = True
        return self._header

    @property
    def _dim(self) -> int:
        return self._header.dim if self._header else 0

    def load(self) -> Iterator[Block]:
        self.recovery = Recovery(records=len(self._records))
        if self._records:
            yield Block.of(self._records, 0, ROOT_DIGEST, self._dim)

    def append(self, records: Sequence[Record], block: Block) -> None:
        self._records.extend(records)

    def erase(self, places: Mapping[int, Collection[int]], left: Left | None = None) -> Erasing:
        return _MemoryErasing(self._records, places, left)

    def pin(self, name: str, value: str) -> None:
        if self._header is not None:
            self._header = self._header.with_pin(name, value)

    def read(self, n: int) -> Record:
        return self._records[n]

    def keys(self, records: NDArray[np.int64], places: NDArray[np.int64]) -> Float32:
        chosen = zip(records.tolist(), places.tolist(), strict=True)
        keys = [self._records[n].lines[place].content.key for n, place in chosen]
        return np.frombuffer(b"".join(keys), dtype="<f4").reshape(len(keys), self._dim)

    def contexts(self, first: int, stop: int) -> Iterator[Sequence[bytes]]:
        for n in range(first, stop):
            yield [line.content.context for line in self._records[n].lines]

    def verify(self, hasher: Hasher, watch: Watch | None = None) -> Report:
        header = self._header
        dimensions = Dimensions(header.dim if header else 0, header.value_dim if header else 0)
        name = header.store_id if header else ""
        return check_records(tuple(self._records), hasher, dimensions, name, watch)

    def read_keyring(self) -> bytes | None:
        return self._keyring

    def begin_keyring(self, data: bytes) -> None:
        if self._keyring is None:
            self._keyring = data

    def replace_keyring(self, data: bytes) -> None:
        self._keyring = data

    def close(self) -> None:
        # The records stay for the next opening.
        self._open = False


class _MemoryErasing:
    """Makes what is left of records, and then puts it in their places."""

    def __init__(
        self,
        records: list[Record],
        places: Mapping[int, Collection[int]],
        left: Left | None,
    ) -> None:
        self._records, self._places, self._left = records, places, left
        self._made = dict[int, Record]()

    def write(self) -> None:
        for n, places in self._places.items():
            record = self._records[n]
            self._made[n] = record.erased(places) if self._left is None else self._left(n, record)

    def finish(self) -> None:
        for n, record in self._made.items():
            self._records[n] = record
