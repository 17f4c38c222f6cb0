"""Views: a lattice in one state, past or present, and what it is asked there."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from numpy.typing import ArrayLike

from pmll_async import engine
from pmll_async.errors import LineNotFoundError, PmllError
from pmll_async.lazy import lazily
from pmll_async.questions import (
    AGREEMENT,
    Corroboration,
    Rewind,
    Rewound,
    answered,
    matching_rows,
    read_lines,
)
from pmll_async.values import checks, moments
from pmll_async.values.exact import Float32, weighted_bias
from pmll_async.values.vectors import to_key

__all__ = ["LatticeView", "LogState", "Readable", "Survey"]

if TYPE_CHECKING:
    from pydantic import JsonValue

    from pmll_async.engine.ledger.snapshot import Snapshot
    from pmll_async.engine.queries.services import Services
    from pmll_async.engine.queries.survey import LogState, Survey
    from pmll_async.values.lines import MemoryLine, RaceOutcome
else:
    __getattr__ = lazily(
        __name__,
        {
            "LogState": "pmll_async.engine.queries.survey",
            "Survey": "pmll_async.engine.queries.survey",
        },
    )

Where: TypeAlias = "Mapping[str, JsonValue]"
"""A filter on contexts, such as {"topic": "x", "step": {"$gte": 3}}; see `values.where`."""

Result = TypeVar("Result")


class Readable(ABC):
    """Queries, lines and the chain, of one state."""

    @abstractmethod
    def _services(self) -> Services:
        """Raises `LatticeClosedError` and the like."""

    @abstractmethod
    def _snapshot(self) -> Snapshot:
        """The state, without waiting."""

    @abstractmethod
    async def _ready(self) -> Snapshot:
        """The state, after whatever must be waited for."""

    @abstractmethod
    def _pinned(self, snapshot: Snapshot) -> Snapshot | None:
        """What the batcher is told: the state, or None for the newest at that moment."""

    @abstractmethod
    def _now(self) -> float:
        """The `now` of a query that gives none."""

    async def _shown(self, now: float) -> Snapshot:
        """The state without what is hidden then."""
        return await self._services().hiding.of(await self._ready(), now)

    async def survey(self) -> Survey:
        """The whole state: not for agents, but for indexes over its lines."""
        services = self._services()
        jobs, snapshot = services.jobs, await self._shown(self._now())
        rows = partial(matching_rows, services, snapshot)
        dimensions = services.dim, services.value_dim
        return engine.Survey(snapshot, services.reader, jobs.run, jobs.call, rows, dimensions)

    def __bool__(self) -> bool:
        """Always true: an empty lattice is a lattice."""
        return True

    def __len__(self) -> int:
        """The number of lines on the chain, notes included."""
        return len(self._snapshot().chain)

    def __contains__(self, anchor: object) -> bool:
        """Whether the anchor is on the chain."""
        return self._snapshot().holds(anchor)

    @property
    def head(self) -> str:
        """The anchor of the newest line on the chain."""
        return self._snapshot().head

    @property
    def revision(self) -> int:
        """The number of records that led to this state."""
        return self._snapshot().revision

    async def query(
        self,
        query_vec: ArrayLike,
        k: int = 5,
        *,
        where: Where | None = None,
        min_similarity: float | None = None,
        branches: bool = True,
        now: moments.Moment | None = None,
        since: moments.Moment | None = None,
        until: moments.Moment | None = None,
        min_trust: float | None = None,
        min_sources: int | None = None,
        agreement: float = AGREEMENT,
        diversity: bool = False,
    ) -> list[MemoryLine]:
        """The best `k` live lines for a vector (dim,), by weight, then later record, then anchor.

        `min_similarity` (-1 to 1) replaces the concert's floor; `now` is in epoch seconds.
        `since` and `until` (exclusive) bound when lines happened, by their timestamps.
        `branches=False` leaves the losers of races out. No line under `min_trust` (0 to 1) is
        returned, or with `min_sources` only those that so many principals agree on, at first hand
        and with a cosine of `agreement` or more. With `diversity` no principal has more than half.
        """
        guard = engine.Guard.of(min_trust, min_sources, agreement, diversity)
        services = self._services()
        vector, norm = to_key(query_vec, "query_vec", services.dim)
        limit = checks.count(k, "k", 0)
        when = moments.optional_moment(now, "now")
        floor = (
            None
            if min_similarity is None
            else checks.fraction(min_similarity, "min_similarity", -1.0)
        )
        matching = engine.narrowed(where, since, until)
        with_branches = checks.flag(branches, "branches")
        when = self._now() if when is None else when
        snapshot = await self._shown(when)
        question = engine.Query(vector, norm, limit, when, floor=floor, branches=with_branches)
        if guard.chooses:
            asking = Corroboration(services, snapshot, guard)
            return await asking.best(question, matching)
        pinned = self._pinned(snapshot)
        return await answered(services, snapshot, pinned, question, guard.narrowed(matching))

    async def bias_vector(
        self,
        query_vec: ArrayLike,
        k: int = 5,
        *,
        where: Where | None = None,
        branches: bool = True,
        now: moments.Moment | None = None,
        since: moments.Moment | None = None,
        until: moments.Moment | None = None,
        min_trust: float | None = None,
        min_sources: int | None = None,
        agreement: float = AGREEMENT,
        diversity: bool = False,
    ) -> Float32:
        """Σ w v / Σ w over the lines that `query` returns, float32 (value_dim,), or zeros."""
        value_dim = self._services().value_dim
        lines = await self.query(
            query_vec,
            k,
            where=where,
            branches=branches,
            now=now,
            since=since,
            until=until,
            min_trust=min_trust,
            min_sources=min_sources,
            agreement=agreement,
            diversity=diversity,
        )
        return weighted_bias(
            [line.weight for line in lines], [line.value for line in lines], value_dim
        )

    async def get(self, anchor: str) -> MemoryLine:
        """The newest line with this anchor, also a note, a branch, or one that is off the chain."""
        services = self._services()
        wanted = checks.anchor(anchor)
        snapshot = await self._ready()
        line = snapshot.find(wanted)
        return await services.jobs.run(services.reader.line, snapshot, line)

    async def find(self, idempotency_key: str) -> MemoryLine:
        """The line stored under the key; of a race the winner. `LineNotFoundError` without one."""
        services = self._services()
        checks.lookup_key(idempotency_key)
        snapshot = await self._ready()
        use = snapshot.key_use(idempotency_key)
        line = int(snapshot.line_starts[use.n])
        return await services.jobs.run(services.reader.line, snapshot, line)

    async def branches(self, anchor: str) -> list[MemoryLine]:
        """The losers of the race that the line won, best first; empty if it won none."""
        services = self._services()
        wanted = checks.anchor(anchor)
        snapshot = await self._ready()
        losers = snapshot.losers(snapshot.find(wanted))
        return await services.jobs.run(read_lines, services.reader, snapshot, losers)

    async def outcome(self, anchor: str) -> RaceOutcome:
        """What the race gave that the line won: its losers, failures and scores, as recorded.

        `LineNotFoundError` if it won none.
        """
        services = self._services()
        wanted = checks.anchor(anchor)
        snapshot = await self._ready()
        line = snapshot.find(wanted)
        record = snapshot.record_of(line)
        if int(snapshot.line_starts[record]) != line:
            raise LineNotFoundError(anchor, "race that it won and the anchor")
        return await services.jobs.run(services.reader.outcome, snapshot, record)

    def rewind(
        self,
        *,
        where: Where | None = None,
        since: moments.Moment | None = None,
        until: moments.Moment | None = None,
        limit: int | None = None,
        start: str | None = None,
        forgotten: bool = True,
    ) -> AsyncIterator[MemoryLine]:
        """The chain from `start` (inclusive; the head by default) to its beginning, notes included.

        `since` and `until` (exclusive) bound when lines happened. What was forgotten is so marked,
        and with `forgotten=False` left out. Reads as it goes, a few lines at a time; leaving the
        loop early is always safe.
        """
        self._services()
        most = None if limit is None else checks.count(limit, "limit", 0)
        first = None if start is None else checks.anchor(start)
        shown = checks.flag(forgotten, "forgotten")
        asked = Rewound(engine.narrowed(where, since, until), most, first, forgotten=shown)
        return Rewind(self._services, self._ready, asked)


class LatticeView(Readable):
    """The lattice as it was just after one record; `now` is that record's commit time unless given.

    It reads from the lattice that made it and lives no longer. An old state is drawn when it is
    first asked for: by a query in a worker thread, by `len`, `in` and `head` at once.
    """

    def __init__(
        self,
        services: Callable[[], Services],
        revision: int,
        snapshot: Snapshot | None = None,
        now: float | None = None,
    ) -> None:
        self._open_services = services
        self._revision = revision
        self._drawn = snapshot
        self._drawing: asyncio.Future[Snapshot] | None = None
        self._given_now = now

    def __repr__(self) -> str:
        return f"LatticeView(revision={self._revision})"

    @property
    def revision(self) -> int:
        """The number of records that led to this state."""
        return self._revision

    @property
    def now(self) -> float:
        """The `now` of this view's queries, in seconds since the epoch."""
        return self._now()

    def _services(self) -> Services:
        return self._open_services()

    def _snapshot(self) -> Snapshot:
        if self._drawn is None or self._drawn.is_outdated:
            self._drawn = self._services().ledger.at(self._revision)
        return self._drawn

    async def _ready(self) -> Snapshot:
        if self._drawn is None or self._drawn.is_outdated:
            self._drawn = await self._draw()
        return self._drawn

    async def _draw(self) -> Snapshot:
        """The state, drawn once for all who wait for it."""
        services = self._services()
        if self._drawing is None or (self._drawing.done() and self._drawn is not None):
            self._drawing = services.jobs.start(services.ledger.at, self._revision)
        try:
            return await asyncio.shield(self._drawing)
        except PmllError:
            self._drawing = None
            raise

    def _pinned(self, snapshot: Snapshot) -> Snapshot | None:
        return snapshot

    def _now(self) -> float:
        if self._given_now is not None:
            return self._given_now
        return self._services().ledger.time_of(self._revision)
