"""Commit events: what happened to a lattice, told to whoever listens."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeAlias

from pmll_async.engine.events.stats import Batch, CommitBatch
from pmll_async.errors import InvalidInputError
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


@dataclass(frozen=True, slots=True)
class EventsMissed:
    """The reader was slow: `count` events before the next one were dropped, the oldest first."""

    count: int


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


class EventStream:
    """One listener's events, in commit order; ends when the lattice closes or the block is left."""

    def __init__(self, hub: EventHub, size: int) -> None:
        self._hub = hub
        self.size = size
        self._events: deque[CommitEvent] = deque()
        self._missed = 0
        self._ended = False
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._hub.add(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._hub.remove(self)

    def __aiter__(self) -> AsyncIterator[CommitEvent]:
        return self

    async def __anext__(self) -> CommitEvent:
        while True:
            if self._missed:
                missed, self._missed = self._missed, 0
                return EventsMissed(missed)
            if self._events:
                return self._events.popleft()
            if self._ended:
                raise StopAsyncIteration
            if not self._hub.has(self):
                raise InvalidInputError("enter the stream first: async with lattice.events() as e")
            self._changed.clear()
            await self._changed.wait()

    def offer(self, events: Sequence[CommitEvent], missed: int) -> None:
        """Take events in, dropping the oldest beyond the size; more than fit were `missed`."""
        self._events.extend(events)
        self._missed += missed
        while len(self._events) > self.size:
            self._events.popleft()
            self._missed += 1
        self._changed.set()

    def end(self) -> None:
        """No more will come; what waits can still be read."""
        self._ended = True
        self._changed.set()


class EventHub:
    """The listeners of one lattice."""

    def __init__(self) -> None:
        self._streams: list[EventStream] = []
        self._observers: tuple[BatchObserver, ...] = ()
        self._ended = False

    def add(self, stream: EventStream) -> None:
        """Tell the stream what is committed from now on."""
        self._streams.append(stream)
        if self._ended:
            stream.end()

    def has(self, stream: EventStream) -> bool:
        """Whether the stream is told what is committed."""
        return stream in self._streams

    def remove(self, stream: EventStream) -> None:
        """Tell it no more."""
        if stream in self._streams:
            self._streams.remove(stream)
        stream.end()

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
        if not self._streams or not records:
            return
        # What fits nobody's buffer is not made: thousands would hold the loop.
        missed = max(0, len(records) - max(stream.size for stream in self._streams))
        newest = enumerate(records[missed:], first + missed + 1)
        events = [event_of(record, n) for n, record in newest]
        for stream in self._streams:
            stream.offer(events, missed)

    def end(self) -> None:
        """End every stream."""
        self._ended = True
        for stream in self._streams:
            stream.end()
