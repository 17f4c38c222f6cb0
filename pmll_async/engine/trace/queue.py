"""What waits for the trace, in the order in which it came."""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any

from pmll_async.engine.trace.tickets import CommitTicket, Ticket
from pmll_async.values.lines import Limits


class TicketQueue:
    """Tickets from any thread, taken by one turn at a time: what is there stays there."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._queue: SimpleQueue[Ticket[Any]] = SimpleQueue()
        self._held: Ticket[Any] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return self._held is None and self._queue.empty()

    def put(self, ticket: Ticket[Any]) -> None:
        """One more, behind all others."""
        self._queue.put(ticket)

    def take(self, taken: list[Ticket[Any]]) -> None:
        """What waits longest, and what may be committed with it."""
        first = self._next()
        if first is not None:
            taken.append(first)
        if isinstance(first, CommitTicket):
            self._fill(taken, first)

    def _fill(self, taken: list[Ticket[Any]], first: CommitTicket[Any]) -> None:
        """Take the commits that follow the first one and fit, up to the limits."""
        records, size = first.records, first.size
        while records < self._limits.batch_records and first.proposal.company != "none":
            ticket = self._next()
            if ticket is None:
                return
            if (
                not isinstance(ticket, CommitTicket)
                or ticket.proposal.company != first.proposal.company
                or size + ticket.size > self._limits.batch_bytes
            ):
                self._held = ticket
                return
            taken.append(ticket)
            records, size = records + ticket.records, size + ticket.size

    def _next(self) -> Ticket[Any] | None:
        held, self._held = self._held, None
        if held is not None or self._queue.empty():
            return held
        return self._queue.get_nowait()
