"""Coding: short codes of an index's keys, trained and made in the background as the index grows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from pmll_async.indexes.codefile import SavedCodes
from pmll_async.loop.logs import logger
from pmll_async.loop.workers import CALLS, weak_job
from pmll_async.values.concert import Float32

Rows = NDArray[np.int64]

FIRST_ROWS: Final = 8192
"""With fewer rows a scan of the keys takes no longer than what codes need beside their search."""
_GROWTH: Final = 4
"""Codes are made anew at 8192, 32 768, 131 072 … rows: what has come since may look different."""
_SAMPLE: Final = 4096
"""Rows that are trained on, evenly from all: 256 for each of 16 centres, of which FAISS takes no
more."""
STEP: Final = 64
"""Codes end at a multiple of this, however rows came, so that answers depend on the rows alone. The
rows behind them are few enough to be compared one by one."""
_AT_ONCE: Final = 4 * STEP
"""A question waits for so many rows to be coded, some 10 ms; if more are missing a scan answers it
and the background codes them."""
_PIECE: Final = 4096
"""Rows that a worker codes before it looks at who else waits: some 0.1 s."""


class Kernel(Protocol):
    """Codes in another library, asked by one thread at a time."""

    def train(self, units: Float32) -> None:
        """Learn to code from unit vectors (m, dim); called once, before all else."""

    def add(self, units: Float32) -> None:
        """Code unit vectors (m, dim); rows are numbered in order."""

    def search(self, units: Float32, m: int) -> tuple[Float32, Rows]:
        """The `m` rows whose codes have the largest products with each unit vector (queries, dim).

        Products and rows, (queries, m) each, largest first; there are at least `m` rows. Whatever a
        vector is asked with, they are the same, but for which of equal last ones are among them.
        """


class _Codes:
    """A trained kernel, the number of rows that it was trained for, and how many it holds."""

    def __init__(self, kernel: Kernel, level: int) -> None:
        self.kernel, self.level, self.count = kernel, level, 0
        self.lock = threading.Lock()


class Coder:
    """The codes of an index whose unit keys `units` gives; `count` of them are there so far.

    Nothing is made before the first question. A kernel that fails is not asked again.
    """

    def __init__(self, make: Callable[[], Kernel], units: Callable[[Rows], Float32]) -> None:
        self._make, self._units = make, units
        self.count = 0
        self._ready: _Codes | None = None
        self._draft: _Codes | None = None
        self._restored = 0, 0
        self._making = threading.Lock()
        self._is_scheduled = self._has_failed = False

    def search(self, count: int, units: Float32, m: int) -> tuple[int, Float32, Rows] | None:
        """How many of the first `count` rows have codes, and what `Kernel.search` says of those.

        None while there are no such codes; they are then made in the background.
        """
        codes, wanted = self._ready, count // STEP * STEP
        if self._has_failed or not _level(count):
            return None
        if codes is None or codes.level < _level(count) or codes.count + _AT_ONCE < wanted:
            self._schedule()
        if codes is None:
            return None
        with codes.lock:
            # Codes of later rows would take the places of those that an older state may see.
            if not wanted - _AT_ONCE <= codes.count <= wanted:
                return None
            self._extend(codes, wanted)
            return wanted, *codes.kernel.search(units, m)

    def restore(self, kernel: Kernel, level: int, count: int) -> None:
        """Begin with a kernel that holds so many rows, trained for `level` of them."""
        codes = _Codes(kernel, level)
        codes.count = count
        self._ready, self._restored = codes, (level, count)

    def made(self, dump: Callable[[Kernel], Sequence[bytes]]) -> SavedCodes | None:
        """What is there, if it is more than was restored."""
        codes = self._ready
        if codes is None or (codes.level, codes.count) == self._restored:
            return None
        with codes.lock:
            return SavedCodes(codes.level, codes.count, dump(codes.kernel))

    def build(self) -> None:
        """Make what is missing now, in this thread."""
        while self._step():
            pass

    def advance(self) -> bool:
        """Make one piece of what is missing; whether there may be more."""
        try:
            self._is_scheduled = self._step()
        # Whatever a library raises: a scan of the keys needs no codes, and misses nothing.
        except Exception as exc:  # noqa: BLE001
            self._has_failed, self._is_scheduled = True, False
            logger("pmll.index").error("index.coding_failed", error=type(exc).__name__)
        return self._is_scheduled

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            CALLS.submit(weak_job(self.advance))

    def _step(self) -> bool:
        with self._making:
            level, codes = _level(self.count), self._draft or self._ready
            if not level:
                return False
            if codes is None or codes.level < level:
                self._draft = self._trained(level)
                return True
            whole = self.count // STEP * STEP
            if codes.count < whole:
                with codes.lock:
                    self._extend(codes, min(whole, codes.count + _PIECE))
                return True
            self._ready, self._draft = codes, None
            return False

    def _trained(self, level: int) -> _Codes:
        codes = _Codes(self._make(), level)
        codes.kernel.train(self._units(np.arange(0, level, level // _SAMPLE)))
        return codes

    def _extend(self, codes: _Codes, stop: int) -> None:
        if codes.count < stop:
            codes.kernel.add(self._units(np.arange(codes.count, stop)))
            codes.count = stop


def _level(count: int) -> int:
    """The number of rows that codes of `count` rows are trained on; 0 if there are too few."""
    level = FIRST_ROWS
    while level * _GROWTH <= count:
        level *= _GROWTH
    return level if level <= count else 0
