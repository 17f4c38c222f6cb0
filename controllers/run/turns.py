"""Taking turns: however many runs are ready at once, the event loop is soon free for others."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final
from weakref import WeakKeyDictionary

_TURN_SECONDS: Final = 0.002
"""What phases may take of one turn of the loop before the next ones wait for another."""
_AT_ONCE: Final = 4
"""Phases let in by one turn when some wait: each takes some 0.2 ms of the loop."""


class Turnstile:
    """Where the runs of one event loop pass before each phase; first come, first let in."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._turn_began: float | None = None

    async def enter(self) -> None:
        """Pass at once, or wait for a turn that has room."""
        if self._turn_began is None:
            self._begin_turn()
        elif self._waiting or time.perf_counter() - self._turn_began > _TURN_SECONDS:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn

    def _begin_turn(self) -> None:
        self._turn_began = time.perf_counter()
        asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._turn_began = None
        if not self._waiting:
            return
        self._begin_turn()
        let_in = 0
        while self._waiting and let_in < _AT_ONCE:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                let_in += 1


_TURNSTILES: WeakKeyDictionary[asyncio.AbstractEventLoop, Turnstile] = WeakKeyDictionary()


def turnstile() -> Turnstile:
    """That of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _TURNSTILES.get(loop)
    if found is None:
        found = _TURNSTILES[loop] = Turnstile()
    return found
