"""Jobs: what blocks, in the loop's worker threads, counted so that closing can wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from pmll_async.errors import LatticeClosedError

Result = TypeVar("Result")


class Jobs:
    """Runs blocking functions for one lattice, on one loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._running = 0
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self, function: Callable[..., Result], *args: object) -> asyncio.Future[Result]:
        """Begin a job; it goes on to its end even if nobody waits for it any more."""
        if self._closed:
            raise LatticeClosedError
        job = self.loop.run_in_executor(None, function, *args)
        self._running += 1
        self._idle.clear()
        job.add_done_callback(self._ended)
        return job

    async def run(self, function: Callable[..., Result], *args: object) -> Result:
        """A job's result; who is cancelled here leaves the job to end by itself."""
        return await asyncio.shield(self.start(function, *args))

    async def close(self) -> None:
        """Wait for all jobs under way; later ones are refused."""
        while self._running:
            await self._idle.wait()
        self._closed = True

    def _ended(self, job: asyncio.Future[Result]) -> None:
        self._running -= 1
        if not self._running:
            self._idle.set()
        if not job.cancelled():
            # Marks the error as seen: its caller may be gone.
            job.exception()
