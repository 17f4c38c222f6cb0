"""Who may drive a run: one at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pmll_async import Lattice, PmllError

from ..journal.journal import run_lock


class RunActiveError(PmllError):
    """The run is going on in this very process."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id!r} is running now; wait for its end, or cancel it, first")


@asynccontextmanager
async def claimed(lattice: Lattice, run_id: str) -> AsyncIterator[None]:
    """Have the run to oneself: a lattice has one writer, so that this process is all there is."""
    lock = lattice.lock(run_lock(run_id))
    if lock.locked():
        raise RunActiveError(run_id)
    async with lock:
        try:
            yield
        finally:
            lattice.working.drop(run_lock(run_id))
