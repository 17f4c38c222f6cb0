"""What a text index is made of: columns and numbered names, which only grow.

One thread adds. Any may read what was there when it began, without a lock.
"""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)
_FIRST_ROOM: Final = 64  # a memory of a few lines never grows its columns


class GrowingColumn(Generic[Number]):
    """An array that grows at its end; a view of it stays as it was."""

    def __init__(self, dtype: type[Number]) -> None:
        self._array: NDArray[Number] = np.empty(_FIRST_ROOM, dtype)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def extend(self, items: NDArray[Any]) -> None:
        """Append; where there is no room, in a larger array, which older views do not see."""
        stop = self._length + len(items)
        if stop > len(self._array):
            # An eighth more each time: copying stays cheap, and little is left empty.
            grown = np.empty(stop + stop // 8, self._array.dtype)
            grown[: self._length] = self.view()
            self._array = grown
        self._array[self._length : stop] = items
        self._length = stop

    def view(self) -> NDArray[Number]:
        """All so far; shares memory."""
        return self._array[: self._length]


class Numbering:
    """Numbers what it is told, such as terms, from 0 on; `vocabulary` has it all by number."""

    def __init__(self) -> None:
        self.vocabulary: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int | None:
        """The number of a name; None if it has none."""
        return self._numbers.get(name)

    def numbered(self, name: str) -> int:
        """The number of a name, a new one for a new name."""
        number = self._numbers.get(name)
        if number is None:
            # The name goes in first: a reader that finds the number must find the name.
            number = len(self.vocabulary)
            self.vocabulary.append(name)
            self._numbers[name] = number
        return number
