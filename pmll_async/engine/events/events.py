"""Commit events: what happened to a lattice, told to whoever listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from pmll_async.engine.events.stats import Batch
from pmll_async.loop.fanout import BufferedListener, EventsMissed
from pmll_async.records.events import RecordEvent

BatchObserver: TypeAlias = Callable[[Batch], None]
"""Called on the lattice's loop with what it did; quick, and without raising."""

CommitEvent: TypeAlias = RecordEvent | EventsMissed


class EventStream(BufferedListener[CommitEvent]):
    """One listener's events, in commit order; ends when the lattice closes or the block is left."""
