"""Open files for reading, shared by all threads, and closed when nobody reads."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Condition
from typing import Any, ClassVar, Final

import numpy as np

from pmll_async.errors import StoreError
from pmll_async.stores.jsonl.directory import Directory

_KEPT: Final = 64
"""How many files of one store stay open: no log may use up a process's descriptors."""
_KEPT_IN_ALL: Final = 256
"""And how many of all stores of the process; beyond them a file is opened for each reading."""


class _OpenFile:
    __slots__ = ("fd", "users")

    def __init__(self, fd: int) -> None:
        self.fd, self.users = fd, 0


class Files:
    """Reads by position from the files of one folder; `close` waits for reads under way."""

    _open_in_all: ClassVar[int] = 0
    """About how many all stores have: threads of several may lose a count of each other."""

    def __init__(self, folder: Directory) -> None:
        self._folder = folder
        self._files: OrderedDict[str, _OpenFile] = OrderedDict()
        self._condition = Condition()
        self._closed = False

    def read(self, name: str, size: int, offset: int) -> bytes:
        """Up to `size` bytes; fewer only where the file ends."""
        with self._using(name) as fd:
            return _pread(fd, size, offset)

    def read_many(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """`read` for many spans, each an offset and a size."""
        with self._using(name) as fd:
            # What is not in memory comes from the disk all together, in a tenth of the time.
            for offset, size in spans if len(spans) > 1 else ():
                os.posix_fadvise(fd, offset, size, os.POSIX_FADV_WILLNEED)
            return [_pread(fd, size, offset) for offset, size in spans]

    def read_into(self, name: str, array: np.ndarray[Any, Any], offset: int) -> bool:
        """Fill an array; False where the file ends before it is full."""
        if not array.size:
            return True
        view = array.data.cast("B")
        with self._using(name) as fd:
            while view:
                taken = os.preadv(fd, [view], offset)
                if not taken:
                    return False
                view, offset = view[taken:], offset + taken
        return True

    def forget(self, name: str) -> None:
        """Open a file anew when it is read next, since another has its name now."""
        with self._condition:
            self._condition.wait_for(lambda: name not in self._files or not self._files[name].users)
            if name in self._files:
                self._close(name)

    def close(self) -> None:
        """Close all files as soon as no read is under way; later reads raise `StoreError`."""
        with self._condition:
            self._closed = True
            self._condition.wait_for(lambda: not any(f.users for f in self._files.values()))
            for name in list(self._files):
                self._close(name)

    @contextmanager
    def _using(self, name: str) -> Iterator[int]:
        with self._condition:
            file = self._take(name)
            file.users += 1
        try:
            yield file.fd
        finally:
            with self._condition:
                file.users -= 1
                if not file.users and Files._open_in_all > _KEPT_IN_ALL:
                    self._close(name)
                self._condition.notify_all()

    def _take(self, name: str) -> _OpenFile:
        if self._closed:
            raise StoreError(f"{self._folder.path} is closed; open it again")
        file = self._files.get(name)
        if file is None:
            self._drop_idle()
            file = self._files[name] = _OpenFile(self._folder.open(name, os.O_RDONLY))
            Files._open_in_all += 1
        else:
            self._files.move_to_end(name)
        return file

    def _drop_idle(self) -> None:
        excess = max(0, len(self._files) - _KEPT + 1)
        idle = [name for name, file in self._files.items() if not file.users]
        for name in idle[:excess]:
            self._close(name)

    def _close(self, name: str) -> None:
        Files._open_in_all -= 1
        os.close(self._files.pop(name).fd)


def _pread(fd: int, size: int, offset: int) -> bytes:
    data = os.pread(fd, size, offset)
    # A signal, or a network file system, may cut a read short.
    while len(data) < size:
        more = os.pread(fd, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data
