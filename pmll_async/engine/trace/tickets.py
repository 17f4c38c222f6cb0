"""Tickets: what callers hand to the trace, and which of them may be committed together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from pmll_async.engine.trace.draft import Answer
from pmll_async.records.proposals import ForgetProposal, Proposal, RollbackProposal


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


def is_alone(ticket: Ticket) -> bool:
    """Whether it is done by itself: a job, closing, or what changes the state altogether."""
    return ticket.proposal is None or isinstance(ticket.proposal, RollbackProposal)


def fits(ticket: Ticket, first: Ticket) -> bool:
    """Whether both may be of one batch.

    Novelty looks at what is not forgotten, so that a batch is made of forgets, or has none.
    """
    forgets = [isinstance(each.proposal, ForgetProposal) for each in (ticket, first)]
    return not is_alone(ticket) and forgets[0] == forgets[1]


def measure(ticket: Ticket) -> tuple[int, int]:
    """About how many records and bytes the ticket brings."""
    contents = ticket.proposal.contents if ticket.proposal is not None else ()
    return max(1, len(contents)), sum(content.size for content in contents)
