"""Arrays that only grow, so that readers of an older length need no lock."""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)
_FIRST_ROOM: Final = 64
_SORTED_FROM: Final = 512
"""So many anchors at once are kept in sorted order (8 bytes each) and not in a dict (125)."""


class GrowingArray(Generic[Number]):
    """An append-only array; `view(n)` stays valid and unchanged while the column grows."""

    __slots__ = ("_array", "_length")

    def __init__(self, dtype: type[Number]) -> None:
        self._array: NDArray[Number] = np.empty(_FIRST_ROOM, dtype=dtype)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, item: Any) -> None:
        """Append one item; a fifth of what `extend` costs for it."""
        if self._length == len(self._array):
            self._make_room(self._length + 1)
        self._array[self._length] = item
        self._length += 1

    def extend(self, items: NDArray[Any]) -> None:
        """Append; what earlier views show does not move."""
        stop = self._length + len(items)
        if stop > len(self._array):
            self._make_room(stop)
        self._array[self._length : stop] = items
        self._length = stop

    def _make_room(self, stop: int) -> None:
        grown = np.empty(stop + stop // 8 + 16, dtype=self._array.dtype)
        grown[: self._length] = self._array[: self._length]
        self._array = grown

    def view(self) -> NDArray[Number]:
        """All items so far; shares memory, for reading only."""
        return self._array[: self._length]

    def own(self) -> NDArray[Number]:
        """The items in a fresh copy that may be changed before it is shown to readers."""
        self._array = self._array.copy()
        return self.view()


class AnchorMap:
    """Finds lines by anchor. Several have the same after a rollback and the same put again.

    Over the column of all anchors (uint64, by line). What came in bulk, while loading, is found
    through its sorted order, what came since through a dict.
    """

    def __init__(self, anchors: GrowingArray[np.uint64]) -> None:
        self._anchors = anchors
        self._order = np.empty(0, dtype=np.intp)
        self._in_bulk = 0
        self._recent: dict[int, list[int] | int] = {}

    def extend(self, first: int, stop: int) -> None:
        """Lines `first` … `stop - 1` have joined the column."""
        if stop - first >= _SORTED_FROM and not self._recent and not len(self._order):
            self._in_bulk = stop
            return
        for line, anchor in enumerate(self._anchors.view()[first:stop].tolist(), first):
            self.add(anchor, line)

    def add(self, anchor: int, line: int) -> None:
        """One line has joined the column."""
        known = self._recent.get(anchor)
        if known is None:
            self._recent[anchor] = line
        else:
            self._recent[anchor] = [*(known if isinstance(known, list) else [known]), line]

    def settle(self) -> None:
        """Sort what came in bulk; what comes later goes to the dict."""
        self._order = np.argsort(self._anchors.view()[: self._in_bulk], kind="stable")

    def find(self, anchor: str, limit: int) -> list[int]:
        """The lines below `limit` with this anchor, the newest first; nearly always one at most."""
        number = int(anchor, 16)
        known = self._recent.get(number, [])
        lines = [known] if isinstance(known, int) else known
        if not lines or self._in_bulk:
            lines = [*self._find_in_bulk(np.uint64(number)), *lines]
        return [line for line in reversed(lines) if line < limit]

    def _find_in_bulk(self, number: np.uint64) -> list[int]:
        order = self._order
        if len(order) < self._in_bulk:
            self.settle()
            order = self._order
        anchors = self._anchors.view()[: len(order)]
        first = np.searchsorted(anchors, number, sorter=order)
        stop = np.searchsorted(anchors, number, side="right", sorter=order)
        found: list[int] = order[first:stop].tolist()
        return found
