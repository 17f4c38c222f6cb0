"""The context index: for each path that a filter has used, a column of small codes by line.

Built on first use from the stored contexts, extended when asked again, and never asked for by a
lattice without filters. Equality then costs a look at four bytes a line and reads none of them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.engine.ledger.snapshot import Snapshot
from pmll_async.engine.queries.event_order import EventOrder
from pmll_async.errors import UnknownFieldError
from pmll_async.loop.breathing import Breather
from pmll_async.values.arrays import GrowingArray
from pmll_async.values.contexts import RESERVED_KEY, parse_json
from pmll_async.values.filters import MISSING, And, FieldPath, Filter, Test, equality_key, lookup

Contexts = Callable[[int, int], Iterator[Sequence[bytes]]]
"""`Store.contexts`: the contexts of the lines of records first … stop - 1."""


_KEPT_PATHS: Final = 64
"""So many paths beside those of a filter keep their columns, 4 bytes a line and the values."""
_LINES_AT_ONCE: Final = 1024
"""So many lines are taken in together, half a millisecond in which other filters wait."""
_TIMES: Final = frozenset({"timestamp", "committed_at", "created_at", "time"})
"""What some call a line's time, which is none of its context's fields."""
_FEW: Final = 4
"""So many records are read, and so many equalities evaluated, in less than a hop to a thread."""


class PathColumn:
    """The distinct values at one path, and each line's code among them; -1 where it is missing."""

    def __init__(self) -> None:
        self.covered = 0
        """The records whose lines it has."""
        self.values: list[Any] = []
        self._codes = GrowingArray(np.int32)
        self._numbers: dict[Hashable, int] = {}

    @property
    def codes(self) -> NDArray[np.int32]:
        """Codes by line."""
        return self._codes.view()

    def code_of(self, key: Hashable) -> int | None:
        """The code of the value with this equality key."""
        return self._numbers.get(key)

    def extend(self, values: list[Any]) -> None:
        """Append the values of further lines."""
        self._codes.extend(np.array([self._code(value) for value in values], dtype=np.int32))

    def _code(self, value: Any) -> int:
        if value is MISSING:
            return -1
        key = equality_key(value)
        code = self._numbers.get(key)
        if code is None:
            # The value goes in first: a reader that finds the code must find the value.
            code = len(self.values)
            self.values.append(value)
            self._numbers[key] = code
        return code


@dataclass(frozen=True, slots=True, eq=False)
class _Facts:
    """What a filter is evaluated on: the columns of its fields, and when lines happened."""

    columns: dict[FieldPath, PathColumn]
    order: EventOrder
    snapshot: Snapshot

    def __call__(self, path: FieldPath, /) -> PathColumn:
        return self.columns[path]

    def happened(self, since: float, until: float, rows: int) -> NDArray[np.bool_]:
        return self.order.mask(self.snapshot, since, until)[:rows]


class ContextIndex:
    """Answers filters for a snapshot. Methods block; call them in a worker thread.

    All but `covers` and `is_quick`. Contexts are read and filters evaluated without the lock, so
    that a filter on what is known already waits for none that has to read the whole log.
    """

    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts
        self._columns: OrderedDict[FieldPath, PathColumn] = OrderedDict()
        self._order = EventOrder()
        self._lock = threading.Lock()

    def covers(self, snapshot: Snapshot, where: Filter) -> bool:
        """Whether hardly anything has to be read for the filter."""
        return self._lacking(snapshot, where) <= _FEW

    def is_quick(self, snapshot: Snapshot, where: Filter) -> bool:
        """Whether the mask takes less than a hop to a thread: a few equalities on known fields."""
        tests = where.parts if isinstance(where, And) else (where,)
        equal = all(isinstance(test, Test) and test.op == "$eq" for test in tests)
        return equal and max(len(tests), self._lacking(snapshot, where)) <= _FEW

    def _lacking(self, snapshot: Snapshot, where: Filter) -> int:
        """How many records have to be read."""
        # Without the lock, in which another thread may take its time: the event loop asks.
        columns = [self._columns.get(path) for path in where.paths()]
        known = [0 if column is None else column.covered for column in columns]
        return snapshot.revision - min(known, default=snapshot.revision)

    def mask(self, snapshot: Snapshot, where: Filter) -> NDArray[np.bool_]:
        """Which lines (all kinds, by line number) the filter matches.

        `UnknownFieldError` if none, because it has a field by another name than lines have it.
        """
        columns = self.cover(snapshot, where)
        mask = where.mask(_Facts(columns, self._order, snapshot), len(snapshot.kinds))
        if not mask.any():
            for path in self.unknown(snapshot, where):
                self._refuse_misnamed(snapshot, path)
        return mask

    def unknown(self, snapshot: Snapshot, where: Filter) -> list[FieldPath]:
        """The filter's fields that no line has; none in a lattice without lines."""
        count = len(snapshot.kinds)
        columns = self.cover(snapshot, where) if count else {}
        return sorted(path for path, column in columns.items() if (column.codes[:count] < 0).all())

    def _refuse_misnamed(self, snapshot: Snapshot, path: FieldPath) -> None:
        name = ".".join(path)
        if name in _TIMES:
            raise UnknownFieldError(name, "when lines happened is asked with since= and until=")
        stamped = (RESERVED_KEY, *path)
        if path[0] != RESERVED_KEY and not self.unknown(snapshot, Test(stamped, "$exists", True)):
            raise UnknownFieldError(name, f"lines have {'.'.join(stamped)!r}")

    def cover(self, snapshot: Snapshot, where: Filter) -> dict[FieldPath, PathColumn]:
        """The columns of the filter's paths, extended to the snapshot's revision."""
        columns = self._asked_for(where.paths())
        while columns:
            first = min(column.covered for column in columns.values())
            if first >= snapshot.revision:
                break
            behind = {path: each for path, each in columns.items() if each.covered == first}
            ahead = [each.covered for each in columns.values() if each.covered > first]
            self._read(behind, first, min([*ahead, snapshot.revision]), snapshot)
        return columns

    def _asked_for(self, paths: frozenset[FieldPath]) -> dict[FieldPath, PathColumn]:
        with self._lock:
            for path in paths:
                # Those asked for last stay last, so that the first is the one to give up.
                self._columns.setdefault(path, PathColumn())
                self._columns.move_to_end(path)
            columns = {path: self._columns[path] for path in paths}
            for path in [path for path in self._columns if path not in paths][:-_KEPT_PATHS]:
                del self._columns[path]
        return columns

    def _read(
        self, columns: dict[FieldPath, PathColumn], first: int, stop: int, snapshot: Snapshot
    ) -> None:
        """Extend columns of one length; an error leaves them with whole records."""
        starts = snapshot.line_starts
        values: dict[FieldPath, list[Any]] = {path: [] for path in columns}
        line = int(starts[first])
        breathe = Breather()
        for encoded in chain.from_iterable(self._contexts(first, stop)):
            context = parse_json(encoded)
            for path, column in values.items():
                column.append(lookup(context, path))
            breathe()
            line += 1
            if line - starts[first] >= _LINES_AT_ONCE:
                whole = min(stop, int(np.searchsorted(starts, np.int32(line), side="right")) - 1)
                self._join(columns, values, first, whole, line - int(starts[whole]))
                first = whole
        self._join(columns, values, first, stop, 0)

    def _join(
        self,
        columns: dict[FieldPath, PathColumn],
        values: dict[FieldPath, list[Any]],
        first: int,
        stop: int,
        rest: int,
    ) -> None:
        """Give the columns what was read of records `first` … `stop - 1`, all but `rest` lines."""
        for path, column in columns.items():
            count = len(values[path]) - rest
            read, values[path] = values[path][:count], values[path][count:]
            with self._lock:
                # Another thread may have read the same meanwhile.
                if column.covered == first:
                    column.extend(read)
                    column.covered = stop
