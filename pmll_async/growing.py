"""Arrays that only grow, so that readers of an older length need no lock."""

from __future__ import annotations

import threading
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)
_FIRST_ROOM: Final = 64
_SORTED_FROM: Final = 512
"""So many anchors at once are kept as a sorted array (16 bytes each) and not in a dict (125)."""


class Column(Generic[Number]):
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
        grown = np.empty(stop + stop // 4 + 1, dtype=self._array.dtype)
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
    """Anchors (uint64) to line numbers; of equal anchors the newest below a limit.

    Many at once lie in sorted arrays, merged when first asked; few at once in a dict.
    """

    def __init__(self) -> None:
        self._sorted = (np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64))
        self._pending: list[tuple[NDArray[np.uint64], int]] = []
        self._recent: dict[int, list[int] | int] = {}
        self._merging = threading.Lock()

    def extend(self, anchors: NDArray[np.uint64], first: int) -> None:
        """Add the anchors of consecutive lines from `first` on."""
        if len(anchors) >= _SORTED_FROM and not self._recent:
            with self._merging:
                self._pending.append((anchors, first))
            return
        for line, anchor in enumerate(anchors.tolist(), first):
            self.add(anchor, line)

    def add(self, anchor: int, line: int) -> None:
        """Add the anchor of one line."""
        known = self._recent.get(anchor)
        if known is None:
            self._recent[anchor] = line
        else:
            self._recent[anchor] = [*(known if isinstance(known, list) else [known]), line]

    def find(self, anchor: str, limit: int) -> int | None:
        """The newest line below `limit` with this anchor."""
        number = int(anchor, 16)
        known = self._recent.get(number)
        if isinstance(known, int):
            if known < limit:
                return known
        elif known is not None:
            lines = [line for line in known if line < limit]
            if lines:
                return lines[-1]
        return self._find_sorted(number, limit)

    def _find_sorted(self, number: int, limit: int) -> int | None:
        if self._pending:
            with self._merging:
                self._merge()
        anchors, lines = self._sorted
        wanted = np.uint64(number)
        first, stop = np.searchsorted(anchors, wanted), np.searchsorted(anchors, wanted, "right")
        below = lines[first:stop]
        below = below[below < limit]
        return int(below[-1]) if len(below) else None

    def _merge(self) -> None:
        pending = self._pending
        numbers = [np.arange(first, first + len(a), dtype=np.int64) for a, first in pending]
        anchors = np.concatenate([self._sorted[0], *(a for a, _ in pending)])
        lines = np.concatenate([self._sorted[1], *numbers])
        order = np.argsort(anchors, kind="stable")
        self._sorted = (anchors[order], lines[order])
        self._pending = []
