"""Opening and closing a lattice: once, on one loop, in any task, and safe to cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from functools import partial
from types import TracebackType
from typing import Self
from weakref import finalize

from pmll_async.engine.assembly import Abandonable, Loaded, Opened, Shape, assemble, load
from pmll_async.engine.events.events import EventHub
from pmll_async.errors import LatticeClosedError, ReadOnlyStoreError
from pmll_async.loop.jobs import begin
from pmll_async.loop.workers import CALLS
from pmll_async.protocols import Clock, Index, Store
from pmll_async.values.anchors import Hasher
from pmll_async.values.concert import Concert
from pmll_async.values.lines import Limits
from pmll_async.views import Readable


class Openable(Readable):
    """What a lattice is made with, and whether it is open."""

    def __init__(
        self,
        store: Store,
        *,
        index: Index,
        shape: Shape,
        concert: Concert,
        clock: Clock,
        hasher: Hasher,
        limits: Limits,
    ) -> None:
        self._store, self._index, self._shape = store, index, shape
        self._concert, self._clock, self._hasher = concert, clock, hasher
        self._limits = limits
        self._hub = EventHub()
        self._opening = asyncio.Lock()
        self._open: Opened | None = None
        self._loading: Abandonable[Loaded] | None = None
        self._ending: asyncio.Future[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        name = f"{type(self).__name__} {self._store.path}"
        if self._open is None:
            return f"<{name}, {'closed' if self._closed else 'not open'}>"
        state = self._open.services.ledger.snapshot
        closed = ", closed" if self._closed else ""
        return f"<{name}: {len(state.chain)} lines, head {state.head}{closed}>"

    def __await__(self) -> Generator[object, None, Self]:
        """Open; again on an open lattice is nothing."""
        return self._opened().__await__()

    async def __aenter__(self) -> Self:
        return await self._opened()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _opened(self) -> Self:
        async with self._opening:
            if self._closed:
                raise LatticeClosedError
            if self._open is None:
                await self._settled()
                # Not a method of this lattice: nothing that goes on may keep it from the collector.
                job = partial(load, self._store, self._index, self._shape, self._hasher)
                self._loading = Abandonable(job, self._store.close)
                loaded = await self._loading.run()
                self._open = assemble(loaded, self._concert, self._limits, self._clock, self._hub)
                finalize(self, self._open.holding.forget).atexit = False
            self._usable()
        return self

    async def _settled(self) -> None:
        """Wait until an opening that was cancelled has given the store back."""
        if self._loading is not None:
            await self._loading.settled()

    async def aclose(self) -> None:
        """Finish what was accepted, close the store, let go of the threads. Idempotent.

        On another loop than its own only if that is closed.
        """
        opened = self._open
        if opened is not None:
            opened.check_process()
            if opened.loop.is_closed():
                await self._close_orphaned(opened)
                return
            opened.check_caller()
        self._closed = True
        async with self._opening:
            opened = self._open
            if opened is None:
                await self._settled()
                return
        opened.holding.is_being_closed = True
        if self._ending is None or self._ending.cancelled():
            # A task, so that no cancellation of a caller leaves the store open and locked.
            self._ending = asyncio.ensure_future(opened.end())
            self._ending.add_done_callback(lambda end: end.cancelled() or end.exception())
        await asyncio.shield(self._ending)

    async def _close_orphaned(self, opened: Opened) -> None:
        self._closed = True
        await asyncio.shield(begin(CALLS, opened.holding.end))

    def _usable(self) -> Opened:
        if self._closed:
            raise LatticeClosedError
        if self._open is None:
            raise LatticeClosedError(
                "this lattice is not open yet: use `async with lattice` or `await lattice`"
            )
        self._open.check_caller()
        return self._open

    def _writable(self) -> Opened:
        opened = self._usable()
        if self._store.read_only:
            raise ReadOnlyStoreError(self._store.path)
        return opened
