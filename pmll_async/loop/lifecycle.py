"""Opening and closing: once, on one loop, in any task, and safe to cancel."""

from __future__ import annotations

import _thread
import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import Generic, Protocol, Self, TypeVar
from weakref import finalize

from pmll_async.errors import LatticeClosedError, SealError
from pmll_async.loop.jobs import begin, running_loop
from pmll_async.loop.logs import logger
from pmll_async.loop.workers import CALLS, enter, leave

Result = TypeVar("Result")


class Openable(ABC):
    """Opened by `await` or `async with`, which also closes."""

    def __await__(self) -> Generator[object, None, Self]:
        """Open; again on what is open is nothing."""
        return self._opened().__await__()

    async def __aenter__(self) -> Self:
        return await self._opened()

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            await self.aclose()
        # It is logged, and what the block raised is more.
        except SealError:
            if error is None:
                raise

    @abstractmethod
    async def _opened(self) -> Self:
        """Open, unless it is."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close, if it is open. Idempotent."""


class SupportsEnd(Protocol):
    """What is open, and can be ended."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where it belongs; when that is closed, only closing is left."""

    def check_process(self) -> None:
        """Refuse a forked child."""

    def check_caller(self) -> None:
        """Refuse another event loop and a forked child."""

    async def end(self) -> None:
        """Answer what was accepted, then close everything."""

    def end_orphaned(self) -> None:
        """The same where its loop is closed; blocks."""

    def announce_end(self) -> None:
        """Somebody sees to its end."""

    @property
    def forget(self) -> Callable[[], None]:
        """What is to be done when its owner is collected; nothing that knows the owner."""


Whole = TypeVar("Whole", bound=SupportsEnd)


class Lifecycle(Generic[Result, Whole]):
    """Whether something is open.

    `load` begins the part of opening that blocks, `finish` makes what is open of its result, on the
    loop. Neither may know the owner, who could not be collected otherwise.
    """

    def __init__(
        self, load: Callable[[], Abandonable[Result]], finish: Callable[[Result], Whole]
    ) -> None:
        self._load, self._finish = load, finish
        self._turn = asyncio.Lock()
        self._loading: Abandonable[Result] | None = None
        self._ending: asyncio.Future[None] | None = None
        self.whole: Whole | None = None
        self.is_closed = False

    async def open(self, owner: object) -> None:
        """Open, unless it is; what is never closed is ended when the owner is collected."""
        async with self._turn:
            if self.is_closed:
                raise LatticeClosedError
            if self.whole is None:
                await self._settled()
                self._loading = self._load()
                self.whole = self._finish(await self._loading.run())
                finalize(owner, self.whole.forget).atexit = False
            self.usable()

    def usable(self) -> Whole:
        """What is open, for a caller on its loop."""
        if self.is_closed:
            raise LatticeClosedError
        if self.whole is None:
            raise LatticeClosedError(
                "this lattice is not open yet: use `async with lattice` or `await lattice`"
            )
        self.whole.check_caller()
        return self.whole

    async def close(self) -> None:
        """Close, on another loop than its own only if that is closed. Idempotent."""
        whole = self.whole
        if whole is not None:
            whole.check_process()
            if whole.loop.is_closed():
                self.is_closed = True
                await asyncio.shield(begin(CALLS, whole.end_orphaned))
                return
            whole.check_caller()
        self.is_closed = True
        async with self._turn:
            whole = self.whole
            if whole is None:
                await self._settled()
                return
        whole.announce_end()
        if self._ending is None or self._ending.cancelled():
            # A task, so that no cancellation of a caller leaves the store open and locked.
            self._ending = asyncio.ensure_future(whole.end())
            self._ending.add_done_callback(lambda end: end.cancelled() or end.exception())
        await asyncio.shield(self._ending)

    async def _settled(self) -> None:
        """Wait until an opening that was cancelled has been undone."""
        if self._loading is not None:
            await self._loading.settled()


class Abandonable(Generic[Result]):
    """A blocking job whose caller may go away; then its result is undone as soon as it is there."""

    def __init__(self, job: Callable[[], Result], undo: Callable[[], None]) -> None:
        self._job, self._undo = job, undo
        self._loop = running_loop()
        self._lock = threading.Lock()
        self._done = self._abandoned = False
        self._settled = threading.Event()

    async def run(self) -> Result:
        """The job's result, from a worker thread."""
        enter(self)
        try:
            running = begin(CALLS, self._work)
        # No thread can be started: nothing will come of it, and nobody may wait for that.
        except BaseException:
            self._ended()
            raise
        try:
            return await asyncio.shield(running)
        # The second is thrown in by the collector where a loop has ended without a word.
        except (asyncio.CancelledError, GeneratorExit):
            with self._lock:
                self._abandoned = True
                undo_now = self._done
                if undo_now:
                    self._settled.clear()
            if undo_now:
                # Not through the workers: the collector may have come within their lock.
                _thread.start_new_thread(self._undone, ())
            raise

    async def settled(self) -> None:
        """Wait until the job has ended, and is undone if it was abandoned."""
        if not self._settled.is_set():
            await asyncio.shield(begin(CALLS, self._settled.wait))

    def _work(self) -> Result:
        try:
            result = self._begun()
        # Whatever stopped it goes on to the caller, and who waits for the end must not wait on.
        except BaseException:
            self._ended()
            raise
        with self._lock:
            self._done = True
            undo_now = self._abandoned or self._loop.is_closed()
            if not undo_now:
                self._settled.set()
        if undo_now:
            self._undone()
        leave(self)
        return result

    def _begun(self) -> Result:
        if self._abandoned:
            raise LatticeClosedError("opening was cancelled before it began")
        return self._job()

    def _undone(self) -> None:
        try:
            self._undo()
        # Nobody waits for this.
        except Exception as exc:  # noqa: BLE001
            logger("pmll.opening").error("opening.undo_failed", error=repr(exc))
        finally:
            self._ended()

    def _ended(self) -> None:
        self._settled.set()
        leave(self)
