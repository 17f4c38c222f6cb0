"""LMDB environments: one for each folder in a process, shared by the stores that have it open.

LMDB forbids to open an environment twice in a process, and to touch it in a forked child. Every
error of LMDB becomes a `StoreError` in `translated`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from threading import Condition, Lock
from typing import TYPE_CHECKING, Final, TypeVar

import lmdb

from pmll_async.errors import (
    CorruptionError,
    FormatError,
    StoreError,
    StoreFullError,
    StoreLockedError,
)
from pmll_async.stores.jsonl import directory
from pmll_async.stores.jsonl.directory import FILE_MODE, FOLDER_MODE, Directory, NotPlainError

if TYPE_CHECKING:
    from lmdb import Transaction, _Database

Value = TypeVar("Value", bytes, memoryview)
DATA: Final = "data.mdb"
COPY: Final = f"{DATA}.tmp"
_LOCKS: Final = "lock.mdb"
_TABLES: Final = (b"meta", b"records", b"rows")
_READERS: Final = 512
"""How many reads may be under way at a time, in all processes together; a slot takes 64 bytes."""
_LEAST_MAP: Final = 1 << 24
"""With less address space than this nothing else in the process works, either."""
_KEY: Final = 8
_COPY_ROOM: Final = 1 << 30
"""Address space for what is added while a copy is made."""


_DAMAGE: Final = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.PageFullError,
    lmdb.BadTxnError,
)
"""LMDB's errors that tell of a damaged file."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns the errors of LMDB and of the system into those of the store at `path`."""
    with directory.translated(str(path)):
        try:
            yield
        except lmdb.MapFullError as exc:
            raise full_map(str(path)) from exc
        except lmdb.ReadersFullError as exc:
            raise StoreError(
                f"{path}: {_READERS} reads are under way, in all processes together, and no more "
                "fit; end some of the readers"
            ) from exc
        except lmdb.MapResizedError as exc:
            raise StoreError(
                f"{path}: its file has outgrown the map that it was opened with; open it again, "
                "with a larger map_bytes"
            ) from exc
        except lmdb.VersionMismatchError as exc:
            raise FormatError(str(path), "another version of LMDB's files") from exc
        except _DAMAGE as exc:
            raise CorruptionError(str(path / DATA), 0, str(exc)) from exc
        except lmdb.Error as exc:
            raise StoreError(f"{path}: {exc}") from exc


def full_map(path: str) -> StoreFullError:
    """The file may not grow beyond its map."""
    return StoreFullError(path, "open it again with a larger map_bytes than its map has now")


def key_of(n: int) -> bytes:
    """The key of record `n`, or of the row that begins with it; keys sort as numbers do."""
    return n.to_bytes(_KEY, "big")


class Environment:
    """An open environment; `users` stores have it. Reads may come from any thread."""

    def __init__(self, folder: Directory, map_bytes: int, *, read_only: bool) -> None:
        self.read_only = read_only
        self._map_bytes = map_bytes
        self.env = self._opened(folder)
        self.users = 0
        self._reads = 0
        self._ended = Condition()
        self._tables: dict[bytes, _Database] = {}

    def has_tables(self) -> bool:
        """Whether this is a store: whoever made the tables wrote a header with them."""
        if not self._tables:
            try:
                found = {name: self.env.open_db(name, create=False) for name in _TABLES}
            except (lmdb.NotFoundError, lmdb.ReadonlyError):
                return False
            self._tables = found
        return True

    @contextmanager
    def making(self) -> Iterator[Transaction[bytes]]:
        """The transaction that makes the tables."""
        with self.env.begin(write=True) as transaction:
            made = {name: self.env.open_db(name, txn=transaction) for name in _TABLES}
            self._tables = made
            yield transaction

    @property
    def meta(self) -> _Database:
        """The table of what is said once about the store."""
        return self._tables[b"meta"]

    @property
    def records(self) -> _Database:
        """The table of frames by record number."""
        return self._tables[b"records"]

    @property
    def rows(self) -> _Database:
        """The table of rows by the number of their first record."""
        return self._tables[b"rows"]

    @contextmanager
    def reading(self) -> Iterator[Transaction[bytes]]:
        """A read transaction."""
        with self._counted(), self._with_a_slot(self.env.begin) as transaction:
            yield transaction

    @contextmanager
    def viewing(self) -> Iterator[Transaction[memoryview]]:
        """A read transaction that gives views into the file, which end with it."""
        with self._counted(), self._with_a_slot(self._begun_for_views) as transaction:
            yield transaction

    def _begun_for_views(self) -> Transaction[memoryview]:
        return self.env.begin(buffers=True)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._ended:
            self._reads += 1
        try:
            yield
        finally:
            with self._ended:
                self._reads -= 1
                self._ended.notify_all()

    def _with_a_slot(self, begin: Callable[[], Transaction[Value]]) -> Transaction[Value]:
        try:
            return begin()
        except lmdb.ReadersFullError:
            # Readers that were killed keep their slots until somebody looks.
            if not self.env.reader_check():
                raise
            return begin()

    def frames(self, transaction: Transaction[Value], first: int, stop: int) -> list[Value]:
        """The frames of records `first` … `stop - 1`; fewer where one is missing at the end."""
        cursor = transaction.cursor(db=self.records)
        if not cursor.set_key(key_of(first)):
            return []
        return list(islice(cursor.iternext(keys=False), stop - first))

    def count(self) -> int:
        """How many records are there."""
        with self.reading() as transaction:
            cursor = transaction.cursor(db=self.records)
            return int.from_bytes(cursor.key(), "big") + 1 if cursor.last() else 0

    def is_broken(self) -> bool:
        """Whether LMDB itself writes no more, because its last page could not be written."""
        try:
            self.env.begin(write=True).abort()
        except lmdb.Error:
            return True
        return False

    def renew(self, folder: Directory) -> None:
        """Give the store another file, which has nothing but what is there now.

        LMDB leaves in its free pages what was in them.
        """
        with folder.created(COPY) as fd:
            self.env.copyfd(fd, compact=True)
            os.fsync(fd)
        self.take_over(folder)

    def take_over(self, folder: Directory) -> None:
        """Let the copy be the store's file.

        Reads wait; those of other processes go on with the old file, until they end.
        """
        with self._ended:
            self._ended.wait_for(lambda: not self._reads)
            folder.rename(COPY, DATA)
            self.env.close()
            self._tables = {}
            self.env = self._opened(folder)
            self.has_tables()
        folder.sync()

    def is_of(self, folder: Directory) -> bool:
        """Whether the folder's file is still the one that is open."""
        facts = folder.stat(DATA)
        return facts is not None and (facts.st_dev, facts.st_ino) == self._file

    def _opened(self, folder: Directory) -> lmdb.Environment:
        env = _mapped(folder, self._map_bytes, read_only=self.read_only)
        facts = folder.stat(DATA)
        self._file = (facts.st_dev, facts.st_ino) if facts else (0, 0)
        try:
            _check_length(folder, env)
        # Whatever stopped it, the environment is nobody's.
        except BaseException:
            env.close()
            raise
        return env

    def close(self) -> None:
        """Close it as soon as no read is under way."""
        with self._ended:
            self._ended.wait_for(lambda: not self._reads)
        self.env.close()


_OPEN: Final[dict[tuple[int, int], Environment]] = {}
_OF_THE_PARENT: Final[dict[tuple[int, int], Environment]] = {}
_GATE: Final = [Lock()]
"""In a list, so that a child of fork, whose parent may have held it, has one of its own."""


def _leave_to_the_parent() -> None:
    _GATE[0] = Lock()
    _OF_THE_PARENT.update(_OPEN)
    _OPEN.clear()


os.register_at_fork(after_in_child=_leave_to_the_parent)


def take(folder: Directory, map_bytes: int, *, writes: bool) -> Environment:
    """The environment in a folder, to be given back; a new one where a writer finds none."""
    place = os.fstat(folder.fd)
    key = place.st_dev, place.st_ino
    with _GATE[0]:
        if key in _OF_THE_PARENT:
            raise StoreError(
                f"{folder.path} was open when this process was forked, and LMDB cannot open it "
                "here again; start the process anew instead (multiprocessing: spawn)"
            )
        found = _OPEN.get(key)
        if found is None:
            found = _OPEN[key] = _opened(folder, map_bytes, writes=writes)
        elif writes and found.read_only:
            raise StoreLockedError(str(folder.path), {}, same_process=True)
        found.users += 1
        return found


def give_back(environment: Environment) -> None:
    """What was taken is needed no more; the last one closes it."""
    with _GATE[0]:
        environment.users -= 1
        if environment.users:
            return
        for key in [key for key, found in _OPEN.items() if found is environment]:
            del _OPEN[key]
        environment.close()


def _opened(folder: Directory, map_bytes: int, *, writes: bool) -> Environment:
    _check_files(folder)
    # What may be written is opened so: a writer in this process will have to share it.
    read_only = not writes and not os.access(folder.place / DATA, os.W_OK)
    return Environment(folder, map_bytes, read_only=read_only)


def _check_files(folder: Directory) -> None:
    for name in (DATA, _LOCKS):
        facts = folder.stat(name)
        if facts is not None and not stat.S_ISREG(facts.st_mode):
            raise NotPlainError(folder.named(name))


def _mapped(folder: Directory, map_bytes: int, *, read_only: bool) -> lmdb.Environment:
    while True:
        try:
            return lmdb.open(
                str(folder.place),
                map_size=map_bytes,
                readonly=read_only,
                mode=FOLDER_MODE,
                create=False,
                max_dbs=len(_TABLES),
                max_readers=_READERS,
                max_spare_txns=1,
            )
        except lmdb.MemoryError:
            # As much as the address space, or its limit (ulimit -v), has left.
            if map_bytes <= _LEAST_MAP:
                raise
            map_bytes //= 4
        except lmdb.Error as exc:
            if "already open" in str(exc):
                raise StoreLockedError(str(folder.path), {}, same_process=True) from exc
            raise


def copy_into(folder: Directory, environment: Environment) -> lmdb.Environment:
    """A new, empty file beside the store's, with its tables, for which nobody else may look.

    Durable only by `sync`. Its map has room for more than what the store's file has now.
    """
    facts = folder.stat(DATA)
    room = 4 * (facts.st_size if facts else 0) + _COPY_ROOM
    with folder.created(COPY):
        pass
    copy = lmdb.open(
        str(folder.place / COPY),
        map_size=min(room, environment.env.info()["map_size"]),
        subdir=False,
        lock=False,
        sync=False,
        metasync=False,
        mode=FILE_MODE,
        max_dbs=len(_TABLES),
    )
    with copy.begin(write=True) as transaction:
        for name in _TABLES:
            copy.open_db(name, txn=transaction)
    return copy


def _check_length(folder: Directory, env: lmdb.Environment) -> None:
    """A page that is mapped but not there would end the process."""
    pages, page = env.info()["last_pgno"] + 1, env.stat()["psize"]
    facts = folder.stat(DATA)
    size = facts.st_size if facts else 0
    if size < pages * page:
        reason = f"it has {size} bytes where {pages * page} belong to it"
        raise CorruptionError(folder.named(DATA), size, reason)
