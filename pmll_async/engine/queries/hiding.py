"""Hiding: what of a state queries may return, as sources, acts and lifetimes on its log say.

Follows the log from its beginning where the store says that it has some (a pin), else from where it
was opened. Of each line with a source or a lifetime some numbers are kept, of any other nothing.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from pmll_async.engine.ledger.ledger import Ledger
from pmll_async.engine.ledger.snapshot import Snapshot
from pmll_async.integrity.lifetime import LIFE, lifetime_of
from pmll_async.integrity.renaming import names_lines
from pmll_async.integrity.source import Status, source_of
from pmll_async.integrity.standing import Act, Mask, Standing, act_of, hide_derived
from pmll_async.loop.breathing import Breather
from pmll_async.loop.jobs import Jobs
from pmll_async.protocols import Clock
from pmll_async.values.arrays import GrowingArray
from pmll_async.values.checks import time_by
from pmll_async.values.contexts import parse_json

PIN: Final = "provenance"
"""The pin of a store that has sources or acts: one without it need not be looked through."""
LIFETIMES: Final = "lifetimes"
"""The pin of a store some of whose lines end, or are kept."""
PIN_VALUE: Final = "1"
_LIFE_SIGN: Final = f'"{LIFE}":{{'.encode()
_RECORDS_AT_ONCE: Final = 1024
"""What is read again after an error."""

Contexts = Callable[[int, int], Iterator[Sequence[bytes]]]


class SourceTable:
    """What the lines of a log say of their sources, and the acts among its notes."""

    def __init__(self, first: int) -> None:
        self.records = first
        self.codes: dict[str, int] = {}
        """The number of each principal."""
        self.lines, self.principals = GrowingArray(np.int32), GrowingArray(np.int32)
        """The lines that have a source, ascending, and the numbers of their principals."""
        self.held: list[int] = []
        """Lines that were quarantined when they were written."""
        self.derived: list[tuple[int, list[int]]] = []
        """Lines that have parents, and these."""
        self.act_lines = GrowingArray(np.int32)
        self.acts: list[Act] = []
        self.ending, self.ends = GrowingArray(np.int32), GrowingArray(np.float64)
        """The lines that end, ascending, and when, in seconds since the epoch."""
        self.kept: set[int] = set()
        """The lines that are pinned."""

    def follow(self, contexts: Contexts, snapshot: Snapshot) -> None:
        """Take in the records up to the snapshot's; an error leaves it with whole batches."""
        breathe = Breather()
        while self.records < snapshot.revision:
            stop = min(self.records + _RECORDS_AT_ONCE, snapshot.revision)
            line, found = int(snapshot.line_starts[self.records]), []
            for encoded in chain.from_iterable(contexts(self.records, stop)):
                breathe()
                if names_lines(encoded) or _LIFE_SIGN in encoded:
                    found.append((line, parse_json(encoded)))
                line += 1
            for line, context in found:
                self._take(line, context, snapshot)
            self.records = stop

    def _take(self, line: int, context: Mapping[str, Any], snapshot: Snapshot) -> None:
        act, source, life = act_of(context), source_of(context), lifetime_of(context)
        if life is not None and life.pinned:
            self.kept.add(line)
        elif life is not None:
            committed_at = float(snapshot.times[snapshot.record_of(line) + 1])
            self.ending.extend(np.array([line]))
            self.ends.extend(np.array([life.ends(committed_at)]))
        if act is not None:
            self.act_lines.extend(np.array([line]))
            self.acts.append(act)
        if source is None:
            return
        code = self.codes.setdefault(source.principal, len(self.codes))
        self.lines.extend(np.array([line]))
        self.principals.extend(np.array([code]))
        if source.quarantined:
            self.held.append(line)
        parents = [found for parent in source.parents for found in _lines_of(snapshot, parent)]
        if parents:
            self.derived.append((line, [parent for parent in parents if parent < line]))


class Moments:
    """From when on, and until when, the same lines are over; seconds since the epoch."""

    def __init__(self, ends: NDArray[np.float64], now: float) -> None:
        before, after = ends[ends <= now], ends[ends > now]
        self.since = float(before.max()) if len(before) else float("-inf")
        self.until = float(after.min()) if len(after) else float("inf")

    def have(self, now: float) -> bool:
        """Whether that is one of them."""
        return self.since <= now < self.until


def _lines_of(snapshot: Snapshot, anchor: str) -> list[int]:
    return snapshot.by_anchor.find(anchor, len(snapshot.anchors))


class _Hidden:
    """Which lines are hidden while the same acts stand and no line ends; grows with the lines."""

    def __init__(self, table: SourceTable, in_force: Mask, now: float) -> None:
        self.in_force, self.moments = in_force, Moments(table.ends.view(), now)
        self._table = table
        self.standing = Standing(
            act for act, stands in zip(table.acts, in_force, strict=False) if stands
        )
        self._lines = GrowingArray(np.bool_)
        self._live = GrowingArray(np.bool_)
        self._plain: NDArray[np.bool_] | None = None
        self._sourced = self._held = self._derived = 0

    def grow(self, snapshot: Snapshot) -> Mask:
        """Which of the snapshot's lines are hidden."""
        first, count = len(self._lines), len(snapshot.kinds)
        self._lines.extend(np.zeros(max(0, count - first), np.bool_))
        hidden = self._lines.view()
        # What it was hidden for is not to be read any more, and what comes of it stays hidden.
        hidden[[line for line in snapshot.erasures.withheld if line < count]] = True
        self._hide_own(hidden, snapshot)
        derived = self._table.derived
        while self._derived < len(derived) and derived[self._derived][0] < count:
            hide_derived(hidden, derived[self._derived : self._derived + 1])
            self._derived += 1
        return hidden[:count]

    def _hide_own(self, hidden: Mask, snapshot: Snapshot) -> None:
        table, standing, count = self._table, self.standing, len(hidden)
        lines = table.lines.view()
        stop = int(np.searchsorted(lines, np.int32(count)))
        codes = [table.codes[name] for name in standing.revoked if name in table.codes]
        fresh = slice(self._sourced, stop)
        hidden[lines[fresh][np.isin(table.principals.view()[fresh], codes)]] = True
        self._sourced = stop
        while self._held < len(table.held) and table.held[self._held] < count:
            line = table.held[self._held]
            hidden[line] |= standing.held.get(snapshot.anchor(line), True)
            self._held += 1
        for anchor, is_held in standing.held.items():
            if is_held:
                hidden[[line for line in _lines_of(snapshot, anchor) if line < count]] = True

    def over(self, snapshot: Snapshot) -> NDArray[np.int32]:
        """The snapshot's lines that have ended by then."""
        ending, ends = self._table.ending.view(), self._table.ends.view()
        stop = int(np.searchsorted(ending, np.int32(len(snapshot.kinds))))
        over: NDArray[np.int32] = ending[:stop][ends[:stop] <= self.moments.since]
        return over

    def live(self, snapshot: Snapshot) -> Mask | None:
        """What is live of the snapshot's rows and not hidden; None if nothing is hidden."""
        lines = np.union1d(np.flatnonzero(self.grow(snapshot)), self.over(snapshot))
        if not len(lines):
            return None
        rows, plain = snapshot.ranked[lines], snapshot.columns.live
        before, first = self._plain, len(self._live)
        goes_on = plain.base is not None and before is not None and before.base is plain.base
        if not goes_on or len(plain) < first:
            # A strength or a life has changed: another column, and so one of our own.
            self._live, first = GrowingArray(np.bool_), 0
        self._plain = plain
        shown = plain[first:].copy()
        rows = rows[rows >= first]
        shown[rows - first] = False
        self._live.extend(shown)
        # What is the same column with more rows, an index knows already.
        return self._live.view()


class _Shown(NamedTuple):
    """A state as it is seen at some moments; None where nothing of it is hidden."""

    snapshot: Snapshot | None
    moments: Moments


class Hiding:
    """Shows states without what is hidden in them; for one loop, the work in worker threads."""

    def __init__(
        self,
        contexts: Contexts,
        jobs: Jobs,
        is_pinned: Callable[[], bool],
        revision: int,
        *,
        read_only: bool,
    ) -> None:
        self._contexts, self._jobs, self._is_pinned = contexts, jobs, is_pinned
        # What a writer elsewhere has pinned since, a reader does not see.
        self._opened_at = revision if read_only else None
        self._table = SourceTable(0 if is_pinned() else revision)
        self._shown: WeakKeyDictionary[Snapshot, _Shown] = WeakKeyDictionary()
        self._newest: _Hidden | None = None
        self._newest_revision = 0
        self._lock = threading.Lock()
        self._working: asyncio.Future[Any] | None = None

    def applies(self, revision: int) -> bool:
        """Whether anything may be hidden at all; does not block."""
        return self._is_pinned() or (self._opened_at is not None and revision > self._opened_at)

    async def of(self, snapshot: Snapshot, now: float) -> Snapshot:
        """The state as queries of that moment see it."""
        while self.applies(snapshot.revision):
            known = self._shown.get(snapshot)
            if known is not None and known.moments.have(now):
                return known.snapshot or snapshot
            # One thread at a time, so that whoever waits for it leaves the others to work.
            if self._working is None or self._working.done():
                self._working = self._jobs.start(self._see, snapshot, now)
                await asyncio.shield(self._working)
            else:
                await asyncio.wait([self._working])
        return snapshot

    def newest(self, ledger: Ledger, clock: Clock) -> Snapshot:
        """What `of` gives of the newest state now; blocks, unless nothing can be hidden."""
        snapshot = ledger.snapshot
        if not self.applies(snapshot.revision):
            return snapshot
        return self._see(snapshot, time_by(clock)) or snapshot

    def _see(self, snapshot: Snapshot, now: float) -> Snapshot | None:
        with self._lock:
            known = self._shown.get(snapshot)
            if known is None or not known.moments.have(now):
                hidden = self._hidden(snapshot, now)
                live, shown = hidden.live(snapshot), None
                if live is not None:
                    shown = replace(snapshot, columns=replace(snapshot.columns, live=live))
                known = self._shown[snapshot] = _Shown(shown, hidden.moments)
        return known.snapshot

    async def over(self, snapshot: Snapshot, now: float) -> frozenset[int]:
        """The lines of that state that have ended by then."""
        if not self.applies(snapshot.revision):
            return frozenset()
        return await self._jobs.run(self._over, snapshot, now)

    def _over(self, snapshot: Snapshot, now: float) -> frozenset[int]:
        with self._lock:
            return frozenset(self._hidden(snapshot, now).over(snapshot).tolist())

    async def kept(self, snapshot: Snapshot) -> frozenset[int]:
        """The lines that are pinned, of that state and perhaps newer ones."""
        if not self.applies(snapshot.revision):
            return frozenset()
        return await self._jobs.run(self._kept, snapshot)

    def _kept(self, snapshot: Snapshot) -> frozenset[int]:
        with self._lock:
            self._table.follow(self._contexts, snapshot)
            return frozenset(self._table.kept)

    async def among(
        self, snapshot: Snapshot, anchors: Sequence[str]
    ) -> tuple[frozenset[str], frozenset[str]]:
        """Which of these lines are hidden in that state, and which are acts on its chain."""
        if not self.applies(snapshot.revision):
            return frozenset(), frozenset()
        return await self._jobs.run(self._among, snapshot, anchors)

    def _among(
        self, snapshot: Snapshot, anchors: Sequence[str]
    ) -> tuple[frozenset[str], frozenset[str]]:
        lines = dict(zip(anchors, snapshot.find_all(anchors), strict=True))
        with self._lock:
            hidden = self._hidden(snapshot, 0.0).grow(snapshot)
            acts = {line for line in self._table.act_lines.view().tolist() if line < len(hidden)}
        shadows = set(np.flatnonzero(hidden).tolist())
        acts = {line for line in acts if snapshot.has(line)}
        return (
            frozenset(anchor for anchor, found in lines.items() if not shadows.isdisjoint(found)),
            frozenset(anchor for anchor, found in lines.items() if not acts.isdisjoint(found)),
        )

    async def status(self, snapshot: Snapshot, line: int, now: float) -> Status:
        """Whether a line is shown in that state at that moment, and why not."""
        if not self.applies(snapshot.revision):
            return "shown"
        return await self._jobs.run(self._status, snapshot, line, now)

    def _status(self, snapshot: Snapshot, line: int, now: float) -> Status:
        with self._lock:
            hidden = self._hidden(snapshot, now)
            if not hidden.grow(snapshot)[line]:
                return "expired" if line in hidden.over(snapshot) else "shown"
            return self._reason(hidden.standing, snapshot, line)

    def _reason(self, standing: Standing, snapshot: Snapshot, line: int) -> Status:
        table = self._table
        place = int(np.searchsorted(table.lines.view(), np.int32(line)))
        if place < len(table.lines) and table.lines.view()[place] == line:
            codes = {table.codes.get(name) for name in standing.revoked}
            if int(table.principals.view()[place]) in codes:
                return "revoked"
        is_held = standing.held.get(snapshot.anchor(line), line in table.held)
        return "quarantined" if is_held else "derived"

    def _hidden(self, snapshot: Snapshot, now: float) -> _Hidden:
        table = self._table
        table.follow(self._contexts, snapshot)
        lines = table.act_lines.view()
        lines = lines[: int(np.searchsorted(lines, np.int32(len(snapshot.kinds))))]
        # A rollback takes acts off the chain as it does everything else.
        in_force = snapshot.present[lines]
        newest = self._newest
        is_older = snapshot.revision < self._newest_revision
        moments = Moments(table.ends.view(), now)
        if (
            newest is not None
            and not is_older
            and newest.moments.since == moments.since
            and np.array_equal(newest.in_force, in_force)
        ):
            self._newest_revision, newest.moments = snapshot.revision, moments
            return newest
        hidden = _Hidden(table, in_force, now)
        if not is_older:
            self._newest, self._newest_revision = hidden, snapshot.revision
        return hidden
