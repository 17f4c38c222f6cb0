"""A clock that goes only where it is told."""

from __future__ import annotations


class ManualClock:
    """Seconds since the epoch that stand still; `step` is added after every call.

    A `step` of 0 gives the same log for the same calls, whatever the batching.
    """

    def __init__(self, now: float = 1_700_000_000.0, *, step: float = 0.0) -> None:
        self.now, self.step = now, step

    def __call__(self) -> float:
        """The time; called in the trace's thread, too."""
        now = self.now
        self.now += self.step
        return now

    def advance(self, seconds: float) -> None:
        """Go forwards, or backwards with a negative number."""
        self.now += seconds
