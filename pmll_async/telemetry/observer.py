"""One observer of a lattice, for its metrics and for those who trace what its commits came from."""

from __future__ import annotations

from typing import Final

from opentelemetry.metrics import MeterProvider, get_meter

from pmll_async import Batch, CommitBatch, Lattice
from pmll_async.telemetry.commits import Commits
from pmll_async.telemetry.meters import LatticeMeters

SCOPE: Final = "pmll-async"
"""What the tracer and the meter are called."""


class LatticeTelemetry:
    """Measures an open lattice until `close`, and remembers its last `commits`.

    Give each lattice one, and several of them a `name` each. The meter provider is the global one
    unless given.
    """

    def __init__(
        self, lattice: Lattice, *, name: str = "", meter_provider: MeterProvider | None = None
    ) -> None:
        self.commits = Commits()
        self._lattice = lattice
        self._meters = LatticeMeters(get_meter(SCOPE, meter_provider=meter_provider), name)
        self._stop = lattice.observe(self._happened)
        self._meters.begin(lattice.stats)

    def close(self) -> None:
        """Leave the lattice alone."""
        self._stop()

    def _happened(self, batch: Batch) -> None:
        if isinstance(batch, CommitBatch):
            self.commits.add(batch)
            self._meters.committed(batch, self._lattice.stats)
        else:
            self._meters.queried(batch)
