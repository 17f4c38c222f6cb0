"""A run told event by event: to who drives it, and to any number of listeners beside."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from pmll_async import EventsMissed

from ..events import Event, RunResult

BUFFERED_EVENTS: Final = 64
"""Events that wait for the reader before the run does: enough to print while the run goes on."""

_LISTENED_EVENTS: Final = 1024


class Listener:
    """One more reader of a run's events, from the block's beginning on; the run never waits for it.

    Beyond `size` events the oldest are dropped, and an `EventsMissed` says how many. Ends when the
    run does.
    """

    def __init__(self, run: RunStream, size: int) -> None:
        self._run, self._size = run, size
        self._events: deque[Event] = deque()
        self._missed = 0
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._run._listeners.append(self)  # noqa: SLF001  # two halves of one thing
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._run._listeners.remove(self)  # noqa: SLF001  # as above

    def __aiter__(self) -> AsyncIterator[Event | EventsMissed]:
        return self

    async def __anext__(self) -> Event | EventsMissed:
        while True:
            if self._missed:
                missed, self._missed = self._missed, 0
                return EventsMissed(missed)
            if self._events:
                return self._events.popleft()
            if self._run.is_over:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()

    def offer(self, event: Event | None) -> None:
        """Take an event in; None tells that there will be no more."""
        if event is not None:
            self._events.append(event)
            if len(self._events) > self._size:
                self._events.popleft()
                self._missed += 1
        self._changed.set()


class RunStream:
    """An async iterator over a run's events; the last one is `RunEnded`.

    The run waits for this one reader, which so misses nothing; others use `listen`.
    """

    def __init__(self) -> None:
        send, receive = anyio.create_memory_object_stream[Event](BUFFERED_EVENTS)
        self._send: MemoryObjectSendStream[Event] = send
        self._receive: MemoryObjectReceiveStream[Event] = receive
        self._listeners: list[Listener] = []
        self._result: RunResult | None = None
        self._is_over = self._has_raised = False
        self.run_id = ""

    @property
    def result(self) -> RunResult | None:
        """How the run ended; None while it goes on. After the block it is there."""
        return self._result

    @property
    def is_over(self) -> bool:
        """Whether no more events will come."""
        return self._is_over

    def listen(self, *, buffer: int = _LISTENED_EVENTS) -> Listener:
        """One more reader: ``async with run.listen() as events``."""
        if buffer < 1:
            raise ValueError(f"buffer is at least 1, not {buffer}")
        return Listener(self, buffer)

    async def wait(self) -> RunResult | None:
        """Read what is left and return how the run ended; raises what it failed with."""
        async for _ in self:
            pass
        return self._result

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        try:
            return await self._receive.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            error = None if self._result is None else self._result.error
        if error is None or self._has_raised:
            raise StopAsyncIteration
        self._has_raised = True
        raise error

    # --- the run's side ------------------------------------------------------------------------

    async def emit(self, event: Event) -> None:
        """Pass an event on; waits for the reader when it is far behind."""
        for listener in self._listeners:
            listener.offer(event)
        await self._send.send(event)

    def end(self, result: RunResult | None) -> None:
        """There will be no more events."""
        self._result, self._is_over = result, True
        self._send.close()
        for listener in self._listeners:
            listener.offer(None)

    def close(self) -> None:
        """Nobody reads any more."""
        self._send.close()
        self._receive.close()
