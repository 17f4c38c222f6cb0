"""Arrays that only grow, so that readers of an older length need no lock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.loop.breathing import Breather
from pmll_async.values.arrays import with_room

_SAMPLED: Final = 64
"""Of so many anchors in order one is kept in order: those between are looked at, in 1 µs."""


class GrowingColumns:
    """Columns of one length that begin as arrays, and grow together.

    Each is contiguous, because rankings scan single ones: through the fields of one array of rows
    that takes several times as long.
    """

    __slots__ = ("_columns", "_length", "_room")

    def __init__(self, *columns: NDArray[Any]) -> None:
        self._length = len(columns[0])
        self._make_room(columns, self._length)

    def __len__(self) -> int:
        return self._length

    def append(self, *row: float) -> None:
        """Append a row; what earlier views show does not move."""
        at = self._length
        if at == self._room:
            self._make_room(self._columns, at + 1)
        for column, value in zip(self._columns, row, strict=True):
            column[at] = value
        self._length = at + 1

    def extend(self, *columns: NDArray[Any]) -> None:
        """Append rows, given by their columns."""
        start, stop = self._length, self._length + len(columns[0])
        if stop > self._room:
            self._make_room(self._columns, stop)
        for column, items in zip(self._columns, columns, strict=True):
            column[start:stop] = items
        self._length = stop

    def _make_room(self, columns: Sequence[NDArray[Any]], stop: int) -> None:
        self._columns = [with_room(column, self._length, stop) for column in columns]
        self._room = len(self._columns[0])

    def view(self, length: int | None = None) -> list[NDArray[Any]]:
        """The columns of the first rows, or all; they share memory, for reading only."""
        stop = self._length if length is None else length
        return [column[:stop] for column in self._columns]

    def own(self) -> list[NDArray[Any]]:
        """The columns in fresh copies, which may be changed before they are shown to readers."""
        self._columns = [column.copy() for column in self._columns]
        return self.view()


class AnchorMap:
    """Finds lines by anchor. Several have the same after a rollback and the same put again."""

    def __init__(self, anchors: NDArray[np.uint64]) -> None:
        # Those that were there at the beginning take 4 bytes each, in a dict it would be 125.
        order = np.argsort(anchors, kind="stable")
        self._anchors, self._lines = anchors, order.astype(np.int32)
        self._sample = anchors[order[::_SAMPLED]]
        self._recent: dict[int, list[int] | int] = {}

    def add(self, anchor: int, line: int) -> None:
        """A further line."""
        known = self._recent.get(anchor)
        if known is None:
            self._recent[anchor] = line
        else:
            # A new list, since a reader may be looking at the one before.
            self._recent[anchor] = [*(known if isinstance(known, list) else [known]), line]

    def find(self, anchor: str, limit: int) -> list[int]:
        """The lines below `limit` with this anchor, the newest first; nearly always one at most."""
        number = int(anchor, 16)
        wanted = np.uint64(number)
        start = (int(np.searchsorted(self._sample, wanted)) - 1) * _SAMPLED
        stop = int(np.searchsorted(self._sample, wanted, side="right")) * _SAMPLED
        return self._between(number, start, stop, limit)

    def find_all(self, anchors: Sequence[str], limit: int) -> list[list[int]]:
        """`find` for each of many anchors, in half the time."""
        numbers, breathe = [int(anchor, 16) for anchor in anchors], Breather()
        wanted = np.array(numbers, dtype=np.uint64)
        starts = (np.searchsorted(self._sample, wanted) - 1) * _SAMPLED
        stops = np.searchsorted(self._sample, wanted, side="right") * _SAMPLED
        found = list[list[int]]()
        for number, start, stop in zip(numbers, starts.tolist(), stops.tolist(), strict=True):
            breathe()
            found.append(self._between(number, start, stop, limit))
        return found

    def _between(self, number: int, start: int, stop: int, limit: int) -> list[int]:
        """The lines with an anchor that stands, if at all, within these places of the order."""
        lines = list[int]()
        if stop:
            some = self._lines[max(0, start) : stop]
            lines = some[self._anchors[some] == np.uint64(number)].tolist()
        known = self._recent.get(number)
        if known is not None:
            lines += known if isinstance(known, list) else [known]
        return [line for line in reversed(lines) if line < limit]
