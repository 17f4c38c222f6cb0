"""The event order: lines by when they happened, so that a span of time is found at once."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from pmll_async.engine.ledger.snapshot import Ints, Snapshot
from pmll_async.values.arrays import GrowingArray
from pmll_async.values.concert import Float64


class EventOrder:
    """Built on first use, extended when asked again; methods block.

    A line without a time of its own, as every note, happened when it was committed.
    """

    def __init__(self) -> None:
        self._times, self._lines = GrowingArray(np.float64), GrowingArray(np.int32)
        self._lock = threading.Lock()

    def mask(self, snapshot: Snapshot, since: float, until: float) -> NDArray[np.bool_]:
        """Which of the snapshot's lines (by number) happened from `since` on and before `until`."""
        with self._lock:
            self._cover(snapshot)
            times, lines = self._times.view(), self._lines.view()
        first, stop = np.searchsorted(times, [since, until])
        found = lines[first:stop]
        count = len(snapshot.kinds)
        mask = np.zeros(count, dtype=np.bool_)
        # There may be lines of newer states.
        mask[found[found < count]] = True
        return mask

    def _cover(self, snapshot: Snapshot) -> None:
        known = len(self._lines)
        if known >= len(snapshot.kinds):
            return
        fresh = _times_of(snapshot, known)
        order = np.argsort(fresh, kind="stable")
        lines, fresh = (order + known).astype(np.int32), fresh[order]
        if known and fresh[0] < self._times.view()[-1]:
            self._merge(fresh, lines)
        else:
            self._times.extend(fresh)
            self._lines.extend(lines)

    def _merge(self, fresh: Float64, lines: Ints) -> None:
        """Late ones; in new arrays, since others may be reading those that there were."""
        places = np.searchsorted(self._times.view(), fresh, side="right")
        times, merged = GrowingArray(np.float64), GrowingArray(np.int32)
        times.extend(np.insert(self._times.view(), places, fresh))
        merged.extend(np.insert(self._lines.view(), places, lines))
        self._times, self._lines = times, merged


def _times_of(snapshot: Snapshot, first: int) -> Float64:
    """When each line from `first` on happened."""
    lines = np.arange(first, len(snapshot.kinds), dtype=np.int32)
    records = np.searchsorted(snapshot.line_starts, lines, side="right")
    times: Float64 = snapshot.times[records].copy()
    ranked = snapshot.ranked[first:]
    has_own = ranked >= 0
    times[has_own] = snapshot.columns.timestamps[ranked[has_own]]
    return times
