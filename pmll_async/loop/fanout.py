"""Fan-out: what happens, told to readers who take their time and for whom nobody waits."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from pmll_async.errors import InvalidInputError

Event = TypeVar("Event")


@dataclass(frozen=True, slots=True)
class EventsMissed:
    """The reader was slow: `count` events before the next one were dropped, the oldest first."""

    count: int

    def to_json(self) -> str:
        """The same as JSON on one line, as a run's events have it."""
        return json.dumps({"event": "events.missed", "count": self.count}, separators=(",", ":"))


class Fanout(Generic[Event]):
    """Tells listeners what happens."""

    def __init__(self) -> None:
        self._listeners: list[BufferedListener[Event]] = []
        self.has_ended = False

    @property
    def room(self) -> int:
        """How many events the listener with the largest buffer keeps; 0 if nobody listens."""
        return max((listener.size for listener in self._listeners), default=0)

    def add(self, listener: BufferedListener[Event]) -> None:
        """Tell the listener what happens from now on."""
        self._listeners.append(listener)
        if self.has_ended:
            listener.end()

    def remove(self, listener: BufferedListener[Event]) -> None:
        """Tell it no more."""
        # Leaving twice is nothing.
        self._listeners = [each for each in self._listeners if each is not listener]
        listener.end()

    def tell(self, events: Sequence[Event], missed: int = 0) -> None:
        """Pass on what happened last; `missed` events before that are in nobody's buffer."""
        for listener in self._listeners:
            listener.offer(events, missed)

    def end(self) -> None:
        """Nothing more will happen."""
        self.has_ended = True
        for listener in self._listeners:
            listener.end()


class BufferedListener(Generic[Event]):
    """Events in order, from its block's beginning to its end, or to that of what it listens to.

    Beyond `size` events the oldest are dropped, and an `EventsMissed` says how many.
    """

    def __init__(self, source: Fanout[Event], size: int) -> None:
        self._source, self.size = source, size
        self._events: deque[Event] = deque(maxlen=size)
        self._missed = 0
        self._entered = self._ended = False
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._entered = True
        self._source.add(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._source.remove(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event | EventsMissed:
        # Once woken it may find nothing, where another task reads the same listener.
        while not (self._missed or self._events):
            if self._ended:
                raise StopAsyncIteration
            if not self._entered:
                # Nobody would ever tell it anything.
                raise InvalidInputError("listen within the block: `async with … as events`")
            self._changed.clear()
            await self._changed.wait()
        if self._missed:
            missed, self._missed = self._missed, 0
            return EventsMissed(missed)
        return self._events.popleft()

    def offer(self, events: Sequence[Event], missed: int) -> None:
        """Take events in, before which so many were missed."""
        # The bounded deque drops the oldest by itself, but does not say so.
        self._missed += missed + max(0, len(self._events) + len(events) - self.size)
        self._events.extend(events)
        self._changed.set()

    def end(self) -> None:
        """No more will come; what waits can still be read."""
        self._ended = True
        self._changed.set()
