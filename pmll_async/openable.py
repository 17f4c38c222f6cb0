"""Opening and closing a lattice: once, on one loop, in any task, and safe to cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from types import TracebackType
from typing import Self

from pmll_async.anchors import Hasher
from pmll_async.concert import Concert
from pmll_async.errors import LatticeClosedError, ReadOnlyStoreError
from pmll_async.events import EventHub
from pmll_async.lines import Limits
from pmll_async.opening import Abandonable, Loaded, Opened, Shape, assemble, load
from pmll_async.protocols import Clock, Index, Store
from pmll_async.readable import Readable


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
                self._loading = Abandonable(self._load, self._store.close)
                loaded = await self._loading.run()
                self._open = assemble(loaded, self._concert, self._limits, self._clock, self._hub)
            self._usable()
        return self

    async def _settled(self) -> None:
        """Wait until an opening that was cancelled has given the store back."""
        if self._loading is not None:
            await self._loading.settled()

    def _load(self) -> Loaded:
        return load(self._store, self._index, self._shape, self._hasher)

    async def aclose(self) -> None:
        """Finish what was accepted, close the store, end the thread. Idempotent."""
        if self._open is not None:
            self._open.check_caller()
        self._closed = True
        async with self._opening:
            opened = self._open
            if opened is None:
                await self._settled()
                return
        if self._ending is None:
            # A task, so that no cancellation of a caller leaves the store open and locked.
            self._ending = asyncio.ensure_future(opened.end())
            self._ending.add_done_callback(lambda end: end.cancelled() or end.exception())
        await asyncio.shield(self._ending)

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
