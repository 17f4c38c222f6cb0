"""The hub of commit events: who listens to a lattice, and is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from pmll_async.loop.fanout import Fanout
from pmll_async.loop.logs import logger

if TYPE_CHECKING:
    from pmll_async.engine.events.events import BatchObserver, CommitEvent
    from pmll_async.engine.events.stats import Batch, CommitBatch
    from pmll_async.records.record import Record

BUFFERED_EVENTS: Final = 1024
Told: TypeAlias = "CommitEvent"


class EventHub(Fanout[Told]):
    """Who is told what one lattice does: its listeners, and the observers of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self._observers: tuple[BatchObserver, ...] = ()

    def observe(self, observer: BatchObserver) -> Callable[[], None]:
        """Tell the observer of each batch, until what this returns is called."""

        def stop() -> None:
            self._observers = tuple(own for own in self._observers if own is not told)

        # An object of its own, so that one that observes twice stops once.
        def told(batch: Batch) -> None:
            observer(batch)

        self._observers = (*self._observers, told)
        return stop

    def happened(self, batch: Batch) -> None:
        """Tell the observers."""
        for observer in self._observers:
            try:
                observer(batch)
            # It must not come between a commit and those who wait for it.
            except Exception as exc:  # noqa: BLE001  # the user's code
                logger("pmll.events").error("lattice.observer_failed", error=repr(exc))

    def committed(self, first: int, records: list[Record], batch: CommitBatch) -> None:
        """Pass on the records that followed the first `first`, and their batch."""
        self.happened(batch)
        if not self.room or not records:
            return
        # What fits nobody's buffer is not made: thousands would hold the loop.
        missed = max(0, len(records) - self.room)
        newest = enumerate(records[missed:], first + missed + 1)
        self.tell([record.event(n) for n, record in newest], missed)
