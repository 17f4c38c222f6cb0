"""Arrays that only grow, so that readers of an older length need no lock."""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)
_FIRST_ROOM: Final = 64
"""A memory of a few lines never grows its columns."""


def with_room(array: NDArray[Number], length: int, stop: int) -> NDArray[Number]:
    """A copy of the first `length` items with room for `stop` of them and some more."""
    # An eighth more than is wanted: a line is copied eight times in its life, and no more memory
    # than that stands empty.
    grown = np.empty(stop + stop // 8 + 16, dtype=array.dtype)
    grown[:length] = array[:length]
    return grown


class GrowingArray(Generic[Number]):
    """An append-only array; what `view` showed stays valid and unchanged while it grows."""

    __slots__ = ("_array", "_length")

    def __init__(self, dtype: type[Number]) -> None:
        self._array: NDArray[Number] = np.empty(_FIRST_ROOM, dtype=dtype)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def extend(self, items: NDArray[Any]) -> None:
        """Append; what earlier views show does not move."""
        start, stop = self._length, self._length + len(items)
        if stop > len(self._array):
            self._array = with_room(self._array, start, stop)
        self._array[start:stop] = items
        self._length = stop

    def view(self) -> NDArray[Number]:
        """All items so far; shares memory, for reading only."""
        return self._array[: self._length]
