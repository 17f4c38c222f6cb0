"""The survey of a state: what text memory, and others who derive from lines, may ask a lattice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pmll_async.engine.ledger.snapshot import DORMANT_BELOW, Erasures, Snapshot
from pmll_async.engine.queries.reader import Reader
from pmll_async.engine.queries.services import Rows
from pmll_async.protocols import Columns, Sidecar
from pmll_async.records.blocks import BRANCH, NOTE
from pmll_async.records.record import Record
from pmll_async.values.anchors import ROOT_ANCHOR
from pmll_async.values.concert import Concert, Float32, Float64, exact_norm
from pmll_async.values.filters import Filter
from pmll_async.values.lines import MemoryLine


class LogState(NamedTuple):
    """A log after so many records: the last one's time and the last line's anchor.

    They tell it from another log, as far as anchors do.
    """

    records: int
    lines: int
    time: float
    anchor: str


class LineStates(NamedTuple):
    """What lines are in a state, by line in the order of the log, arrays (m,).

    `positions` int64 are -1 off the chain; `strengths` float64; `statuses` are texts: "live",
    "dormant" (a branch that is too weak to be returned), "hidden" (ended, held back or revoked),
    "forgotten" or "rolled back". Notes are live, though no query returns them.
    """

    positions: NDArray[np.int64]
    strengths: Float64
    statuses: NDArray[np.str_]


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """One state of a lattice, for what is derived from its lines, such as a text index.

    Rows are the lines that have vectors, in the order of the log. `run` runs a blocking function in
    a worker thread, and waits; `call` does so with the user's code, which may wait for what other
    threads do. `rows` gives the rows that a filter matches; `dimensions` are those of keys and of
    values. What asks store or index blocks.
    """

    _snapshot: Snapshot
    _reader: Reader
    run: Callable[..., Awaitable[Any]]
    call: Callable[..., Awaitable[Any]]
    rows: Callable[[Filter], Awaitable[Rows]]
    dimensions: tuple[int, int]

    @property
    def state(self) -> object:
        """The same object in every survey of the same state."""
        return self._snapshot

    @property
    def revision(self) -> int:
        """The number of records."""
        return self._snapshot.revision

    @property
    def committed_at(self) -> float:
        """When the newest record was committed; 0 before the first."""
        return self._snapshot.committed_at

    @property
    def concert(self) -> Concert:
        """The weights that the lattice ranks with."""
        return self._reader.concert

    @property
    def notes(self) -> int:
        """How many notes are on the chain."""
        snapshot = self._snapshot
        return int(np.count_nonzero(snapshot.kinds[snapshot.chain] == NOTE))

    @property
    def branches(self) -> int:
        """How many branches there are, dormant ones included."""
        snapshot = self._snapshot
        return int(np.count_nonzero((snapshot.kinds == BRANCH) & snapshot.alive))

    @property
    def erasures(self) -> Erasures:
        """Which lines of the lattice are erased, as of now and not of this state."""
        return self._snapshot.erasures

    # --- by row --------------------------------------------------------------------------------

    @property
    def columns(self) -> Columns:
        """The rows in this state."""
        return self._snapshot.columns

    @property
    def revised(self) -> NDArray[np.bool_]:
        """Which rows (count,) a newer line replaced."""
        return self._snapshot.revised[self._snapshot.ranked_lines]

    def unknown_fields(self, where: Filter) -> list[str]:
        """The fields of a filter that no line of this state has; reads contexts."""
        return self._reader.unknown_fields(self._snapshot, where)

    def line(self, row: int) -> MemoryLine:
        """The line of a row."""
        return self._reader.line(self._snapshot, int(self._snapshot.ranked_lines[row]))

    def cosines(self, vector: Float32) -> Float32 | None:
        """The cosine (count,) of every row to a vector (dim,); None if the index cannot tell."""
        return self._reader.cosines(self._snapshot, vector, exact_norm(vector))

    # --- by record -----------------------------------------------------------------------------

    def log_after(self, records: int) -> LogState:
        """The log after so many of this state's records, at least one."""
        snapshot = self._snapshot
        lines = int(snapshot.line_starts[records])
        anchor = snapshot.anchor(lines - 1) if lines else ROOT_ANCHOR
        return LogState(records, lines, float(snapshot.times[records]), anchor)

    def record(self, n: int) -> Record:
        """Record `n` as it is stored; of erased lines it has the digests alone."""
        return self._reader.record(self._snapshot, n)

    def line_states(self, first: int, stop: int) -> LineStates:
        """What the lines of records `first` … `stop - 1` are in this state, branches included."""
        snapshot = self._snapshot
        start, end = snapshot.line_starts[[first, stop]].tolist()
        lines = np.arange(start, end, dtype=np.int32)
        places = np.searchsorted(snapshot.chain, lines)
        own = places < len(snapshot.chain)
        own[own] = snapshot.chain[places[own]] == lines[own]
        present, alive = snapshot.present[start:end], snapshot.alive[start:end]
        rows, strengths = snapshot.ranked[start:end], snapshot.strengths[start:end]
        live = alive.copy()
        live[rows >= 0] = snapshot.columns.live[rows[rows >= 0]]
        weak = (snapshot.kinds[start:end] == BRANCH) & (strengths < DORMANT_BELOW)
        statuses = np.select(
            [~present, ~alive, live, weak],
            ["rolled back", "forgotten", "live", "dormant"],
            "hidden",
        )
        return LineStates(np.where(own, places, -1), strengths, statuses)

    def rows_after(self, records: int) -> int:
        """How many rows so many records filled."""
        snapshot = self._snapshot
        return int(np.searchsorted(snapshot.ranked_lines, snapshot.line_starts[records]))

    def batch_stop(self, first: int, most: int) -> int:
        """Where a batch of records from `first` on ends: one, or more of up to `most` lines."""
        starts = self._snapshot.line_starts
        # A number of another type would have the whole column copied to compare it.
        stop = np.int32(min(int(starts[first]) + most, int(starts[-1])))
        return max(first + 1, int(np.searchsorted(starts, stop, side="right")) - 1)

    def contexts(self, first: int, stop: int) -> list[bytes]:
        """The canonical contexts of the rows that records `first` … `stop - 1` filled."""
        starts = self._snapshot.line_starts
        ranked = self._snapshot.ranked[starts[first] : starts[stop]].tolist()
        every = self._reader.contexts(first, stop)
        return [context for row, context in zip(ranked, every, strict=True) if row >= 0]

    def sidecar(self, name: str) -> Sidecar | None:
        """The file of this name that the store has room for; None if it offers none."""
        return self._reader.sidecar(name)
