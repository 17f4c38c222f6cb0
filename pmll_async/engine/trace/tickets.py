"""Tickets: what callers hand to the trace and wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from operator import attrgetter
from time import perf_counter
from typing import Final, Generic, TypeVar

from pmll_async.engine.trace.draft import Draft
from pmll_async.records.proposals import Proposal

ResultT = TypeVar("ResultT")
_SIZE: Final = attrgetter("size")


class Ticket(Generic[ResultT]):
    """The base of the three kinds: what its caller is told, and where that caller waits."""

    __slots__ = ("error", "future", "result")
    result: ResultT

    def __init__(self, future: asyncio.Future[ResultT]) -> None:
        self.future = future
        self.error: BaseException | None = None

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
