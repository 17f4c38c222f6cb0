"""Off the loop: what models compute, in a few threads of their own.

A loop over steps looks between two of them whether anybody still waits, so that a cancelled call
stops with the step under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event
from typing import Final, TypeVar

from pmll_async.loop.jobs import begin
from pmll_async.loop.workers import Workers

Result = TypeVar("Result")

# A model's step keeps all cores busy by itself; four, so that a question need not wait for a
# training that takes minutes.
_MODELS: Final = Workers("pmll-model", 4, 4)


class NobodyWaits(Exception):  # noqa: N818  # no error, and nobody is left to see it
    """Ends what is computed for a caller that was cancelled."""


class Stop:
    """Whether to go on; looked at between the steps of a computation."""

    def __init__(self) -> None:
        self._event = Event()

    def set(self) -> None:
        """End the computation at its next look."""
        self._event.set()

    def check(self) -> None:
        """Raise `NobodyWaits` once `set` was called."""
        if self._event.is_set():
            raise NobodyWaits


async def computed(function: Callable[[Stop], Result]) -> Result:
    """What a function gives in a worker thread; cancelling here has its `stop` set."""
    stop = Stop()
    try:
        return await asyncio.shield(begin(_MODELS, function, stop))
    except asyncio.CancelledError:
        stop.set()
        raise
