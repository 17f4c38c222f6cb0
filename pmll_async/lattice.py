"""The lattice: the front door."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, Self
from weakref import WeakValueDictionary

from numpy.typing import ArrayLike
from typing_extensions import Unpack

from pmll_async import encryption, engine
from pmll_async.changes import Changeable
from pmll_async.engine.events.hub import BUFFERED_EVENTS, EventHub
from pmll_async.engine.shape import Shape
from pmll_async.errors import InvalidInputError, ReadOnlyStoreError, StaleAnchorError
from pmll_async.loop.lifecycle import Abandonable, Lifecycle, Openable
from pmll_async.proofs import Provable, sealing_at_close
from pmll_async.provenance import Provenance
from pmll_async.stores.choice import StoreAt
from pmll_async.values import checks, moments
from pmll_async.values.anchors import Hasher
from pmll_async.values.vectors import to_key
from pmll_async.views import LatticeView
from pmll_async.working import WorkingMemory

if TYPE_CHECKING:
    from pydantic import JsonValue

    from pmll_async.engine.assembly import Loaded, Opened
    from pmll_async.engine.events.events import BatchObserver, EventStream
    from pmll_async.engine.events.stats import LatticeStats
    from pmll_async.engine.ledger.snapshot import Point, Snapshot
    from pmll_async.engine.queries.services import Services
    from pmll_async.engine.race.race import CandidateFunction, Judge
    from pmll_async.integrity.lifetime import Lasting
    from pmll_async.integrity.sealing import Sealing
    from pmll_async.integrity.secrets import Secret, SuiteName
    from pmll_async.protocols import Clock, Index, Store
    from pmll_async.values.concert import Concert
    from pmll_async.values.lines import Candidate, Limits, RaceOutcome


class Lattice(Openable, Changeable, Provable, Provenance):
    """A persistent memory of hash-chained lines, for one event loop.

    Nothing happens before `async with lattice` or `await lattice`. `dim` and `value_dim` are the
    dimensions of keys and values; they may be left out when the store exists, and `value_dim` is
    `dim` unless given. `integrity_key` (1 to 64 bytes) makes every hash a keyed one. `clock` gives
    seconds since the epoch and is called in this loop's thread and in the trace's. Of a new store
    `novelty_window` fixes of how many of the newest live lines novelty is, for ever: `PinnedError`
    where it is another. Left out, it is what the store has, and of a new one all lines. With
    `seal_on_close` closing makes a seal, in that file or as `Sealing` says; `aclose` raises what
    kept it from being made, once all is closed. Unless `compact_on_close` is False, closing erases
    lines that have ended, once they are an eighth of all. `secret` (a `Passphrase`, a `RawKey`, or
    an async function that gives its 32 bytes for a store id) encrypts a new store and opens an
    encrypted one: `WrongSecretError` where it does not. `suite` is the cipher of a new one.
    """

    def __init__(
        self,
        store: Store | StoreAt,
        *,
        dim: int | None = None,
        value_dim: int | None = None,
        index: Index | None = None,
        concert: Concert | None = None,
        clock: Clock = time.time,
        integrity_key: bytes | None = None,
        limits: Limits | None = None,
        novelty_window: int | None = None,
        seal_on_close: str | os.PathLike[str] | Sealing | None = None,
        compact_on_close: bool = True,
        secret: Secret | None = None,
        suite: SuiteName | None = None,
    ) -> None:
        store = encryption.wrapped(store, secret, suite)
        self._store, self._clock = store, clock
        self._fetch = encryption.fetching(store, secret)
        self._compacts = checks.flag(compact_on_close, "compact_on_close")
        hub, at_close = EventHub(), sealing_at_close(seal_on_close)
        self._hub = hub
        self._concert, self._given_limits = concert, limits
        shape, hasher = Shape(dim, value_dim, novelty_window), Hasher(integrity_key)
        self._lifecycle: Lifecycle[Loaded, Opened] = Lifecycle(
            # Neither knows the lattice, which is given back when nobody else does.
            lambda: Abandonable(partial(_load, store, index, shape, hasher), store.close),
            lambda loaded: engine.assemble(loaded, concert, limits, clock, hub, at_close),
        )
        self._following = threading.Lock()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._working = WorkingMemory()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        sync: Literal["group", "os"] = "group",
        read_only: bool = False,
        lock_timeout: float = 0.0,
        dim: int | None = None,
        value_dim: int | None = None,
        index: Index | None = None,
        concert: Concert | None = None,
        clock: Clock = time.time,
        integrity_key: bytes | None = None,
        limits: Limits | None = None,
        novelty_window: int | None = None,
        seal_on_close: str | os.PathLike[str] | Sealing | None = None,
        compact_on_close: bool = True,
        secret: Secret | None = None,
        suite: SuiteName | None = None,
    ) -> Lattice:
        """The lattice in the folder `path`: a JSONL store, or an LMDB store for `….lmdb`.

        `sync="group"` acknowledges after fdatasync, `"os"` after `write` and syncs every second.
        `read_only` needs no lock and follows a live writer. `lock_timeout` is how many seconds to
        wait for another writer to close.
        """
        return cls(
            StoreAt(path, sync=sync, read_only=read_only, lock_timeout=lock_timeout),
            dim=dim,
            value_dim=value_dim,
            index=index,
            concert=concert,
            clock=clock,
            integrity_key=integrity_key,
            limits=limits,
            novelty_window=novelty_window,
            seal_on_close=seal_on_close,
            compact_on_close=compact_on_close,
            secret=secret,
            suite=suite,
        )

    def __repr__(self) -> str:
        name, opened = f"{type(self).__name__} {self._store.path}", self._open
        if opened is None:
            return f"<{name}, {'closed' if self._lifecycle.is_closed else 'not open'}>"
        state = opened.services.ledger.snapshot
        closed = ", closed" if self._lifecycle.is_closed else ""
        return f"<{name}: {len(state.chain)} lines, head {state.head}{closed}>"

    async def _opened(self) -> Self:
        if self._fetch is not None and self._open is None and not self._lifecycle.is_closed:
            # On the loop, by who opens it: nothing is open yet, should it be cancelled.
            await self._fetch()
        await self._lifecycle.open(self)
        return self

    async def aclose(self) -> None:
        """Finish what was accepted, close the store, let go of the threads. Idempotent.

        On another loop than its own only if that is closed.
        """
        try:
            if self._compacts:
                await self._erase_ended()
        finally:
            await self._lifecycle.close()

    @property
    def _open(self) -> Opened | None:
        return self._lifecycle.whole

    def _usable(self) -> Opened:
        return self._lifecycle.usable()

    def _writable(self) -> Opened:
        opened = self._usable()
        if self._store.read_only:
            raise ReadOnlyStoreError(self._store.path)
        return opened

    # --- writing -------------------------------------------------------------------------------

    async def put(
        self,
        key: ArrayLike,
        value: ArrayLike | None = None,
        context: Mapping[str, JsonValue] | None = None,
        prev_anchor: str | None = None,
        *,
        timestamp: moments.Moment | None = None,
        revises: Sequence[str] = (),
        min_novelty: float | None = None,
        idempotency_key: str | None = None,
        **life: Unpack[Lasting],
    ) -> str:
        """Store one line and return its anchor once it is durable.

        `key` (dim,); `value` (value_dim,), the key when left out; `timestamp` is epoch seconds or
        an aware datetime, 1970 to 2200, the commit's when left out. `prev_anchor` not the head, or
        a line of `revises` already revised or forgotten: `StaleAnchorError`. Novelty under
        `min_novelty`: `NotNovelError`. A known `idempotency_key`: the same anchor, or
        `ConflictError`. `ttl=`, `expires_at=`, `pinned=`: as in `lasting`. A large context is
        encoded between turns of the loop: leave it as it is until then.
        """
        opened = self._writable()
        if life:
            context = await self.lasting(context, **life)
        proposal = engine.PutProposal(
            await opened.encoder.line(key, value, context),
            timestamp=moments.optional_moment(timestamp, "timestamp"),
            prev_anchor=checks.prev_anchor(prev_anchor),
            revises=checks.anchors(revises, "revises"),
            min_novelty=None
            if min_novelty is None
            else checks.fraction(min_novelty, "min_novelty"),
            idempotency_key=checks.idempotency_key(idempotency_key),
        )
        return await opened.trace.commit(proposal)

    async def note(
        self,
        context: Mapping[str, JsonValue],
        prev_anchor: str | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> str:
        """Append a note: a line without vectors, on the chain but never returned by a query."""
        opened = self._writable()
        proposal = engine.PutProposal(
            await opened.encoder.note(context),
            prev_anchor=checks.prev_anchor(prev_anchor),
            idempotency_key=checks.idempotency_key(idempotency_key),
        )
        return await opened.trace.commit(proposal)

    async def put_many(
        self,
        candidates: Iterable[Candidate] | AsyncIterable[Candidate],
        *,
        batch: int = 256,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Store candidates in batches, each whole or not at all; returns how many lines are new.

        `batch` is at most 4096; one is encoded while another is committed. `progress` is told the
        number stored so far after each. An error stops it, says how many are stored in its notes,
        and a `PmllError` in `.stored`.
        """
        opened = self._writable()
        size = checks.count(batch, "batch", 1, engine.MOST_IN_A_BATCH)
        return await engine.put_many(candidates, opened.encoder, opened.trace, size, progress)

    async def race(
        self,
        candidates: Sequence[CandidateFunction[LatticeView]],
        *,
        query: ArrayLike | None = None,
        judge: Judge[LatticeView] | None = None,
        decay: float = 0.5,
        timeout: float | None = None,  # noqa: ASYNC109  # partial results are the point
        prev_anchor: str | None = None,
        idempotency_key: str | None = None,
    ) -> RaceOutcome:
        """Run candidate functions concurrently over one snapshot; commit the best, in one record.

        The highest score wins, then entry order. `judge(candidate, view)` scores; without one the
        score is the candidate's confidence, times its weight against `query` (dim,) if given.
        Losers become branches with strength `decay`. After `timeout` seconds what has finished
        competes. `NoWinnerError` when nothing is left. A known key returns the recorded outcome.
        """
        opened = self._writable()
        key = checks.idempotency_key(idempotency_key)
        prev = checks.prev_anchor(prev_anchor)
        strength = checks.fraction(decay, "decay")
        seconds = None if timeout is None else max(0.0, checks.number(timeout, "timeout"))
        vector = None if query is None else to_key(query, "query", opened.services.dim)[0]
        candidates = list(candidates)
        if not candidates:
            raise InvalidInputError("a race needs at least one candidate")
        services = opened.services
        recorded = await services.recorded_outcome(self._snapshot(), key)
        if recorded is not None:
            return recorded
        snapshot = self._snapshot()
        if prev not in (None, snapshot.head):
            raise StaleAnchorError(str(prev), snapshot.head)
        view = LatticeView(self._services, snapshot.revision, snapshot, self._now())
        nearest = partial(services.jobs.run, services.reader.novelties, snapshot)
        course = engine.RaceScoring(nearest, opened.encoder, self.concert, view, vector, judge)
        proposal = await course.run(candidates, strength, seconds)
        n, record = await opened.trace.commit(proposal.under(prev, key))
        return await services.outcome(n, record)

    async def pin(self, name: str, value: str) -> None:
        """Fix a fact about this lattice for ever, such as what its key vectors were made with.

        The same value again is nothing, another: `PinnedError`. Takes no part in digest or `at`.
        """
        opened = self._usable()
        name, value = checks.pin(name, value)
        if not opened.pins.has(name, value):
            await self._writable().trace.run(partial(opened.pins.add, name, value))

    # --- the rest of the front door ------------------------------------------------------------

    @property
    def dim(self) -> int:
        """The dimensions of a key."""
        return self._usable().services.dim

    @property
    def value_dim(self) -> int:
        """The dimensions of a value."""
        return self._usable().services.value_dim

    @property
    def novelty_window(self) -> int | None:
        """Of how many of the newest live lines novelty is; None: of all."""
        return self._snapshot().novelty_window

    @property
    def pins(self) -> Mapping[str, str]:
        """What `pin` has fixed, by name."""
        return self._usable().pins.known

    @property
    def concert(self) -> Concert:
        """The weights that queries are ranked with."""
        if self._concert is None:
            self._concert = engine.Concert.model_construct()
        return self._concert

    @property
    def _limits(self) -> Limits:
        if self._given_limits is None:
            self._given_limits = engine.Limits.model_construct()
        return self._given_limits

    @property
    def working(self) -> WorkingMemory:
        """Short-term context beside the lattice, in this process alone."""
        return self._working

    def at(self, point: Point) -> LatticeView:
        """The lattice just after the record of an anchor, a revision, or a moment (datetime)."""
        snapshot = self._snapshot()
        return LatticeView(self._services, snapshot.revision_at(point))

    def lock(self, name: str = "") -> asyncio.Lock:
        """A fair lock by name, for read-modify-write sequences between tasks."""
        self._usable()
        return self._locks.setdefault(name, asyncio.Lock())

    def events(self, *, buffer: int = BUFFERED_EVENTS) -> EventStream:
        """What is committed once the block is entered; a slow reader is told what it missed."""
        opened = self._writable()
        return engine.EventStream(opened.hub, checks.count(buffer, "buffer", 1))

    @property
    def stats(self) -> LatticeStats:
        """What it did since it was opened; in any thread, and after closing, too."""
        if self._open is None:
            return engine.LatticeStats()
        return engine.LatticeStats(*self._open.trace.sums, *self._open.services.queries.sums)

    def observe(self, observer: BatchObserver) -> Callable[[], None]:
        """Call the observer with each batch, before its callers go on; stop by what this returns.

        For instruments: it is called on the lattice's loop and must be quick. What it raises is
        logged. For events that a task reads at its own pace there is `events`.
        """
        return self._hub.observe(observer)

    def _services(self) -> Services:
        return self._usable().services

    def _snapshot(self) -> Snapshot:
        return self._usable().services.ledger.snapshot

    async def _ready(self) -> Snapshot:
        opened = self._usable()
        if self._store.read_only and isinstance(opened.store, engine.SupportsFollow):
            ledger = opened.services.ledger
            await opened.services.jobs.run(engine.follow, self._following, opened.store, ledger)
            opened = self._usable()
        return opened.services.ledger.snapshot

    def _pinned(self, snapshot: Snapshot) -> Snapshot | None:
        return snapshot if self._services().hiding.applies(snapshot.revision) else None

    def _now(self) -> float:
        return moments.moment(checks.time_by(self._clock), "the clock's time")


def _load(store: Store | StoreAt, index: Index | None, shape: Shape, hasher: Hasher) -> Loaded:
    """Open the store; blocks, and first loads what an open lattice is made of."""
    engine.load_parts()
    store = store.made() if isinstance(store, StoreAt) else store
    with encryption.told(store):
        return engine.load(store, engine.ExactIndex() if index is None else index, shape, hasher)
