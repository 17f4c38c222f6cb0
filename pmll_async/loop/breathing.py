"""Breathing: how work that comes in batches lets the event loop have its turns."""

from __future__ import annotations

import time
from typing import Final

_WORK_SECONDS: Final = 0.001
_BREATH_SECONDS: Final = 0.00001


WAKE_AT_ONCE: Final = 8
"""How many waiting callers are answered in one turn of the loop: all of a batch at once would be
late for everything else."""


class Breather:
    """Called between steps of work, it stops for a moment once every millisecond.

    A thread that wants the interpreter lock gets it by force only after 5 ms. Giving it away for no
    time does not help: the one that gives it is the first to take it back.
    """

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = time.monotonic()

    def __call__(self) -> None:
        """Breathe, if it is time."""
        if time.monotonic() - self._since > _WORK_SECONDS:
            time.sleep(_BREATH_SECONDS)
            self._since = time.monotonic()
