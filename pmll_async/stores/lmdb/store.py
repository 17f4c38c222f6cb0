"""The LMDB store: records by number in a memory-mapped file."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.errors import (
    DimensionMismatchError,
    ReadOnlyStoreError,
    StoreError,
    StoreLockedError,
)
from pmll_async.protocols import Erasing, Left, Recovery, Sidecar, StoreHeader
from pmll_async.records.blocks import Block
from pmll_async.records.findings import Report, Watch
from pmll_async.records.record import Record
from pmll_async.stores.jsonl.directory import Directory, make_durable_folder
from pmll_async.stores.jsonl.folder import STORE as JSONL_STORE
from pmll_async.stores.jsonl.keyring import begin_keyring, read_keyring, write_keyring
from pmll_async.stores.jsonl.lock import WriterLock
from pmll_async.stores.lmdb.environment import DATA, Environment, give_back, take, translated
from pmll_async.stores.lmdb.header import find_header, is_marked_open
from pmll_async.stores.lmdb.loader import LmdbLoader
from pmll_async.stores.lmdb.rows import GatheredRows, RowForm
from pmll_async.stores.lmdb.writer import LmdbWriter
from pmll_async.values.anchors import Hasher
from pmll_async.values.concert import Float32

MAP_BYTES: Final = 1 << 38
"""A hundred million lines of 384 dimensions. Address space alone: 128 TiB of it hold 500 such."""


@dataclass(slots=True)
class _OpenLmdb:
    """What is open between `open` and `close`; `writer` comes with the end of `load`."""

    pid: int
    header: StoreHeader
    hasher: Hasher
    folder: Directory
    lock: WriterLock | None
    environment: Environment
    form: RowForm
    loader: LmdbLoader
    loaded: bool = False
    writer: LmdbWriter | None = None


class LmdbStore:
    """One file in a folder, binary and mapped into memory; see `Store` and `SupportsFollow`.

    Every batch is durable before `append` returns. `lock_timeout` is how many seconds `open` waits
    for another writer. A `read_only` store needs no lock and follows a writer, in this process or
    another. The file may grow to `map_bytes`, of which only address space is reserved, and less
    where there is not so much.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        lock_timeout: float = 0.0,
        map_bytes: int = MAP_BYTES,
    ) -> None:
        self._path = Path(path)
        self._read_only, self._lock_timeout = read_only, lock_timeout
        self._map_bytes = map_bytes
        self._session: _OpenLmdb | None = None
        self._recovery = Recovery()

    @property
    def path(self) -> str:
        return str(self._path)

    @property
    def read_only(self) -> bool:
        return self._read_only

    @property
    def recovery(self) -> Recovery:
        return self._recovery

    def open(self, header: StoreHeader | None, hasher: Hasher) -> StoreHeader:
        if self._session is not None:
            raise StoreLockedError(self.path, {}, same_process=True)
        with translated(self._path), ExitStack() as stack:
            folder = self._opened_folder(header)
            stack.callback(folder.close)
            lock = None if self._read_only else WriterLock(folder)
            if lock is not None:
                stack.callback(lock.release)
                lock.acquire(self._lock_timeout)
                _own_data(folder)
            environment = take(folder, self._map_bytes, writes=lock is not None)
            stack.callback(give_back, environment)
            stored = find_header(folder, environment, header, hasher, creates=lock is not None)
            form = RowForm(stored, hasher)
            loader = LmdbLoader(folder, environment, stored, hasher, form)
            self._session = _OpenLmdb(
                os.getpid(), stored, hasher, folder, lock, environment, form, loader
            )
            stack.pop_all()
        return stored

    def load(self) -> Iterator[Block]:
        session = self._opened()
        if session.loaded:
            raise StoreError(f"{self.path} is loaded already; follow it, or open it again")
        with translated(self._path):
            clean = not is_marked_open(session.environment)
            loader, gathered = session.loader, GatheredRows(session.form)
            for run in loader.runs():
                if session.lock is not None:
                    gathered.take(run)
                yield run.block
            self._recovery = Recovery(records=loader.records, replayed=loader.parsed, clean=clean)
            if session.lock is not None:
                loader.forget_chain()
                session.writer = LmdbWriter(
                    session.folder,
                    session.environment,
                    session.lock,
                    session.form,
                    records=loader.records,
                    dim=session.header.dim,
                    gathered=gathered,
                )
            session.loaded = True

    def follow(self) -> Iterator[Block]:
        """See `SupportsFollow.follow`; a writer knows everything already."""
        session = self._opened()
        if session.lock is None and session.loaded:
            with translated(self._path):
                for run in session.loader.runs():
                    yield run.block

    def append(self, records: Sequence[Record], block: Block) -> None:
        _, writer = self._writing()
        if records:
            with translated(self._path):
                writer.append(records, block)

    def erase(self, places: Mapping[int, Collection[int]], left: Left | None = None) -> Erasing:
        from pmll_async.stores.lmdb.rewriting import LmdbRewriting  # noqa: PLC0415  # opening needs it not

        session, writer = self._writing()
        read, hasher = session.loader.read, session.hasher
        return LmdbRewriting(
            session.folder, session.environment, writer, hasher, read, places, left
        )

    def pin(self, name: str, value: str) -> None:
        session, writer = self._writing()
        header = session.header.with_pin(name, value)
        if header is not session.header:
            with translated(self._path):
                writer.pin(header.pins)
            session.header = header

    def read(self, n: int) -> Record:
        session = self._opened()
        with translated(self._path):
            return session.loader.read(n)

    def keys(self, records: NDArray[np.int64], places: NDArray[np.int64]) -> Float32:
        session = self._opened()
        with translated(self._path):
            return session.loader.keys(records, places)

    def contexts(self, first: int, stop: int) -> Iterator[Sequence[bytes]]:
        session = self._opened()
        with translated(self._path):
            while first < stop:
                contexts, first = session.loader.contexts(first, stop)
                yield contexts

    def sidecar(self, name: str) -> Sidecar | None:
        folder = self._opened().folder
        return Sidecar(folder.place / name, self.read_only) if folder.is_at_its_path() else None

    def verify(self, hasher: Hasher, watch: Watch | None = None) -> Report:
        from pmll_async.stores.lmdb.verify import check  # noqa: PLC0415  # it imports this

        self._opened()
        return check(self._path, hasher, watch=watch)

    def read_keyring(self) -> bytes | None:
        return read_keyring(self._path)

    def begin_keyring(self, data: bytes) -> None:
        _refuse_jsonl(self._path)
        begin_keyring(self._path, data, self._lock_timeout)

    def replace_keyring(self, data: bytes) -> None:
        write_keyring(self._opened().folder, data, read_only=self.read_only)

    def close(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        with translated(self._path), ExitStack() as stack:
            stack.callback(session.folder.close)
            if session.lock is not None:
                stack.callback(session.lock.release)
            if session.pid != os.getpid():
                # A child of fork must not touch what LMDB has open.
                return
            stack.callback(give_back, session.environment)
            if session.writer is not None:
                stack.callback(session.writer.close)

    def _opened(self) -> _OpenLmdb:
        session = self._session
        if session is None:
            raise StoreError(f"{self.path} is not open")
        if session.pid != os.getpid():
            raise StoreError(
                f"{self.path} was opened before fork, and LMDB cannot be used in the child; start "
                "the process anew instead (multiprocessing: spawn)"
            )
        return session

    def _writing(self) -> tuple[_OpenLmdb, LmdbWriter]:
        if self._read_only:
            raise ReadOnlyStoreError(self.path)
        session = self._opened()
        if session.writer is None:
            raise StoreError(f"{self.path} is not loaded to its end; load it before writing")
        return session, session.writer

    def _opened_folder(self, header: StoreHeader | None) -> Directory:
        if self._read_only:
            return existing_folder(self._path)
        _refuse_jsonl(self._path)
        if header is not None:
            make_durable_folder(self._path)
        elif not _has_data(self._path):
            raise DimensionMismatchError("the lattice", None, None)
        return Directory(self._path)


def existing_folder(path: Path) -> Directory:
    """The folder of a store that is there; `StoreError` where there is none."""
    _refuse_jsonl(path)
    if not _has_data(path):
        raise StoreError(f"{path} is not a store")
    return Directory(path)


def _refuse_jsonl(path: Path) -> None:
    if (path / JSONL_STORE).exists():
        raise StoreError(f"{path} is a JSONL store; open it with Lattice(JsonlStore(path))")


def _has_data(path: Path) -> bool:
    data = path / DATA
    return data.is_file() and data.stat().st_size > 0


def _own_data(folder: Directory) -> None:
    """Give the folder a data file of its own where a hard-linked copy shares it."""
    facts = folder.stat(DATA)
    if facts is not None and facts.st_nlink > 1:
        folder.copy([(DATA, 0, facts.st_size)], DATA)
