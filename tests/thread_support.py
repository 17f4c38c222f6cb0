"""What tests ask of the threads that lattices share."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Final

PATIENCE: Final = 10.0
"""Seconds until a test that waits in vain fails; never what decides an order."""


def our_threads() -> list[str]:
    """The names of the shared threads that are there."""
    return [name for thread in threading.enumerate() if (name := thread.name).startswith("pmll-")]


async def threads_gone() -> None:
    """Fail if one stays; what was cut off ends a moment after its test, and tells nobody."""
    late = time.monotonic() + PATIENCE
    while our_threads():
        assert time.monotonic() < late, our_threads()
        await asyncio.sleep(0.001)
