"""Room for large arrays that come and go, beside what the C library keeps for small things.

Of a large block that was freed it concludes that such blocks come and go, and from then on keeps as
much for each thread, in use or not: some megabytes a thread.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from importlib import import_module
from weakref import finalize

import numpy as np
from numpy.typing import NDArray


def fresh_bytes(size: int) -> NDArray[np.uint8]:
    """So many zeros, which take no memory before they are written to, and none when freed."""
    return np.frombuffer(_mapped(size), dtype=np.uint8)[:size]


def _mapped(size: int) -> mmap.mmap:
    return mmap.mmap(-1, max(1, size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def give_back_freed() -> None:
    """Give the system what is free: glibc keeps what was needed for a while, such as for opening.

    With another C library nothing happens.
    """
    # Not worth 10 ms of everybody's import.
    ctypes = import_module("ctypes")
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class RoomPool:
    """Hands out room again once no array is in it any more; used by any threads.

    Fresh room costs more than reading the bytes that are to fill it.
    """

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []

    def bytes(self, size: int) -> NDArray[np.uint8]:
        """Room for so many bytes, with anything in them."""
        room = self._take(size)
        whole = np.frombuffer(room, dtype=np.uint8)
        # Numpy lets every view, and every view of a view, keep this one array alive.
        finalize(whole, self._free.append, room).atexit = False
        return whole[:size]

    def _take(self, size: int) -> mmap.mmap:
        try:
            room = self._free.pop()
        except IndexError:
            return _mapped(size)
        return room if len(room) >= size else _mapped(size)
