"""The writer's lock: `flock` on a file that is never removed, and what the holder says of itself.

`flock` belongs to the open file and not to the process, so that a second lattice in one process is
kept out as well (`lockf` would let it in). The folder itself is locked, too: so whoever deletes or
replaces LOCK lets nobody in. The holder writes who it is and, after every batch, how many records
are durable. Only a reader beside it uses that number; nothing is recovered by it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pmll_async.errors import StoreLockedError, StoreMovedError
from pmll_async.loop.logs import logger
from pmll_async.stores.jsonl.directory import Directory
from pmll_async.stores.jsonl.folder import LOCK
from pmll_async.stores.jsonl.frames import BadFrameError, close_line, decode_object

# `flock` can wait for ever or not at all: a wait with an end has to ask again and again.
_POLL: Final = 0.01
# `verify` asks whether there is a writer by holding a shared lock for a moment; an opener that
# meets it must not take it for one. A holder that has just locked also says who it is by then.
_GRACE: Final = 0.03
# The holder's line has some 200 bytes; whatever else is in the file need not fit in memory.
_LARGEST: Final = 4096
_NO_FOLDER_LOCKS: Final = frozenset(
    {errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
)
"""What file systems say that lock files alone, such as NFS."""


@dataclass(frozen=True, slots=True)
class Holder:
    """What LOCK says: who opened the store for writing, when, and how many records are durable."""

    pid: int
    host: str
    started: float
    durable: int

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, a process of this host."""
        return self.host == socket.gethostname()

    @property
    def same_process(self) -> bool:
        """Whether that is this process."""
        return self.pid == os.getpid() and self.is_here

    @property
    def has_ended(self) -> bool:
        """Whether no such process is left on this host; of another host nothing is known."""
        if not self.is_here:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            pass
        return False


class WriterLock:
    """Held from `acquire` to `release`, by the process that made it."""

    def __init__(self, folder: Directory) -> None:
        self._folder = folder
        self._fd = -1
        self._pid = os.getpid()
        self._prefix = b""
        self._before = b""
        self._files = (0, 0), (0, 0)
        _HELD.add(self)

    def acquire(self, timeout: float) -> None:
        """Lock the store, waiting up to `timeout` seconds for another writer to leave."""
        deadline = time.monotonic() + max(timeout, _GRACE)
        while not self._try():
            if time.monotonic() >= deadline:
                raise locked_error(self._folder)
            time.sleep(_POLL)
        self._before = os.pread(self._fd, _LARGEST, 0)
        host, started = json.dumps(socket.gethostname()), json.dumps(time.time())
        self._prefix = f'{{"pid":{self._pid},"host":{host},"started":{started}'.encode()
        lock, home = os.fstat(self._fd), os.fstat(self._folder.fd)
        self._files = (lock.st_dev, lock.st_ino), (home.st_dev, home.st_ino)
        # A killed holder's number stays until `load` knows a better one: readers see no step back.
        previous = _parse(self._before)
        # Written before it is cut, so that a reader never finds it empty.
        os.ftruncate(self._fd, self._write(previous.durable if previous else 0))

    def announce(self, durable: int) -> None:
        """Tell readers how many records are durable; the text has always the same length."""
        self._before = b""
        try:
            self._write(durable)
        # Readers see less than there is: nothing that a writer should fail for.
        except OSError as exc:
            path = str(self._folder.path)
            logger("pmll.jsonl").warning("store.lock.unwritable", path=path, error=str(exc))

    def check(self) -> None:
        """Raise `StoreMovedError` unless LOCK is the one that is held, in the folder at the path.

        Two looks at what is there, about 4 µs.
        """
        folder = self._folder
        with suppress(OSError):
            # Straight to the system: this is on every commit's way.
            lock = os.stat(LOCK, dir_fd=folder.fd, follow_symlinks=False)
            home = os.stat(folder.place)  # noqa: PTH116  # nor through pathlib
            if ((lock.st_dev, lock.st_ino), (home.st_dev, home.st_ino)) == self._files:
                return
        if not self._is_ours(folder.stat(LOCK), folder):
            raise StoreMovedError(str(folder.path), "its LOCK was removed or replaced")
        if not folder.is_at_its_path() and not self._is_ours_at(folder.place):
            raise StoreMovedError(str(folder.path), "its folder was moved, removed or replaced")

    def release(self) -> None:
        """Empty the file, or leave it as it was if nothing was announced, and unlock it.

        Without `acquire` it does nothing, and a child of fork leaves the parent's lock alone.
        """
        if self._fd < 0:
            return
        if self._pid != os.getpid():
            self.abandon()
            return
        try:
            os.pwrite(self._fd, self._before, 0)
            os.ftruncate(self._fd, len(self._before))
            # A child of a fork in C shares the open files: closing ours would not unlock them.
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            fcntl.flock(self._folder.fd, fcntl.LOCK_UN)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close LOCK and leave the lock to who else has it open: in a child of fork, the parent.

        Only descriptors are closed here: a child may not wait for a lock that another thread held.
        """
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
            self._folder.close()

    def _write(self, durable: int) -> int:
        line = close_line(b'%b,"durable":%20d' % (self._prefix, durable))
        return os.pwrite(self._fd, line, 0)

    def _try(self) -> bool:
        locks_folders = True
        try:
            if not _lock(self._folder.fd, fcntl.LOCK_EX):
                return False
        except OSError as exc:
            if exc.errno not in _NO_FOLDER_LOCKS:
                raise
            locks_folders = False
        fd = -1
        try:
            fd = self._folder.open(LOCK, os.O_RDWR | os.O_CREAT)
            if os.fstat(fd).st_nlink > 1 and locks_folders:
                # A hard-linked copy of the folder: its owner's lock is on the same file.
                self._fd = self._own_file(fd)
            elif _lock(fd, fcntl.LOCK_EX) and self._is_there(fd):
                self._fd, fd = fd, -1
        finally:
            if fd >= 0:
                os.close(fd)
            if self._fd < 0 and locks_folders:
                fcntl.flock(self._folder.fd, fcntl.LOCK_UN)
        return self._fd >= 0

    def _own_file(self, linked: int) -> int:
        """A locked LOCK that no other folder has, in the place of one that several have."""
        with self._folder.created(f"{LOCK}.tmp") as fd:
            os.write(fd, os.pread(linked, _LARGEST, 0))
        fd = self._folder.open(f"{LOCK}.tmp", os.O_RDWR)
        try:
            _lock(fd, fcntl.LOCK_EX)
            self._folder.rename(f"{LOCK}.tmp", LOCK)
        # Whatever stopped it, the descriptor is nobody's.
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _is_there(self, fd: int) -> bool:
        # The file may have been removed and made anew between the opening and the locking.
        there = self._folder.stat(LOCK)
        return there is not None and os.path.samestat(there, os.fstat(fd))

    def _is_ours(self, there: os.stat_result | None, folder: Directory) -> bool:
        if there is None:
            return False
        if os.path.samestat(there, os.fstat(self._fd)):
            return True
        # Some file systems give one file several numbers (FUSE, overlays): then it is what it says.
        with suppress(OSError):
            return folder.read(LOCK, _LARGEST).startswith(self._prefix)
        return False

    def _is_ours_at(self, path: Path) -> bool:
        try:
            folder = Directory(path)
        except OSError:
            return False
        try:
            return self._is_ours(folder.stat(LOCK), folder)
        finally:
            folder.close()


_HELD: Final[weakref.WeakSet[WriterLock]] = weakref.WeakSet()


def _leave_to_the_parent() -> None:
    for lock in _HELD:
        lock.abandon()


os.register_at_fork(after_in_child=_leave_to_the_parent)


def locked_error(folder: Directory) -> StoreLockedError:
    """Who holds the lock, as far as it can be found out."""
    holder = read_holder(folder)
    facts: dict[str, Any] = {}
    if holder is not None:
        facts = {"pid": holder.pid, "host": holder.host, "started": holder.started}
        heir = heir_of(folder, holder)
        if heir is not None:
            facts |= {"pid": heir, "heir_of": holder.pid}
    return StoreLockedError(
        str(folder.path), facts, same_process=holder is not None and holder.same_process
    )


def heir_of(folder: Directory, holder: Holder) -> int | None:
    """A process that has the lock of a holder that has ended: a child that it left behind.

    A fork in C, as some servers make it, gives a child the parent's locks. None where the holder
    lives, and where the system does not tell who has a file open.
    """
    lock = folder.stat(LOCK) if holder.has_ended else None
    if lock is None:
        return None
    with suppress(OSError):
        for process in sorted(Path("/proc").glob("[1-9]*")):
            if int(process.name) != os.getpid() and _has_open(process, lock):
                return int(process.name)
    return None


def _has_open(process: Path, file: os.stat_result) -> bool:
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            # Some of another process's may have been closed meanwhile.
            with suppress(OSError):
                if os.path.samestat(descriptor.stat(), file):
                    return True
    return False


def read_holder(folder: Directory) -> Holder | None:
    """What LOCK says, or None when no writer has written it or is writing it right now."""
    try:
        return _parse(folder.read(LOCK, _LARGEST))
    except FileNotFoundError:
        return None


def _parse(content: bytes) -> Holder | None:
    # A crash between writing and cutting may leave the end of a longer line behind the new one.
    line, newline, _ = content.partition(b"\n")
    try:
        fields = decode_object(line + newline)
        kinds = {"pid": int, "host": str, "started": float, "durable": int}
        if fields.keys() != kinds.keys():
            return None
        if not all(type(fields[name]) is kind for name, kind in kinds.items()):
            return None
        return Holder(**fields) if fields["durable"] >= 0 and fields["pid"] > 0 else None
    except BadFrameError:
        return None


def has_writer(folder: Directory) -> bool:
    """Whether someone holds the lock at this moment."""
    try:
        with folder.opened(LOCK, os.O_RDONLY) as fd:
            if not _lock(fd, fcntl.LOCK_SH):
                return True
            fcntl.flock(fd, fcntl.LOCK_UN)
            return False
    except FileNotFoundError:
        return False


def _lock(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
