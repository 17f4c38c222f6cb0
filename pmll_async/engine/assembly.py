"""Opening: from a store on disk to a ledger in memory, without anything left behind on failure."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pmll_async.engine.events.hub import EventHub
from pmll_async.engine.holdings import Holding, end_orphans, place_of
from pmll_async.engine.ledger.keys import LedgerKeys
from pmll_async.engine.ledger.ledger import Ledger
from pmll_async.engine.queries.batcher import QueryBatcher
from pmll_async.engine.queries.hiding import LIFETIMES, PIN, Hiding
from pmll_async.engine.queries.matches import FilterBatcher
from pmll_async.engine.queries.reader import Reader
from pmll_async.engine.queries.services import Services
from pmll_async.engine.seals import Seals
from pmll_async.engine.shape import Shape
from pmll_async.engine.trace.erasing import purge
from pmll_async.engine.trace.trace import Trace
from pmll_async.errors import (
    CorruptionError,
    ErasureUnfinishedError,
    InvalidInputError,
    LatticeClosedError,
    WrongEventLoopError,
)
from pmll_async.loop.jobs import Jobs
from pmll_async.loop.lifecycle import Abandonable
from pmll_async.loop.logs import logger
from pmll_async.loop.workers import are_clearing
from pmll_async.protocols import (
    Clock,
    Index,
    ReadsKeys,
    Sidecar,
    SidecarIndex,
    Store,
    StoreHeader,
    SupportsFollow,
    SupportsKeys,
    SupportsSidecar,
)
from pmll_async.records.proposals import Encoder
from pmll_async.values.anchors import Hasher
from pmll_async.values.concert import Concert
from pmll_async.values.lines import Limits, build_models
from pmll_async.values.room import give_back_freed

if TYPE_CHECKING:
    from pmll_async.integrity.sealing import Sealing

_CLEARING_SECONDS: Final = 0.2
"""So long the last to close waits for the shared threads to end."""


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """An open store and its ledger."""

    header: StoreHeader
    ledger: Ledger
    store: Store
    index: Index
    hasher: Hasher
    place: str


def load(store: Store, index: Index, shape: Shape, hasher: Hasher) -> Loaded:
    """Open the store and read what it holds; blocks. On any error the store is closed again."""
    build_models()
    _check_keys(store, index)
    end_orphans(store)
    header = store.open(_new_header(shape, hasher), hasher)
    try:
        shape.check(header)
        index.open(header.dim)
        ledger = _read(store, index, header.novelty_window)
        if not store.read_only:
            _finish_erasing(store, ledger)
        place = place_of(store)
    # Whatever stopped it, the store must not stay open and locked.
    except BaseException:
        store.close()
        raise
    return Loaded(header, ledger, store, index, hasher, place)


def loading(store: Store, index: Index, shape: Shape, hasher: Hasher) -> Abandonable[Loaded]:
    """`load` in a worker thread; given up, the store is closed again."""
    return Abandonable(partial(load, store, index, shape, hasher), store.close)


def _new_header(shape: Shape, hasher: Hasher) -> StoreHeader | None:
    """What a new store is made with; None without a dimension."""
    if shape.dim is None:
        return None
    value_dim = shape.dim if shape.value_dim is None else shape.value_dim
    return StoreHeader(
        shape.dim,
        value_dim,
        key_check=hasher.check_value(),
        novelty_window=shape.novelty_window,
    )


def _read(store: Store, index: Index, novelty_window: int | None) -> Ledger:
    try:
        ledger = Ledger(index, store.load(), novelty_window)
    except ValueError as exc:
        # A store has checked what it loads, but its cache without a key may be anybody's.
        raise CorruptionError(store.path, 0, str(exc)) from exc
    if isinstance(index, ReadsKeys) and isinstance(store, SupportsKeys):
        index.read_keys(LedgerKeys(store, store.path, ledger))
        if index.resident == "mmap":
            give_back_freed()
    found = _sidecar(store, index)
    if found is not None:
        found[0].restore(found[1].path, ledger.snapshot.columns.anchors)
    return ledger


def _finish_erasing(store: Store, ledger: Ledger) -> None:
    """Do what a crash, or a full disk, kept the last writer from doing."""
    try:
        purge(store, ledger)
    except ErasureUnfinishedError as exc:
        logger("pmll.trace").error("erasure.unfinished", path=store.path, error=str(exc))


def _sidecar(store: Store, index: Index) -> tuple[SidecarIndex, Sidecar] | None:
    """An index that leaves something with the store, and its file there; None without either."""
    if not (isinstance(index, SidecarIndex) and isinstance(store, SupportsSidecar)):
        return None
    place = store.sidecar(index.sidecar)
    return None if place is None else (index, place)


def _close(store: Store, index: Index, ledger: Ledger, seals: Seals) -> None:
    """Close the store, once what the next opening need not make again was left there."""
    try:
        seals.end()
        found = _sidecar(store, index)
        # An index that was opened with them has the keys of lines that are erased since.
        if found is not None and not found[1].read_only and not ledger.has_erased_rows:
            found[0].keep(found[1].path, ledger.snapshot.columns.anchors)
    except Exception as exc:  # noqa: BLE001  # it only saves time, and the store is to be closed
        logger("pmll.index").warning("index.not_kept", path=store.path, error=repr(exc))
    finally:
        store.close()


def _check_keys(store: Store, index: Index) -> None:
    """Refuse an index that leaves its keys to a store which cannot read them."""
    if not isinstance(index, ReadsKeys) or isinstance(store, SupportsKeys):
        return
    if index.resident != "memory":
        raise InvalidInputError(
            f"{type(index).__name__}(resident={index.resident!r}) reads keys from the store, and "
            f"{type(store).__name__} has no `keys` (SupportsKeys); keep them in memory instead"
        )


class Pins:
    """The facts about an open store that are fixed for ever."""

    def __init__(self, store: Store, header: StoreHeader) -> None:
        self._store, self._header = store, header

    @property
    def known(self) -> Mapping[str, str]:
        """All so far, by name; of a store open elsewhere those that it had when it was opened."""
        return MappingProxyType(self._header.pins)

    def has(self, name: str, value: str) -> bool:
        """Whether this is fixed already; `PinnedError` if another value is."""
        return self._header.with_pin(name, value) is self._header

    def add(self, name: str, value: str) -> None:
        """Fix a fact; blocks, in the trace's thread."""
        self._store.pin(name, value)
        self._header = self._header.with_pin(name, value)


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """What an open lattice consists of.

    It belongs to `loop`; where that is closed, only `aclose` is left. `forget` is what is to be
    done when the lattice is collected, by what does not know it.
    """

    loop: asyncio.AbstractEventLoop
    forget: Callable[[], None]
    services: Services
    encoder: Encoder
    trace: Trace
    hub: EventHub
    pins: Pins
    seals: Seals
    holding: Holding

    @property
    def store(self) -> Store:
        """The store."""
        return self.holding.store

    def check_process(self) -> None:
        """Refuse a forked child."""
        if self.holding.pid != os.getpid():
            raise LatticeClosedError("this lattice belongs to the parent process; open one here")

    def check_caller(self) -> None:
        """Refuse another event loop and a forked child."""
        self.check_process()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # In a thread without a loop: what only looks at a snapshot is safe there.
            return
        if loop is self.loop:
            return
        if self.loop.is_closed():
            raise WrongEventLoopError(
                "the event loop that this lattice was opened in is closed: close it here with "
                "`await lattice.aclose()`, and open it anew in this loop"
            )
        raise WrongEventLoopError

    def announce_end(self) -> None:
        """Somebody sees to its end."""
        self.holding.is_being_closed = True

    def end_orphaned(self) -> None:
        """`end` where its loop is closed; blocks."""
        self.holding.end()

    async def end(self) -> None:
        """Answer what was accepted, then close everything."""
        try:
            await self.services.queries.drained()
            await self.services.jobs.close()
            await self.trace.close()
        finally:
            self.hub.end()
            # Not if the loop ends meanwhile and cuts this off: then others still have to close.
            if self.trace.has_ended:
                self.holding.let_go()
        # A thread that ends tells nobody, so that looking is all one can do; and one that hangs is
        # not waited for.
        late = time.monotonic() + _CLEARING_SECONDS
        while are_clearing() and time.monotonic() < late:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0)
        if self.seals.failure is not None:
            raise self.seals.failure


def assemble(
    loaded: Loaded,
    concert: Concert | None,
    limits: Limits | None,
    clock: Clock,
    hub: EventHub | None = None,
    seal_at_close: Sealing | None = None,
) -> Opened:
    """The parts of a lattice over a loaded store, bound to the running loop."""
    header, ledger = loaded.header, loaded.ledger
    concert = Concert.model_construct() if concert is None else concert
    limits = Limits.model_construct() if limits is None else limits
    reader = Reader(loaded.store, loaded.index, concert, limits)
    hub, jobs = EventHub() if hub is None else hub, Jobs()
    seals = Seals(loaded.store, header, loaded.hasher, ledger, clock, seal_at_close)
    trace = Trace(
        store=loaded.store,
        ledger=ledger,
        index=loaded.index,
        hasher=loaded.hasher,
        clock=clock,
        limits=limits,
        dim=header.dim,
        committed=hub.committed,
        close=partial(_close, loaded.store, loaded.index, ledger, seals),
    )
    holding = Holding(loaded.store, loaded.place, trace)
    pins = Pins(loaded.store, header)
    hiding = Hiding(
        loaded.store.contexts,
        jobs,
        lambda: PIN in pins.known or LIFETIMES in pins.known,
        ledger.snapshot.revision,
        read_only=loaded.store.read_only,
    )
    newest = partial(hiding.newest, ledger, clock)
    return Opened(
        loop=jobs.loop,
        forget=holding.forget,
        services=Services(
            reader=reader,
            queries=QueryBatcher(reader, jobs, newest, header.dim, hub.happened),
            filters=FilterBatcher(reader, jobs),
            hiding=hiding,
            jobs=jobs,
            ledger=ledger,
            dim=header.dim,
            value_dim=header.value_dim,
        ),
        encoder=Encoder(header.dim, header.value_dim, loaded.hasher, limits),
        trace=trace,
        hub=hub,
        pins=pins,
        seals=seals,
        holding=holding,
    )


def follow(lock: threading.Lock, store: SupportsFollow, ledger: Ledger) -> None:
    """Take in what a writer elsewhere has added; blocks."""
    # Locked here and not by the callers: one that is cancelled leaves its job running.
    with lock:
        for block in store.follow():
            ledger.extend(block)
