"""Views: one past or present state of a lattice, read-only."""

from __future__ import annotations

from collections.abc import Callable

from pmll_async.readable import Readable, Services
from pmll_async.snapshot import Snapshot


class LatticeView(Readable):
    """The lattice as it was just after one record; `now` is that record's commit time unless given.

    It reads from the lattice that made it and lives no longer.
    """

    def __init__(
        self,
        services: Callable[[], Services],
        revision: int,
        snapshot: Snapshot | None = None,
        now: float | None = None,
    ) -> None:
        self._open_services = services
        self._revision = revision
        self._drawn = snapshot
        self._given_now = now

    def __repr__(self) -> str:
        return f"LatticeView(revision={self._revision})"

    @property
    def revision(self) -> int:
        """The number of records that led to this state."""
        return self._revision

    @property
    def now(self) -> float:
        """The `now` of this view's queries, in seconds since the epoch."""
        return self._now()

    def _services(self) -> Services:
        return self._open_services()

    def _snapshot(self) -> Snapshot:
        if self._drawn is None:
            self._drawn = self._services().ledger.at(self._revision)
        return self._drawn

    async def _ready(self) -> Snapshot:
        if self._drawn is None:
            services = self._services()
            self._drawn = await services.jobs.run(services.ledger.at, self._revision)
        return self._drawn

    def _pinned(self, snapshot: Snapshot) -> Snapshot | None:
        return snapshot

    def _now(self) -> float:
        return self._snapshot().committed_at if self._given_now is None else self._given_now
