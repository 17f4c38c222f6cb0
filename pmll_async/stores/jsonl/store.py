"""The JSONL store: a log of records in a folder of plain files (design, section 7)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pmll_async.errors import (
    CorruptionError,
    InvalidInputError,
    ReadOnlyStoreError,
    StoreError,
    StoreLockedError,
)
from pmll_async.protocols import Recovery, Sidecar, StoreHeader
from pmll_async.records.blocks import Block
from pmll_async.records.record import Record
from pmll_async.stores.jsonl.cache import BlockFile, Cache
from pmll_async.stores.jsonl.directory import Directory
from pmll_async.stores.jsonl.entry import find_header, prepare_folder
from pmll_async.stores.jsonl.files import Files
from pmll_async.stores.jsonl.folder import read_manifest, translated
from pmll_async.stores.jsonl.loader import Loader, LoadPlan
from pmll_async.stores.jsonl.lock import WriterLock
from pmll_async.stores.jsonl.log import Log
from pmll_async.stores.jsonl.recovery import mend
from pmll_async.stores.jsonl.segments import Table, locate
from pmll_async.stores.jsonl.writer import Sync, Writer
from pmll_async.values.anchors import Hasher

SEGMENT_BYTES: Final = 64 * 1024 * 1024
CACHE_RECORDS: Final = 1024
_RECORDS: Final = 256
_ATTEMPTS: Final = 5
_PAUSE: Final = 0.02


@dataclass(slots=True)
class _Session:
    """What is open between `open` and `close`; `writer` comes with the end of `load`."""

    pid: int
    header: StoreHeader
    folder: Directory
    lock: WriterLock | None
    files: Files
    log: Log
    cache: Cache
    loader: Loader
    loaded: bool = False
    writer: Writer | None = None


class JsonlStore:
    """The default store; `Store` and the `Supports…` protocols say what its methods promise.

    `sync="group"` makes every batch durable before `append` returns, `"os"` leaves that to `sync`,
    which its owner calls about every second. `lock_timeout` is how many seconds `open` waits for
    another writer. A segment of `segment_bytes` is full; a block of the cache has about
    `cache_records` records. A `read_only` store takes no lock, writes nothing and sees what is
    durable.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sync: Sync = "group",
        read_only: bool = False,
        lock_timeout: float = 0.0,
        segment_bytes: int = SEGMENT_BYTES,
        cache_records: int = CACHE_RECORDS,
    ) -> None:
        if sync not in ("group", "os"):
            raise InvalidInputError(f'sync is "group" or "os", not {sync!r}')
        self._path = Path(path)
        self._sync: Sync = sync
        self._read_only = read_only
        self._lock_timeout = lock_timeout
        self._segment_bytes, self._cache_records = segment_bytes, cache_records
        self._session: _Session | None = None
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
            stored = find_header(folder, header, hasher, creates=not self._read_only)
            files = Files(folder)
            stack.callback(files.close)
            self._session = self._begin(folder, stored, hasher, lock, files)
            stack.pop_all()
        return stored

    def load(self) -> Iterator[Block]:
        session = self._opened()
        if session.loaded:
            raise StoreError(f"{self.path} is loaded already; follow it, or open it again")
        log, loader = session.log, session.loader
        with translated(self._path):
            plan = yield from loader.blocks(self._plan(session))
            torn = (
                Recovery()
                if session.lock is None
                else mend(session.folder, log, session.cache, plan)
            )
            self._recovery = replace(
                torn, records=log.records, replayed=loader.parsed, clean=plan.clean
            )
            if session.lock is not None:
                session.cache.trim()
                log.forget_chain()
                session.writer = self._writer(session, session.lock)
            session.loaded = True

    def follow(self) -> Iterator[Block]:
        """See `SupportsFollow.follow`; a writer knows everything already."""
        session = self._opened()
        if session.lock is None and session.loaded:
            with translated(self._path):
                yield from session.loader.blocks(self._plan(session))

    def append(self, records: Sequence[Record], block: Block) -> None:
        _, writer = self._writing()
        if records:
            with translated(self._path):
                writer.append(records, block)

    def pin(self, name: str, value: str) -> None:
        session, writer = self._writing()
        header = session.header.with_pin(name, value)
        if header is not session.header:
            with translated(self._path):
                writer.pin(header.pins)
            session.header = header

    def sync(self) -> None:
        """Make durable what `append` only wrote (`sync="os"`); cheap when there is nothing."""
        writer = self._opened().writer
        if writer is not None:
            with translated(self._path):
                writer.sync()

    def read(self, n: int) -> Record:
        session = self._opened()
        with translated(self._path):
            return session.log.read(n)

    def contexts(self, first: int, stop: int) -> Iterator[Sequence[bytes]]:
        session = self._opened()
        with translated(self._path):
            while first < stop:
                found = session.cache.contexts(first, stop)
                if found is None:
                    found = session.log.contexts(first, min(stop, first + _RECORDS))
                contexts, first = found
                yield contexts

    def sidecar(self, name: str) -> Sidecar | None:
        folder = self._opened().folder
        # Another folder may have taken the path, and belong to anybody.
        return Sidecar(folder.place / name, self._read_only) if folder.is_at_its_path() else None

    def close(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        with translated(self._path), ExitStack() as stack:
            stack.callback(session.folder.close)
            if session.lock is not None:
                stack.callback(session.lock.release)
            if session.pid != os.getpid():
                # A child of fork writes nothing, and waits for no reader that it has not got.
                return
            stack.callback(session.files.close)
            stack.callback(session.cache.close)
            if session.writer is not None:
                stack.callback(session.writer.close)

    def _opened(self) -> _Session:
        session = self._session
        if session is None:
            raise StoreError(f"{self.path} is not open")
        if session.pid != os.getpid():
            raise StoreError(f"{self.path} was opened before fork; open it in this process")
        return session

    def _writing(self) -> tuple[_Session, Writer]:
        if self._read_only:
            raise ReadOnlyStoreError(self.path)
        session = self._opened()
        if session.writer is None:
            raise StoreError(f"{self.path} is not loaded to its end; load it before writing")
        return session, session.writer

    def _opened_folder(self, header: StoreHeader | None) -> Directory:
        if not self._read_only:
            prepare_folder(self._path, header)
        try:
            return Directory(self._path)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise StoreError(f"{self._path} is not a store") from exc

    def _begin(
        self,
        folder: Directory,
        header: StoreHeader,
        hasher: Hasher,
        lock: WriterLock | None,
        files: Files,
    ) -> _Session:
        writes = lock is not None

        def relocate() -> Table:
            return locate(folder, read_manifest(folder, header.store_id))

        log = Log(folder, files, header, hasher, None if writes else relocate)
        cache = Cache(
            folder,
            files,
            BlockFile(files, header, hasher),
            block_records=self._cache_records,
            writes=writes,
        )
        loader = Loader(folder, header.store_id, log, cache, self._cache_records)
        return _Session(os.getpid(), header, folder, lock, files, log, cache, loader)

    def _writer(self, session: _Session, lock: WriterLock) -> Writer:
        return Writer(
            session.folder,
            session.log,
            session.cache,
            lock,
            store_id=session.header.store_id,
            sync=self._sync,
            segment_bytes=self._segment_bytes,
        )

    def _plan(self, session: _Session) -> LoadPlan:
        if session.lock is not None:
            return session.loader.plan(whole=True)
        for _ in range(_ATTEMPTS):
            try:
                return session.loader.plan(whole=False)
            except (CorruptionError, FileNotFoundError):
                # A writer may be recovering or taking back a record that found no room; what is
                # damaged stays so.
                time.sleep(_PAUSE)
        return session.loader.plan(whole=False)
