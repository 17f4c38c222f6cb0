"""A run told event by event: to who drives it, and to any number of listeners beside."""

from __future__ import annotations

from typing import Final, Self

import anyio

from pmll_async.loop.fanout import BufferedListener, Fanout

from ..events import Event, RunResult

BUFFERED_EVENTS: Final = 64
"""Events that wait for the reader before the run does: enough to print while the run goes on."""

_LISTENED_EVENTS: Final = 1024


class Listener(BufferedListener[Event]):
    """One more reader of a run's events, from the block's beginning on; the run never waits for it.

    Beyond its buffer the oldest are dropped, and an `EventsMissed` says how many. Ends when the
    run does.
    """


class RunStream:
    """An async iterator over a run's events; the last one is `RunEnded`.

    The run waits for this one reader, which so misses nothing; others use `listen`.
    """

    def __init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[Event](BUFFERED_EVENTS)
        self._beside = Fanout[Event]()
        self._result: RunResult | None = None
        self._has_raised = False
        self.run_id = ""

    @property
    def result(self) -> RunResult | None:
        """How the run ended; None while it goes on. After the block it is there."""
        return self._result

    @property
    def is_over(self) -> bool:
        """Whether no more events will come."""
        return self._beside.has_ended

    def listen(self, *, buffer: int = _LISTENED_EVENTS) -> Listener:
        """One more reader: ``async with run.listen() as events``."""
        if buffer < 1:
            raise ValueError(f"buffer is at least 1, not {buffer}")
        return Listener(self._beside, buffer)

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
        # Once: who goes on reading an iterator that has raised finds it at its end.
        self._has_raised = True
        raise error

    # --- the run's side ------------------------------------------------------------------------

    async def emit(self, event: Event) -> None:
        """Pass an event on; waits for the reader when it is far behind."""
        # First the others: sending may wait for the one who drives the run.
        self._beside.tell((event,))
        await self._send.send(event)

    def end(self, result: RunResult | None) -> None:
        """There will be no more events."""
        self._result = result
        self._send.close()
        self._beside.end()

    def close(self) -> None:
        """Nobody reads any more."""
        self._send.close()
        self._receive.close()
