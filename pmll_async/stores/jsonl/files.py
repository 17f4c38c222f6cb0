"""Open files for reading, shared by all threads, and closed when nobody reads."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import Any, Final

import numpy as np

from pmll_async.errors import StoreError

_KEPT: Final = 64
"""How many files stay open: a log of any length must not use up a process's descriptors."""


class _OpenFile:
    __slots__ = ("fd", "users")

    def __init__(self, fd: int) -> None:
        self.fd, self.users = fd, 0


class Files:
    """Reads by position from the files of one folder; `close` waits for reads under way."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: OrderedDict[str, _OpenFile] = OrderedDict()
        self._condition = Condition()
        self._closed = False

    def read(self, name: str, size: int, offset: int) -> bytes:
        """Up to `size` bytes; fewer only where the file ends."""
        with self._using(name) as fd:
            data = os.pread(fd, size, offset)
            while len(data) < size:
                more = os.pread(fd, size - len(data), offset + len(data))
                if not more:
                    break
                data += more
            return data

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

    def close(self) -> None:
        """Close all files as soon as no read is under way; later reads raise `StoreError`."""
        with self._condition:
            self._closed = True
            self._condition.wait_for(lambda: not any(f.users for f in self._files.values()))
            for file in self._files.values():
                os.close(file.fd)
            self._files.clear()

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
                self._condition.notify_all()

    def _take(self, name: str) -> _OpenFile:
        if self._closed:
            raise StoreError(f"{self._folder} is closed; open it again")
        file = self._files.get(name)
        if file is None:
            self._drop_idle()
            file = self._files[name] = _OpenFile(os.open(self._folder / name, os.O_RDONLY))
        else:
            self._files.move_to_end(name)
        return file

    def _drop_idle(self) -> None:
        excess = max(0, len(self._files) - _KEPT + 1)
        idle = [name for name, file in self._files.items() if not file.users]
        for name in idle[:excess]:
            os.close(self._files.pop(name).fd)
