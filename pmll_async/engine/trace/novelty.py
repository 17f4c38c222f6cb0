"""Novelty of a batch: the same number for a line, whichever lines it shares a batch with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from pmll_async.engine.ledger.snapshot import window_start
from pmll_async.protocols import Columns, Index
from pmll_async.records.content import LineContent
from pmll_async.values.concert import Float32, Float64, clamp_cosine, exact_dots
from pmll_async.values.vectors import own_product

_MARGIN: Final = 2e-5
"""The error of two float32 cosines of up to 1024 dimensions, with room to spare."""


class Nearest(NamedTuple):
    """The largest cosine to a line before, and which one: an index row or a place in the batch."""

    similarity: float = 0.0
    row: int | None = None
    place: int | None = None


class BatchNovelty:
    """The nearest earlier line on the chain for each content of a batch.

    The stored lines are compared in one product before the batch is decided; what the batch itself
    put on the chain is told by `joined`. With a `window` only so many newest lines count.
    """

    def __init__(
        self,
        index: Index,
        columns: Columns,
        contents: Sequence[LineContent],
        dim: int,
        window: int | None = None,
    ) -> None:
        self._index, self._columns, self._window = index, columns, window
        raw = b"".join([content.key for content in contents])
        self._keys: Float32 = np.frombuffer(raw, dtype="<f4").reshape(-1, dim)
        self._norms: Float64 = np.array([c.norm for c in contents], dtype=np.float64)
        self._stored = self._nearest_stored(slice(None), window) if contents else []
        self._margin = _MARGIN * max(1.0, dim / 1024)
        # Made when first needed: a race alone never compares its candidates.
        self._cosines: Float32 | None = None
        self._highest: list[float] = []
        self._joined: list[int] = []

    def joined(self, place: int) -> None:
        """The content at `place` went on the chain."""
        self._joined.append(place)

    @property
    def count(self) -> int:
        """How many joined."""
        return len(self._joined)

    def keep(self, count: int) -> None:
        """Only the first `count` that joined are on the chain after all."""
        del self._joined[count:]

    def nearest(self, place: int) -> Nearest:
        """The nearest line for the content at `place`; similarity 0 where nothing is before it."""
        stored = self._stored[place]
        if not self._joined:
            return Nearest(*stored) if stored else Nearest()
        if self._window is not None and stored is not None:
            stored = self._still_near(stored, place, max(0, self._window - len(self._joined)))
        best = Nearest(*stored) if stored else None
        if self._cosines is None:
            self._cosines = self._among_themselves()
        if best is None or self._highest[place] >= best.similarity - self._margin:
            sibling = self._nearest_sibling(place, self._cosines)
            if best is None or sibling.similarity > best.similarity:
                best = sibling
        return best

    def _nearest_stored(self, places: slice, window: int | None) -> list[tuple[float, int] | None]:
        start = window_start(self._columns, window)
        return self._index.nearest(self._columns, self._keys[places], self._norms[places], start)

    def _still_near(
        self, found: tuple[float, int], place: int, window: int
    ) -> tuple[float, int] | None:
        """The nearest of fewer stored lines, since each that joins takes the oldest's place."""
        # So many newest rows are in it for sure, and nearly always the nearest is one of them.
        if found[1] >= self._columns.count - window:
            return found
        if found[1] >= window_start(self._columns, window):
            return found
        return self._nearest_stored(slice(place, place + 1), window)[0]

    def _among_themselves(self) -> Float32:
        """Float32 cosines of each content with those before it, -2 elsewhere."""
        # Float32 only selects: what is near the largest is computed again.
        units = (self._keys / self._norms[:, None]).astype(np.float32)
        cosines = own_product(units, units)
        for row in range(len(units)):
            cosines[row, row:] = -2.0
        self._highest = cosines.max(axis=1, initial=-2.0).tolist()
        return cosines

    def _nearest_sibling(self, place: int, mutual: Float32) -> Nearest:
        joined = np.array(self._joined if self._window is None else self._joined[-self._window :])
        cosines = mutual[place, joined]
        near = joined[cosines >= cosines.max() - self._margin]
        exact = clamp_cosine(
            exact_dots(self._keys[near], self._keys[place]),
            self._norms[near],
            float(self._norms[place]),
        )
        first = int(np.argmax(exact))
        return Nearest(float(exact[first]), place=int(near[first]))
