"""The writer's lock: `flock` on a file that is never removed, and what the holder says of itself.

`flock` belongs to the open file and not to the process, so that a second lattice in one process is
kept out as well (`lockf` would let it in). The holder writes who it is and, after every batch, how
many records are durable. Only a reader beside it uses that number; nothing is recovered by it.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pmll_async.errors import StoreLockedError
from pmll_async.stores.jsonl.folder import LOCK
from pmll_async.stores.jsonl.framing import BadFrameError, close_line, decode_object

_POLL: Final = 0.01
# `verify` asks whether there is a writer by holding a shared lock for a moment; an opener that
# meets it must not take it for one. A holder that has just locked also says who it is by then.
_GRACE: Final = 0.03
_LARGEST: Final = 4096


@dataclass(frozen=True, slots=True)
class Holder:
    """What LOCK says: who opened the store for writing, when, and how many records are durable."""

    pid: int
    host: str
    started: float
    durable: int

    @property
    def same_process(self) -> bool:
        """Whether that is this process."""
        return self.pid == os.getpid() and self.host == socket.gethostname()


class WriterLock:
    """Held from `acquire` to `release`, by the process that made it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fd = -1
        self._pid = os.getpid()
        self._prefix = b""
        self._before = b""

    def acquire(self, timeout: float) -> None:
        """Lock the store, waiting up to `timeout` seconds for another writer to leave."""
        deadline = time.monotonic() + max(timeout, _GRACE)
        while not self._try():
            if time.monotonic() >= deadline:
                raise self._locked()
            time.sleep(_POLL)
        self._before = os.pread(self._fd, _LARGEST, 0)
        host, started = json.dumps(socket.gethostname()), json.dumps(time.time())
        self._prefix = f'{{"pid":{self._pid},"host":{host},"started":{started}'.encode()
        # A killed holder's number stays until `load` knows a better one: readers see no step back.
        previous = _parse(self._before)
        os.ftruncate(self._fd, self._write(previous.durable if previous else 0))

    def announce(self, durable: int) -> None:
        """Tell readers how many records are durable; the text has always the same length."""
        self._before = b""
        self._write(durable)

    def release(self) -> None:
        """Empty the file, or leave it as it was if nothing was announced, and unlock it.

        Without `acquire` it does nothing, and in a child of fork it leaves the parent's lock alone.
        """
        if self._fd < 0:
            return
        try:
            if self._pid == os.getpid():
                os.pwrite(self._fd, self._before, 0)
                os.ftruncate(self._fd, len(self._before))
                # Children of fork share the open file: closing it alone would not unlock it.
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        finally:
            os.close(self._fd)
            self._fd = -1

    def _write(self, durable: int) -> int:
        line = close_line(b'%b,"durable":%20d' % (self._prefix, durable))
        return os.pwrite(self._fd, line, 0)

    def _try(self) -> bool:
        path = self._folder / LOCK
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if _lock(fd, fcntl.LOCK_EX) and _is_still(path, fd):
            self._fd = fd
            return True
        os.close(fd)
        return False

    def _locked(self) -> StoreLockedError:
        holder = read_holder(self._folder)
        facts: dict[str, Any] = {}
        if holder is not None:
            facts = {"pid": holder.pid, "host": holder.host, "started": holder.started}
        return StoreLockedError(
            str(self._folder), facts, same_process=holder is not None and holder.same_process
        )


def read_holder(folder: Path) -> Holder | None:
    """What LOCK says, or None when no writer has written it or is writing it right now."""
    try:
        with (folder / LOCK).open("rb") as file:
            return _parse(file.read(_LARGEST))
    except FileNotFoundError:
        return None


def _parse(content: bytes) -> Holder | None:
    # A crash between writing and cutting may leave the end of a longer line behind the new one.
    line, newline, _ = content.partition(b"\n")
    try:
        return Holder(**decode_object(line + newline))
    except (BadFrameError, TypeError):
        return None


def has_writer(folder: Path) -> bool:
    """Whether someone holds the lock at this moment."""
    try:
        fd = os.open(folder / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        if not _lock(fd, fcntl.LOCK_SH):
            return True
        fcntl.flock(fd, fcntl.LOCK_UN)
        return False
    finally:
        os.close(fd)


def _lock(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(path: Path, fd: int) -> bool:
    # The folder may have been removed and made anew between the opening and the locking.
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False
