"""Views: one past or present state of a lattice, read-only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pmll_async.engine.ledger.snapshot import Snapshot
from pmll_async.errors import PmllError
from pmll_async.readable import Readable, Services


class LatticeView(Readable):
    """The lattice as it was just after one record; `now` is that record's commit time unless given.

    It reads from the lattice that made it and lives no longer. An old state is drawn when it is
    first asked for: by a query in a worker thread, by `len`, `in` and `head` at once.
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
        self._drawing: asyncio.Future[Snapshot] | None = None
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
            self._drawn = await self._draw()
        return self._drawn

    async def _draw(self) -> Snapshot:
        """The state, drawn once for all who wait for it."""
        services = self._services()
        if self._drawing is None:
            self._drawing = services.jobs.start(services.ledger.at, self._revision)
        try:
            return await asyncio.shield(self._drawing)
        except PmllError:
            self._drawing = None
            raise

    def _pinned(self, snapshot: Snapshot) -> Snapshot | None:
        return snapshot

    def _now(self) -> float:
        if self._given_now is not None:
            return self._given_now
        return self._services().ledger.time_of(self._revision)
