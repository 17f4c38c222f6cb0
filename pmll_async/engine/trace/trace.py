"""The trace: the only writer. It takes what waits, decides it in order, and commits it.

It is a strand on the shared commit threads: one batch a turn, one turn at a time, and between two
turns other lattices have theirs. Callers hand over a ticket and await a future of their own loop.
No cancel scope, shield or task can cut a commit, because none of them reaches those threads: who is
cancelled before its ticket is taken leaves nothing behind, and afterwards its whole record.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import Any, Final, NoReturn
from weakref import WeakMethod

from pmll_async.engine.events.stats import CommitBatch, CommitSums
from pmll_async.engine.ledger.ledger import Ledger
from pmll_async.engine.trace.draft import Draft
from pmll_async.engine.trace.erasing import Purging
from pmll_async.engine.trace.queue import TicketQueue
from pmll_async.engine.trace.tickets import (
    CloseTicket,
    CommitTicket,
    JobTicket,
    PurgeTicket,
    StepTicket,
    Ticket,
    batch_of,
)
from pmll_async.errors import (
    DurabilityUnknownError,
    LatticeClosedError,
    NotStoredError,
    PmllError,
    StoreError,
    copy_error,
)
from pmll_async.loop.breathing import WAKE_AT_ONCE, Breather
from pmll_async.loop.jobs import running_loop
from pmll_async.loop.logs import logger
from pmll_async.loop.workers import COMMITS, Job
from pmll_async.protocols import Clock, Index, Store, SupportsSync, SupportsUpkeep
from pmll_async.records.blocks import Block
from pmll_async.records.proposals import AnswerT, Proposal
from pmll_async.records.record import Record
from pmll_async.values.anchors import Hasher
from pmll_async.values.lines import Limits
from pmll_async.values.moments import is_usual

SYNC_SECONDS: Final = 1.0
"""How long an acknowledged record of a store that syncs later may wait for the disk."""

Committed = Callable[[int, list[Record], CommitBatch], None]
"""Called on the loop with the number of the first of new records, if any, and the records."""


class Trace:
    """The writing of one lattice, from the first ticket to `close`.

    `committed` is a method, held weakly: what listens to a lattice may know it, and a lattice that
    nobody closes is given back when nobody knows it.
    """

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
        close: Callable[[], None],
    ) -> None:
        self._store, self._ledger, self._index = store, ledger, index
        self._hasher, self._clock, self._dim = hasher, clock, dim
        self._committed, self._close = WeakMethod(committed), close
        self.loop = running_loop()
        self._queue, self._purging = TicketQueue(limits), Purging(store, ledger)
        self._leaving: CloseTicket | None = None
        """It waits for an erasure to end."""
        self._gate = threading.Lock()
        self._has_turn = False
        """Whether a turn waits or runs; changed behind the gate."""
        self._closing: asyncio.Future[None] | None = None
        self._ended = threading.Event()
        self._broken: BaseException | None = None
        self._sums = CommitSums()
        self._waking = 0
        self._syncs_later = isinstance(store, SupportsSync)
        self._keep_up = store.keep_up if isinstance(store, SupportsUpkeep) else None
        self._synced_at = time.monotonic()
        self._unsynced = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def sums(self) -> CommitSums:
        """What it did so far, as of the last batch; in any thread."""
        return self._sums

    def commit(self, proposal: Proposal[AnswerT]) -> asyncio.Future[AnswerT]:
        """Hand over a proposal; what its caller is told once its records are durable.

        Cancelling that before the ticket is taken withdraws it.
        """
        return self._answer(CommitTicket(proposal, self.loop.create_future()))

    def run(self, job: Callable[[], None]) -> asyncio.Future[None]:
        """Run a job that writes to the store, between two batches; cancelling is as of `commit`."""
        return self._answer(JobTicket(job, self.loop.create_future()))

    def purge(self) -> asyncio.Future[None]:
        """Remove from the store what is erased by now; done when no file of it has a byte of that.

        `ErasureUnfinishedError`: no query gives it any more, but the store still has it. It goes on
        beside commits, and even if nobody waits for it.
        """
        return self._answer(PurgeTicket(self.loop.create_future()))

    async def close(self) -> None:
        """Finish accepted tickets and close the store; later calls wait for it."""
        if self._timer is not None:
            self._timer.cancel()
        closing = self._begin_closing()
        # Waiting must not be able to cancel what other callers wait for, too.
        await asyncio.wait([closing])
        # The last callers are being woken, which takes some turns of the loop.
        while self._waking:  # noqa: ASYNC110
            await asyncio.sleep(0)
        closing.result()

    @property
    def has_ended(self) -> bool:
        """Whether the store is closed, or has failed to."""
        return self._ended.is_set()

    def end(self) -> None:
        """`close` where no loop serves the lattice any more; blocks, in any thread."""
        self._begin_closing()
        self._ended.wait()

    def _begin_closing(self) -> asyncio.Future[None]:
        if self._closing is None:
            closing = self.loop.create_future()
            self._submit(CloseTicket(self._close, closing))
            self._closing = closing
        return self._closing

    def _answer(self, ticket: Ticket[AnswerT]) -> asyncio.Future[AnswerT]:
        running_loop(self.loop)
        if self._closing is not None:
            raise LatticeClosedError
        self._submit(ticket)
        return ticket.future

    def _submit(self, ticket: Ticket[Any]) -> None:
        self._queue.put(ticket)
        try:
            self._ask_for_a_turn()
        # No thread can be started. Whoever has the next turn must not do what was refused.
        except BaseException:
            ticket.future.cancel()
            raise

    def _ask_for_a_turn(self) -> None:
        with self._gate:
            if not self._has_turn:
                COMMITS.submit(self._turn)
                self._has_turn = True

    # --- in a commit thread --------------------------------------------------------------------

    def _turn(self) -> Job | None:
        taken: list[Ticket[Any]] = []
        try:
            self._take(taken)
            wanted = [ticket for ticket in taken if not ticket.is_withdrawn]
            commits = [ticket for ticket in wanted if isinstance(ticket, CommitTicket)]
            if commits:
                self._commit(commits)
            for ticket in wanted:
                if isinstance(ticket, JobTicket):
                    self._do(ticket)
                elif isinstance(ticket, PurgeTicket):
                    self._purging.ask(ticket, self)
            self._leave()
            self._sync_later()
        # Whatever went wrong, the callers must learn it and later turns must come.
        except BaseException as exc:  # noqa: BLE001
            logger("pmll.trace").error("trace.turn_failed", error=repr(exc))
            for ticket in taken:
                ticket.error = ticket.error or StoreError(f"the trace met {exc!r}")
                self._call(ticket.settle)
        with self._gate:
            self._has_turn = not self._queue.is_empty
            return self._turn if self._has_turn else None

    def _take(self, taken: list[Ticket[Any]]) -> None:
        self._queue.take(taken)

    def _commit(self, tickets: list[CommitTicket[Any]]) -> None:
        records: list[Record] = []
        first = self._ledger.snapshot.revision
        began = decided = perf_counter()
        try:
            records = self._decide(tickets)
            decided = perf_counter()
            if records:
                self._write(records)
        # Whatever went wrong, the callers must learn it.
        except BaseException as exc:  # noqa: BLE001
            error = exc if isinstance(exc, Exception) else StoreError(f"the trace met {exc!r}")
            for ticket in tickets:
                ticket.error = ticket.error or copy_error(error)
            records = []
        batch = None
        try:
            batch = self._tally(tickets, first, records, (began, decided, perf_counter()))
        # What is written is written, and its callers must learn that, even if it cannot be counted.
        except BaseException as exc:  # noqa: BLE001
            logger("pmll.trace").error("trace.not_counted", error=repr(exc))
        self._call(self._settle, tickets, first, records, batch)
        if self._keep_up is not None:
            self._keep_up()

    def _tally(
        self,
        tickets: list[CommitTicket[Any]],
        first: int,
        records: list[Record],
        times: tuple[float, float, float],
    ) -> CommitBatch:
        batch = batch_of(tickets, first, records, times)
        waiting = sum([batch.began - ticket.since for ticket in tickets])
        # One new value, so that whoever reads it meanwhile sees a batch wholly or not at all.
        self._sums = self._sums.with_batch(batch, records, waiting)
        return batch

    def _decide(self, tickets: list[CommitTicket[Any]]) -> list[Record]:
        self._check()
        contents = [content for ticket in tickets for content in ticket.contents]
        state, clock = self._ledger.snapshot, self._checked_clock
        draft = Draft(state, self._index, self._hasher, clock, contents, self._dim)
        breathe = Breather()
        for ticket in tickets:
            breathe()
            try:
                ticket.decide(draft)
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
        try:
            self._store.append(records, block)
        except NotStoredError:
            raise
        # Whatever else it is, the records may be there.
        except BaseException as exc:  # noqa: BLE001
            self._stop(exc)
        self._unsynced = self._syncs_later
        try:
            self._ledger.extend(block)
        # The log is ahead of memory now; only reading it again can mend that.
        except BaseException as exc:  # noqa: BLE001
            self._stop(exc)

    def _stop(self, error: BaseException) -> NoReturn:
        """Write nothing any more, and tell the callers why."""
        self._broken = error
        if isinstance(error, StoreError):
            raise error
        raise DurabilityUnknownError(self._store.path) from error

    def _checked_clock(self) -> float:
        try:
            now = float(self._clock())
        # The clock is the user's code: what it raises is the error of this ticket alone.
        except BaseException as exc:
            raise PmllError(f"the clock raised {exc!r}") from exc
        if not is_usual(now):
            raise PmllError(f"the clock gave {now}; it must give seconds from 1970 to 2200")
        return now

    def _sync_later(self) -> None:
        due = self._unsynced and not self.has_ended and self._until_sync() <= 0
        if not due or not isinstance(self._store, SupportsSync):
            return
        self._synced_at, self._unsynced = time.monotonic(), False
        began = perf_counter()
        try:
            self._store.sync()
        except (StoreError, OSError) as exc:
            logger("pmll.trace").error("trace.sync_failed", error=repr(exc))
        self._sums = self._sums.with_sync(perf_counter() - began)

    def _until_sync(self) -> float:
        return self._synced_at + SYNC_SECONDS - time.monotonic()

    def _do(self, ticket: JobTicket) -> None:
        if isinstance(ticket, CloseTicket) and self._purging.is_busy:
            self._leaving = ticket
            return
        try:
            if not isinstance(ticket, CloseTicket | StepTicket):
                self._check()
            ticket.job()
        # Whatever went wrong, the caller must learn it.
        except BaseException as exc:  # noqa: BLE001
            ticket.error = exc
        if isinstance(ticket, CloseTicket):
            self._ended.set()
        if not isinstance(ticket, StepTicket):
            self.tell(ticket)

    def _leave(self) -> None:
        """Close, if that waited for an erasure which has ended."""
        if self._leaving is not None and not self._purging.is_busy:
            leaving, self._leaving = self._leaving, None
            self._do(leaving)

    def step(self, job: Callable[[], None]) -> None:
        """Have a job of the trace's own done in its thread; from any thread."""
        self._queue.put(StepTicket(job, self.loop.create_future()))
        # Where no thread can be started, whoever has the next turn does it.
        with suppress(RuntimeError):
            self._ask_for_a_turn()

    def tell(self, ticket: Ticket[Any]) -> None:
        """Wake the caller of a ticket."""
        self._call(ticket.settle)

    # --- back on the loop ----------------------------------------------------------------------

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            # The loop is closed, so that nobody waits any more.
            logger("pmll.trace").warning("trace.loop_closed")

    def _settle(
        self,
        tickets: list[CommitTicket[Any]],
        first: int,
        records: list[Record],
        batch: CommitBatch | None,
    ) -> None:
        committed = self._committed()
        try:
            if committed is not None and batch is not None:
                committed(first, records, batch)
        finally:
            self._waking += len(tickets)
            self._wake(tickets)
        if self._unsynced and self._timer is None:
            self._sync_in(SYNC_SECONDS)

    def _sync_in(self, seconds: float) -> None:
        # Weakly: closing syncs, too, and a lattice that nobody knows is to be closed.
        self._timer = self.loop.call_later(seconds, _call, WeakMethod(self._sync_soon))

    def _sync_soon(self) -> None:
        """Have a turn when it is time to sync, also if nothing more is written."""
        self._timer = None
        if not self._unsynced or self._closing is not None:
            return
        seconds = self._until_sync()
        if seconds > 0:
            self._sync_in(seconds)
        else:
            self._ask_for_a_turn()

    def _wake(self, tickets: list[CommitTicket[Any]]) -> None:
        for ticket in tickets[:WAKE_AT_ONCE]:
            ticket.settle()
            self._waking -= 1
        if len(tickets) > WAKE_AT_ONCE:
            self.loop.call_soon(self._wake, tickets[WAKE_AT_ONCE:])


def _call(method: WeakMethod[Callable[[], None]]) -> None:
    function = method()
    if function is not None:
        function()
