"""The JSONL store: a log of records in a folder of plain files (design, section 7)."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.errors import (
    CorruptionError,
    DimensionMismatchError,
    InvalidInputError,
    ReadOnlyStoreError,
    StoreError,
    StoreLockedError,
    WrongKeyError,
)
from pmll_async.protocols import Erasing, Left, Recovery, Sidecar, StoreHeader
from pmll_async.records.blocks import Block
from pmll_async.records.findings import Report, Watch
from pmll_async.records.record import Record
from pmll_async.stores.jsonl.blockfile import BlockFile
from pmll_async.stores.jsonl.cache import Cache
from pmll_async.stores.jsonl.directory import (
    Directory,
    make_durable_folder,
    store_folder,
    translated,
)
from pmll_async.stores.jsonl.files import Files
from pmll_async.stores.jsonl.folder import (
    LOCK,
    STORE,
    FolderHeader,
    Manifest,
    SegmentEntry,
    read_manifest,
    read_store,
    write_manifest,
    write_store,
)
from pmll_async.stores.jsonl.gather import read_keys
from pmll_async.stores.jsonl.keyring import begin_keyring, read_keyring, write_keyring
from pmll_async.stores.jsonl.loader import Loader, LoadPlan
from pmll_async.stores.jsonl.lock import WriterLock
from pmll_async.stores.jsonl.log import Log
from pmll_async.stores.jsonl.recovery import mend
from pmll_async.stores.jsonl.segments import Table, locate, plain_table, segment_name
from pmll_async.stores.jsonl.writer import Sync, Writer
from pmll_async.values.anchors import ROOT_DIGEST, Hasher
from pmll_async.values.concert import Float32

PACKS: Final = True
"""New stores pack their keys; the tests also make them as earlier releases did."""
SEGMENT_BYTES: Final = 64 * 1024 * 1024
CACHE_RECORDS: Final = 1024
# So many contexts of a log at once are little memory, and few enough turns of the loop that asks.
_RECORDS: Final = 256
# A writer that recovers is done with what it replaces within this tenth of a second.
_ATTEMPTS: Final = 5
_PAUSE: Final = 0.02


@dataclass(slots=True)
class _Session:
    """What is open between `open` and `close`; `writer` comes with the end of `load`."""

    pid: int
    header: FolderHeader
    hasher: Hasher
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
        self._path, self.path = Path(path), str(Path(path))
        self._sync: Sync = sync
        self.read_only = read_only
        self._lock_timeout = lock_timeout
        self._segment_bytes, self._cache_records = segment_bytes, cache_records
        self._session: _Session | None = None
        self.recovery = Recovery()

    def open(self, header: StoreHeader | None, hasher: Hasher) -> StoreHeader:
        if self._session is not None:
            raise StoreLockedError(self.path, {}, same_process=True)
        with translated(self.path), ExitStack() as stack:
            if not self.read_only:
                _prepare_folder(self._path, header)
            folder = store_folder(self._path)
            stack.callback(folder.close)
            lock = None if self.read_only else WriterLock(folder)
            if lock is not None:
                stack.callback(lock.release)
                lock.acquire(self._lock_timeout)
            stored = _find_header(folder, header, hasher, creates=not self.read_only)
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
        with translated(self.path):
            plan = yield from loader.blocks(self._plan(session))
            torn = Recovery()
            if session.lock is not None:
                torn = mend(session.folder, log, session.cache, plan)
                session.cache.trim()
                log.forget_chain()
                session.writer = Writer(
                    session.folder,
                    log,
                    session.cache,
                    session.lock,
                    store_id=session.header.store_id,
                    sync=self._sync,
                    segment_bytes=self._segment_bytes,
                )
            self.recovery = replace(
                torn, records=log.records, replayed=loader.parsed, clean=plan.clean
            )
            session.loaded = True

    def follow(self) -> Iterator[Block]:
        session = self._opened()
        # A writer knows everything already.
        if session.lock is None and session.loaded:
            with translated(self.path):
                yield from session.loader.blocks(self._plan(session))

    def append(self, records: Sequence[Record], block: Block) -> None:
        _, writer = self._writing()
        if records:
            with translated(self.path):
                writer.append(records, block)

    def erase(self, places: Mapping[int, Collection[int]], left: Left | None = None) -> Erasing:
        from pmll_async.stores.jsonl.rewriting import Place, Rewriting  # noqa: PLC0415  # opening needs it not

        session, writer = self._writing()
        place = Place(
            session.folder,
            session.files,
            session.header,
            session.hasher,
            session.log,
            session.cache,
            writer,
            self._segment_bytes // 16,
        )
        return Rewriting(place, places, left)

    def pin(self, name: str, value: str) -> None:
        session, writer = self._writing()
        header = session.header.with_pin(name, value)
        if header is not session.header:
            with translated(self.path):
                writer.pin(header.pins)
            session.header = header

    def sync(self) -> None:
        """Make durable what `append` only wrote (`sync="os"`); cheap when there is nothing."""
        writer = self._opened().writer
        if writer is not None:
            with translated(self.path):
                writer.sync()

    def keep_up(self) -> None:
        writer = self._opened().writer
        if writer is not None:
            writer.keep_up()

    def read(self, n: int) -> Record:
        session = self._opened()
        with translated(self.path):
            return session.log.read(n)

    def keys(self, records: NDArray[np.int64], places: NDArray[np.int64]) -> Float32:
        session = self._opened()
        with translated(self.path):
            log, dim = session.log, session.header.dim
            return log.steadily(read_keys, log, session.files, records, places, dim)

    def contexts(self, first: int, stop: int) -> Iterator[Sequence[bytes]]:
        session = self._opened()
        with translated(self.path):
            while first < stop:
                found = session.cache.contexts(first, stop)
                if found is None:
                    found = session.log.contexts(first, min(stop, first + _RECORDS))
                contexts, first = found
                yield contexts

    def verify(self, hasher: Hasher, watch: Watch | None = None) -> Report:
        from pmll_async.stores.jsonl.verify.store import check  # noqa: PLC0415  # opening needs no checks

        self._opened()
        return check(self._path, hasher, watch=watch)

    def log_size(self, records: int) -> int:
        return self._opened().log.place_of(records)

    def sidecar(self, name: str) -> Sidecar | None:
        folder = self._opened().folder
        # Another folder may have taken the path, and belong to anybody.
        return Sidecar(folder.place / name, self.read_only) if folder.is_at_its_path() else None

    def read_keyring(self) -> bytes | None:
        return read_keyring(self._path)

    def begin_keyring(self, data: bytes) -> None:
        begin_keyring(self._path, data, self._lock_timeout)

    def replace_keyring(self, data: bytes) -> None:
        write_keyring(self._opened().folder, data, read_only=self.read_only)

    def close(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        with translated(self.path), ExitStack() as stack:
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
        if self.read_only:
            raise ReadOnlyStoreError(self.path)
        session = self._opened()
        if session.writer is None:
            raise StoreError(f"{self.path} is not loaded to its end; load it before writing")
        return session, session.writer

    def _begin(
        self,
        folder: Directory,
        header: FolderHeader,
        hasher: Hasher,
        lock: WriterLock | None,
        files: Files,
    ) -> _Session:
        most, writes = self._cache_records, lock is not None

        def relocate() -> Table:
            return locate(folder, read_manifest(folder, header.store_id))

        log = Log(folder, files, header, hasher, None if writes else relocate)
        file = BlockFile(files, header, hasher)
        cache = Cache(folder, files, file, block_records=most, writes=writes)
        loader = Loader(folder, header.store_id, log, cache, most)
        return _Session(os.getpid(), header, hasher, folder, lock, files, log, cache, loader)

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


def _prepare_folder(path: Path, header: StoreHeader | None) -> None:
    """The folder for a writer. Without a header, and nothing there, nothing is made."""
    if header is not None:
        make_durable_folder(path)
    elif not any((path / name).exists() for name in (STORE, LOCK)):
        raise DimensionMismatchError("the lattice", None, None)


def _find_header(
    folder: Directory, header: StoreHeader | None, hasher: Hasher, *, creates: bool
) -> FolderHeader:
    """The stored header, or the given one after making a store of it; the key is checked."""
    if folder.stat(STORE) is None:
        # A crash while a store is made leaves an empty log; one with records has lost its header.
        if plain_table(folder).stop:
            raise CorruptionError(folder.named(STORE), 0, "the file is missing beside a log")
        if not creates:
            raise StoreError(f"{folder.path} is not a store")
        if header is None:
            raise DimensionMismatchError("the lattice", None, None)
        return _create(folder, header, hasher)
    stored = read_store(folder)
    if stored.key_check != hasher.check_value():
        raise WrongKeyError(str(folder.path), bool(stored.key_check))
    return stored


def _create(folder: Directory, header: StoreHeader, hasher: Hasher) -> FolderHeader:
    """Make a store; `store.json` comes last, and with it there is one."""
    made = FolderHeader(
        dim=header.dim,
        value_dim=header.value_dim,
        key_check=hasher.check_value(),
        store_id=header.store_id or uuid.uuid4().hex,
        created=header.created or time.time(),
        pins=header.pins,
        novelty_window=header.novelty_window,
        packed=PACKS,
    )
    name = segment_name(1)
    folder.write_synced(name, b"")
    entry = SegmentEntry(name, 0, 0, ROOT_DIGEST.hex())
    write_manifest(folder, Manifest(made.store_id, (entry,)))
    write_store(folder, made)
    return made
