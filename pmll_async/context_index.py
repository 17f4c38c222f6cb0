"""The context index: for each path that a filter has used, a column of small codes by line.

Built on first use from the stored contexts, extended when asked again, and never asked for by a
lattice without filters. Equality then costs a look at four bytes a line and reads none of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.breathing import Breather
from pmll_async.canonical import parse_json
from pmll_async.filters import MISSING, FieldPath, Filter, equality_key, lookup
from pmll_async.growing import Column
from pmll_async.snapshot import Snapshot

Contexts = Callable[[int, int], Iterator[Sequence[bytes]]]
"""`Store.contexts`: the contexts of the lines of records first … stop - 1."""


_KEPT_PATHS: Final = 64
"""So many paths beside those of a filter keep their columns, 4 bytes a line and the values."""


class PathColumn:
    """The distinct values at one path, and each line's code among them; -1 where it is missing."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._codes = Column(np.int32)
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


class ContextIndex:
    """Answers filters for a snapshot. Methods block; call them in a worker thread."""

    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts
        self._columns: dict[FieldPath, PathColumn] = {}
        self._covered: dict[FieldPath, int] = {}
        self._lock = threading.Lock()

    def mask(self, snapshot: Snapshot, where: Filter) -> NDArray[np.bool_]:
        """Which lines (all kinds, by line number) the filter matches."""
        with self._lock:
            self._cover(where.paths(), snapshot)
            return where.mask(self._columns.__getitem__, snapshot.timeline.line_count)

    def _cover(self, paths: frozenset[FieldPath], snapshot: Snapshot) -> None:
        """Extend the columns of the paths to the snapshot's revision, one pass for each length."""
        behind: dict[int, list[FieldPath]] = {}
        for path in paths:
            # Those asked for last stay last, so that the first is the one to give up.
            covered = self._covered.pop(path, 0)
            self._covered[path] = covered
            self._columns.setdefault(path, PathColumn())
            if covered < snapshot.revision:
                behind.setdefault(covered, []).append(path)
        for covered, group in behind.items():
            self._read(group, covered, snapshot.revision)
        for path in [path for path in self._covered if path not in paths][:-_KEPT_PATHS]:
            del self._columns[path], self._covered[path]

    def _read(self, paths: list[FieldPath], first: int, stop: int) -> None:
        values: list[list[Any]] = [[] for _ in paths]
        breathe = Breather()
        for encoded in _each(self._contexts(first, stop)):
            context = parse_json(encoded)
            for path, column in zip(paths, values, strict=True):
                column.append(lookup(context, path))
            breathe()
        for path, column in zip(paths, values, strict=True):
            self._columns[path].extend(column)
            self._covered[path] = stop


def _each(pieces: Iterator[Sequence[bytes]]) -> Iterator[bytes]:
    for piece in pieces:
        yield from piece
