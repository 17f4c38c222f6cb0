"""Tickets: what callers hand to the trace and wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from operator import attrgetter
from time import perf_counter
from typing import Any, Final, Generic, TypeVar

from pmll_async.engine.events.stats import CommitBatch, anchors_of
from pmll_async.engine.trace.draft import Draft
from pmll_async.records.proposals import Proposal
from pmll_async.records.record import Record

ResultT = TypeVar("ResultT")
_SIZE: Final = attrgetter("size")


class Ticket(Generic[ResultT]):
    """The base of all kinds: what its caller is told, and where that caller waits."""

    __slots__ = ("error", "future", "result")
    result: ResultT

    def __init__(self, future: asyncio.Future[ResultT]) -> None:
        self.future = future
        self.error: BaseException | None = None

    @property
    def is_withdrawn(self) -> bool:
        """Whether nothing is to be done, because its caller was cancelled before it was taken."""
        return self.future.cancelled()

    def settle(self) -> None:
        """Wake the caller, if it still waits. On its loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class CommitTicket(Ticket[ResultT]):
    """A proposal on its way; `records` and `size` are about what it brings, in bytes."""

    __slots__ = ("contents", "proposal", "records", "since", "size")

    def __init__(self, proposal: Proposal[ResultT], future: asyncio.Future[ResultT]) -> None:
        super().__init__(future)
        self.proposal, self.since = proposal, perf_counter()
        self.contents = proposal.contents
        self.records, self.size = len(self.contents) or 1, sum(map(_SIZE, self.contents))

    def decide(self, draft: Draft) -> None:
        """Have the proposal decided."""
        self.result = draft.decide(self.proposal)


class JobTicket(Ticket[None]):
    """A job that writes to the store, between two batches."""

    __slots__ = ("job",)

    def __init__(self, job: Callable[[], None], future: asyncio.Future[None]) -> None:
        super().__init__(future)
        self.job, self.result = job, None


class CloseTicket(JobTicket):
    """The last job: closing the store."""

    __slots__ = ()


class StepTicket(JobTicket):
    """The trace's own job, which nobody waits for."""

    __slots__ = ()


class PurgeTicket(Ticket[None]):
    """What is erased is to leave the store; whoever is cancelled, that goes on."""

    __slots__ = ()

    def __init__(self, future: asyncio.Future[None]) -> None:
        super().__init__(future)
        self.result = None

    @property
    def is_withdrawn(self) -> bool:
        """Never."""
        return False


def batch_of(
    tickets: Sequence[CommitTicket[Any]],
    first: int,
    records: Sequence[Record],
    times: tuple[float, float, float],
) -> CommitBatch:
    """What is told of a batch of records from revision `first` on.

    `times` are when it began, was decided and ended.
    """
    began, decided, ended = times
    return CommitBatch(
        revision=first + len(records),
        anchors=anchors_of(records),
        calls=len(tickets),
        refused=sum([ticket.error is not None for ticket in tickets]),
        began=began,
        waited=began - tickets[0].since,
        deciding=decided - began,
        writing=ended - decided,
    )
