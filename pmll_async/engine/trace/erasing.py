"""Erasing: what is erased in every state leaves the store, too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pmll_async.engine.ledger.ledger import Ledger
from pmll_async.engine.trace.tickets import CommitTicket
from pmll_async.errors import ErasureUnfinishedError, StoreError, copy_error
from pmll_async.loop.breathing import Breather
from pmll_async.protocols import Store, SupportsErase
from pmll_async.records.changes import EraseRecord
from pmll_async.records.proposals import ChangeProposal, Proposal
from pmll_async.records.record import Record


def purge_after(tickets: Iterable[CommitTicket[Any]], store: Store, ledger: Ledger) -> None:
    """`purge`, whose failure is told to those of the tickets that asked for an erasure."""
    asked = [ticket for ticket in tickets if ticket.error is None and _erases(ticket.proposal)]
    # What could not be removed is tried again when somebody erases, and not at each put.
    if not asked:
        return
    try:
        purge(store, ledger)
    except ErasureUnfinishedError as exc:
        for ticket in asked:
            ticket.error = copy_error(exc)


def purge(store: Store, ledger: Ledger) -> None:
    """Remove from the store what is erased and still there; blocks, in the trace's thread.

    `ErasureUnfinishedError`: no query gives it any more, but the store still has it.
    """
    lines = ledger.unpurged
    if not lines or not isinstance(store, SupportsErase):
        return
    try:
        store.erase(_left(store, ledger, lines))
    except (StoreError, OSError, MemoryError) as exc:
        raise ErasureUnfinishedError(store.path, str(exc)) from exc
    ledger.purged(lines)


def _erases(proposal: Proposal[Any]) -> bool:
    return isinstance(proposal, ChangeProposal) and isinstance(proposal.record, EraseRecord)


def _left(store: Store, ledger: Ledger, lines: frozenset[int]) -> Mapping[int, Record]:
    """What is left of the records with these lines."""
    snapshot, places = ledger.snapshot, dict[int, set[int]]()
    for line in sorted(lines):
        n = snapshot.record_of(line)
        places.setdefault(n, set()).add(line - int(snapshot.line_starts[n]))
    breathe, left = Breather(), dict[int, Record]()
    for n, erased in places.items():
        breathe()
        left[n] = store.read(n).erased(erased)
    return left
