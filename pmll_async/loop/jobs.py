"""Jobs: what blocks, in the shared worker threads, counted so that closing can wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from pmll_async.errors import LatticeClosedError, WrongEventLoopError
from pmll_async.loop.workers import CALLS, READS, Workers

Result = TypeVar("Result")


def running_loop(home: asyncio.AbstractEventLoop | None = None) -> asyncio.AbstractEventLoop:
    """The asyncio loop of this thread; `WrongEventLoopError` without one, or if it is not home."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise WrongEventLoopError(
            "pmll-async runs on asyncio, and here runs no asyncio loop: use asyncio.run, or with "
            'anyio backend="asyncio"'
        ) from None
    if home is not None and loop is not home:
        raise WrongEventLoopError
    return loop


def begin(
    workers: Workers, function: Callable[..., Result], *args: object
) -> asyncio.Future[Result]:
    """Run a blocking function in a worker thread; it goes on even if nobody waits any more."""
    loop = running_loop()
    future: asyncio.Future[Result] = loop.create_future()
    workers.submit(partial(_run, loop, future, function, args))
    return future


def _run(
    loop: asyncio.AbstractEventLoop,
    future: asyncio.Future[Any],
    function: Callable[..., Any],
    args: tuple[object, ...],
) -> None:
    result, error = None, None
    try:
        result = function(*args)
    # Whatever it raised belongs to the one who waits.
    except BaseException as exc:  # noqa: BLE001
        error = RuntimeError(f"a job raised {exc!r}") if isinstance(exc, StopIteration) else exc
    # A loop that is closed has nobody left who waits.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, future, result, error)
    # The traceback holds this frame.
    del error


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
        # Marks the error as seen: its caller may be gone.
        future.exception()


class Jobs:
    """Runs blocking functions for one lattice, on one loop."""

    def __init__(self) -> None:
        self.loop = running_loop()
        self._running = 0
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    def start(
        self, function: Callable[..., Result], *args: object, workers: Workers = READS
    ) -> asyncio.Future[Result]:
        """Begin a job; it goes on to its end even if nobody waits for it any more."""
        if self._closed:
            raise LatticeClosedError
        running_loop(self.loop)
        job = begin(workers, function, *args)
        self._enter()
        job.add_done_callback(self._leave)
        return job

    async def run(self, function: Callable[..., Result], *args: object) -> Result:
        """A job's result; who is cancelled here leaves the job to end by itself."""
        return await asyncio.shield(self.start(function, *args))

    async def call(self, function: Callable[..., Result], *args: object) -> Result:
        """`run` for the user's code, which may wait for what other jobs do."""
        return await asyncio.shield(self.start(function, *args, workers=CALLS))

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """A call of several jobs: `close` waits for its last."""
        if self._closed:
            raise LatticeClosedError
        running_loop(self.loop)
        self._enter()
        try:
            yield
        finally:
            self._leave()

    async def close(self) -> None:
        """Wait for all calls under way; later ones are refused."""
        # Again, since whoever was woken first may have begun another call.
        while self._running:
            await self._idle.wait()
        self._closed = True

    def _enter(self) -> None:
        self._running += 1
        self._idle.clear()

    def _leave(self, _: object = None) -> None:
        self._running -= 1
        if not self._running:
            self._idle.set()
