"""The trace: the only writer. One thread takes what waits, decides it in order, and commits it.

Callers hand over a ticket and await a future of their own loop. No cancel scope, shield or task
can cut a commit, because none of them reaches this thread. A caller cancelled before its ticket is
taken leaves nothing behind; afterwards its record is written whole.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any, Final

import structlog

from pmll_async.anchors import Hasher
from pmll_async.breathing import WAKE_AT_ONCE, Breather
from pmll_async.columns import Block
from pmll_async.draft import Answer, Draft
from pmll_async.errors import LatticeClosedError, PmllError, StoreError, twin
from pmll_async.ledger import Ledger
from pmll_async.lines import Limits
from pmll_async.proposals import ForgetProposal, Proposal, RollbackProposal
from pmll_async.protocols import Clock, Index, Store, SupportsSync
from pmll_async.records import Record
from pmll_async.stats import CommitBatch, CommitSums, anchors_of

_log = structlog.get_logger("pmll.trace")

SYNC_SECONDS: Final = 1.0
"""How long an acknowledged record of a store that syncs later may wait for the disk."""

_ALONE: Final = (ForgetProposal, RollbackProposal)
"""These change which lines novelty looks at, so that they get a batch of their own."""

Committed = Callable[[int, list[Record], CommitBatch], None]
"""Called on the loop with the number of the first of new records, if any, and the records."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A proposal or a job on its way, and where its caller waits; without either it is to close."""

    proposal: Proposal | None
    future: asyncio.Future[Any]
    job: Callable[[], None] | None = None
    answer: Answer = None
    error: BaseException | None = None
    since: float = field(default_factory=perf_counter)

    def settle(self) -> None:
        """Wake the caller, if it still waits. On its loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.answer)


class Trace:
    """The commit thread of one lattice; started by the first ticket, ended by `close`."""

    def __init__(
        self,
        *,
        store: Store,
        ledger: Ledger,
        index: Index,
        hasher: Hasher,
        clock: Clock,
        limits: Limits,
        dim: int,
        committed: Committed,
    ) -> None:
        self._store, self._ledger, self._index = store, ledger, index
        self._hasher, self._clock, self._limits, self._dim = hasher, clock, limits, dim
        self._committed = committed
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Ticket] = SimpleQueue()
        self._held: Ticket | None = None
        self._thread: threading.Thread | None = None
        self._closing: asyncio.Future[Any] | None = None
        self._broken: BaseException | None = None
        self._sums = CommitSums()
        self._waking = 0
        self._synced_at = time.monotonic()
        self._unsynced = False

    @property
    def sums(self) -> CommitSums:
        """What it did so far, as of the last batch; in any thread."""
        return self._sums

    async def commit(self, proposal: Proposal) -> Any:
        """Hand over a proposal and wait until its records are durable.

        Cancelling the wait before the ticket is taken withdraws it.
        """
        return await self._answer(Ticket(proposal, self._loop.create_future()))

    async def run(self, job: Callable[[], None]) -> None:
        """Run a job that writes to the store, between two batches; cancelling is as of `commit`."""
        await self._answer(Ticket(None, self._loop.create_future(), job))

    async def close(self) -> None:
        """Finish accepted tickets, close the store and end the thread; later calls wait for it."""
        if self._closing is None:
            closing = self._loop.create_future()
            self._submit(Ticket(None, closing))
            self._closing = closing
        # Waiting must not be able to cancel what other callers wait for, too.
        await asyncio.wait([self._closing])
        # The thread is on its last lines and the last callers are being woken: neither takes long,
        # and joining would block the loop.
        while self._waking or (self._thread is not None and self._thread.is_alive()):  # noqa: ASYNC110  # a thread's end tells nobody
            await asyncio.sleep(0)
        self._closing.result()

    async def _answer(self, ticket: Ticket) -> Any:
        if self._closing is not None:
            raise LatticeClosedError
        self._submit(ticket)
        return await ticket.future

    def _submit(self, ticket: Ticket) -> None:
        if self._thread is None:
            # A daemon: a process that forgets to close must still be able to end.
            thread = threading.Thread(target=self._run, name="pmll-trace", daemon=True)
            thread.start()
            self._thread = thread
        self._queue.put(ticket)

    # --- in the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            wanted = [ticket for ticket in self._take() if not ticket.future.cancelled()]
            if wanted and wanted[0].proposal is None:
                self._do(wanted[0])
                if wanted[0].job is None:
                    return
            elif wanted:
                self._commit(wanted)
            self._sync_later()

    def _take(self) -> list[Ticket]:
        """What waits, up to the limits; nothing when it is time to sync."""
        first = self._next(wait=True)
        if first is None:
            return []
        batch = [first]
        count, size = _measure(first)
        while not _is_alone(first) and count < self._limits.batch_records:
            ticket = self._next(wait=False)
            if ticket is None:
                break
            more, bytes_more = _measure(ticket)
            if _is_alone(ticket) or size + bytes_more > self._limits.batch_bytes:
                self._held = ticket
                break
            batch.append(ticket)
            count, size = count + more, size + bytes_more
        return batch

    def _next(self, *, wait: bool) -> Ticket | None:
        if self._held is not None:
            held, self._held = self._held, None
            return held
        try:
            return self._queue.get(wait, SYNC_SECONDS if wait and self._unsynced else None)
        except Empty:
            return None

    def _commit(self, tickets: list[Ticket]) -> None:
        records: list[Record] = []
        first = self._ledger.snapshot.revision
        began = decided = perf_counter()
        try:
            records = self._decide(tickets)
            decided = perf_counter()
            if records:
                self._write(records)
        # Whatever went wrong, the callers must learn it and the thread must go on.
        except BaseException as exc:  # noqa: BLE001  # as said
            error = exc if isinstance(exc, Exception) else StoreError(f"the trace met {exc!r}")
            if error is not exc:
                self._broken = exc
            for ticket in tickets:
                ticket.error = ticket.error or twin(error)
            records = []
        batch = self._tally(tickets, first, records, (began, decided, perf_counter()))
        self._call(self._settle, tickets, first, records, batch)

    def _tally(
        self,
        tickets: list[Ticket],
        first: int,
        records: list[Record],
        times: tuple[float, float, float],
    ) -> CommitBatch:
        began, decided, ended = times
        batch = CommitBatch(
            revision=first + len(records),
            anchors=anchors_of(records),
            calls=len(tickets),
            refused=sum([ticket.error is not None for ticket in tickets]),
            began=began,
            waited=began - tickets[0].since,
            deciding=decided - began,
            writing=ended - decided,
        )
        waiting = sum([began - ticket.since for ticket in tickets])
        # One new value, so that whoever reads it meanwhile sees a batch wholly or not at all.
        self._sums = self._sums.with_batch(batch, records, waiting)
        return batch

    def _decide(self, tickets: list[Ticket]) -> list[Record]:
        self._check()
        contents = [c for t in tickets if t.proposal is not None for c in t.proposal.contents]
        draft = Draft(
            self._ledger, self._index, self._hasher, self._checked_clock, contents, self._dim
        )
        breathe = Breather()
        for ticket in tickets:
            breathe()
            if ticket.proposal is None:
                continue
            try:
                ticket.answer = draft.decide(ticket.proposal)
            except PmllError as exc:
                ticket.error = exc
        return draft.records

    def _check(self) -> None:
        if self._broken is not None:
            raise StoreError(
                f"an earlier failure stopped this lattice: {self._broken!r}; reopen it"
            )

    def _write(self, records: list[Record]) -> None:
        snapshot = self._ledger.snapshot
        block = Block.of(records, snapshot.revision, snapshot.digest, self._dim)
        self._store.append(records, block)
        self._unsynced = isinstance(self._store, SupportsSync)
        try:
            self._ledger.extend(block)
        # The log is ahead of memory now; only reading it again can mend that.
        except BaseException as exc:
            self._broken = exc
            raise

    def _checked_clock(self) -> float:
        try:
            now = float(self._clock())
        # The clock is the user's code: what it raises is the error of this ticket alone.
        except BaseException as exc:
            raise PmllError(f"the clock raised {exc!r}") from exc
        if not abs(now) < float("inf"):
            raise PmllError(f"the clock gave {now}; it must give seconds as a finite number")
        return now

    def _sync_later(self) -> None:
        due = self._unsynced and time.monotonic() - self._synced_at >= SYNC_SECONDS
        if not due or not isinstance(self._store, SupportsSync):
            return
        self._synced_at, self._unsynced = time.monotonic(), False
        began = perf_counter()
        try:
            self._store.sync()
        except (StoreError, OSError) as exc:
            _log.error("trace.sync_failed", error=repr(exc))
        self._sums = self._sums.with_sync(perf_counter() - began)

    def _do(self, ticket: Ticket) -> None:
        """The job, or closing the store."""
        try:
            if ticket.job is None:
                self._store.close()
            else:
                self._check()
                ticket.job()
        # Whatever went wrong, the caller must learn it and the thread must come to its end.
        except BaseException as exc:  # noqa: BLE001  # as said
            ticket.error = exc
        self._call(ticket.settle)

    # --- back on the loop ----------------------------------------------------------------------

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            # The loop is closed, so that nobody waits any more.
            _log.warning("trace.loop_closed")

    def _settle(
        self, tickets: list[Ticket], first: int, records: list[Record], batch: CommitBatch
    ) -> None:
        self._committed(first, records, batch)
        self._waking += len(tickets)
        self._wake(tickets)

    def _wake(self, tickets: list[Ticket]) -> None:
        for ticket in tickets[:WAKE_AT_ONCE]:
            ticket.settle()
            self._waking -= 1
        if len(tickets) > WAKE_AT_ONCE:
            self._loop.call_soon(self._wake, tickets[WAKE_AT_ONCE:])


def _is_alone(ticket: Ticket) -> bool:
    return ticket.proposal is None or isinstance(ticket.proposal, _ALONE)


def _measure(ticket: Ticket) -> tuple[int, int]:
    """About how many records and bytes the ticket brings."""
    contents = ticket.proposal.contents if ticket.proposal is not None else ()
    return max(1, len(contents)), sum(content.size for content in contents)
