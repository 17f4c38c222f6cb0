"""Leaves: L_n of every record of one lattice, which seals and proofs are made of.

What is committed brings its leaf along. Those of before are in a file beside the store, which is
believed as far as folding its leaves gives the lattice's own digest; else the records are read.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from pmll_async.integrity.merkle import ENTRY_BYTES
from pmll_async.loop.breathing import Breather
from pmll_async.protocols import Store, SupportsSidecar
from pmll_async.records.blocks import Block, RecordBlock
from pmll_async.records.record import leaf
from pmll_async.values.anchors import ROOT_DIGEST, fold_all

FILE: Final = "leaves.bin"
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK


class Leaves:
    """Grows in one thread; asked for all, and kept, in any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first = 0
        """Of this record and all behind it the leaves are at hand."""
        self._known = bytearray()

    def extend(self, block: Block) -> None:
        """The next records."""
        with self._lock:
            if isinstance(block, RecordBlock):
                self._known += block.leaves
            else:
                self._first, self._known = block.stop, bytearray()

    def upto(self, store: Store, records: int, digest: bytes) -> bytes:
        """The leaves of the first `records` records, whose digest is this; blocks."""
        with self._lock:
            first, known = self._first, bytes(self._known)
        if first:
            kept = _read(store, first)
            since = known[: (records - first) * ENTRY_BYTES]
            if kept is None or fold_all(ROOT_DIGEST, kept + since) != digest:
                kept = _leaves_of(store, first)
            known = kept + known
            with self._lock:
                # Another thread may have done so meanwhile.
                if self._first == first:
                    self._first, self._known = 0, bytearray(kept + bytes(self._known))
        return known[: records * ENTRY_BYTES]

    def keep(self, store: Store) -> None:
        """Leave in the file what the next opening need not read; blocks, and raises nothing."""
        place = store.sidecar(FILE) if isinstance(store, SupportsSidecar) else None
        if place is None or place.read_only:
            return
        with self._lock:
            first, known = self._first, bytes(self._known)
        if not known:
            return
        with suppress(OSError):
            _append(place.path, first, known)


def _read(store: Store, records: int) -> bytes | None:
    place = store.sidecar(FILE) if isinstance(store, SupportsSidecar) else None
    if place is None:
        return None
    size = records * ENTRY_BYTES
    with suppress(OSError), os.fdopen(os.open(place.path, _READ), "rb") as file:
        data = file.read(size)
        return data if len(data) == size else None
    return None


def _append(path: Path, first: int, known: bytes) -> None:
    with os.fdopen(os.open(path, _WRITE, 0o600), "wb") as file:
        there = os.fstat(file.fileno()).st_size // ENTRY_BYTES
        # What is missing between is read from the log at the next seal.
        if there >= first:
            file.seek(first * ENTRY_BYTES)
            file.write(known)
            file.truncate()


def _leaves_of(store: Store, stop: int) -> bytes:
    breathe, leaves = Breather(), list[bytes]()
    for n in range(stop):
        breathe()
        leaves.append(leaf(store.read(n)))
    return b"".join(leaves)
