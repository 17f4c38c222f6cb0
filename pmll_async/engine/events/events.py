"""Commit events: what happened to a lattice, told to whoever listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from pmll_async.engine.events.stats import Batch, CommitBatch
from pmll_async.loop.fanout import BufferedListener, EventsMissed, Fanout
from pmll_async.loop.logs import logger
from pmll_async.records.record import (
    DecayRecord,
    ForgetRecord,
    PutRecord,
    RaceRecord,
    Record,
    RollbackRecord,
)
from pmll_async.values.lines import Kind

BatchObserver: TypeAlias = Callable[[Batch], None]
"""Called on the lattice's loop with what it did; quick, and without raising."""

BUFFERED_EVENTS: Final = 1024


@dataclass(frozen=True, slots=True)
class LinePut:
    """A line or note joined the chain; `revised` are the lines that it replaces."""

    revision: int
    anchor: str
    kind: Kind
    revised: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RaceDecided:
    """A race's winner joined the chain, its losers became branches."""

    revision: int
    winner: str
    losers: tuple[str, ...]
    revised: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LineDecayed:
    """A line's strength was multiplied by `factor`."""

    revision: int
    anchor: str
    factor: float


@dataclass(frozen=True, slots=True)
class LineForgotten:
    """A line left every later query."""

    revision: int
    anchor: str


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The state after `to_revision` records is the lattice's again."""

    revision: int
    to_revision: int


CommitEvent = LinePut | RaceDecided | LineDecayed | LineForgotten | RolledBack | EventsMissed


def event_of(record: Record, revision: int) -> CommitEvent:
    """What the record that led to `revision` did."""
    match record:
        case PutRecord():
            return LinePut(revision, record.line.anchor, record.line.kind, record.revises)
        case RaceRecord():
            winner, *losers = (line.anchor for line in record.lines)
            return RaceDecided(revision, winner, tuple(losers), record.revises)
        case DecayRecord():
            return LineDecayed(revision, record.anchor, record.factor)
        case ForgetRecord():
            return LineForgotten(revision, record.anchor)
        case RollbackRecord():
            return RolledBack(revision, record.revision)
    raise TypeError(f"no event for {type(record).__name__}")


class EventStream(BufferedListener[CommitEvent]):
    """One listener's events, in commit order; ends when the lattice closes or the block is left."""


class EventHub(Fanout[CommitEvent]):
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
            # It is the user's code, and must not come between a commit and those who wait for it.
            except Exception as exc:  # noqa: BLE001
                logger("pmll.events").error("lattice.observer_failed", error=repr(exc))

    def committed(self, first: int, records: list[Record], batch: CommitBatch) -> None:
        """Pass on the records that followed the first `first`, and their batch."""
        self.happened(batch)
        if not self.room or not records:
            return
        # What fits nobody's buffer is not made: thousands would hold the loop.
        missed = max(0, len(records) - self.room)
        newest = enumerate(records[missed:], first + missed + 1)
        self.tell([event_of(record, n) for n, record in newest], missed)
