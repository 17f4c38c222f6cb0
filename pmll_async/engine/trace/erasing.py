"""Erasing: what is erased in every state leaves the store, too, while the trace goes on.

An erasure begins and ends in the trace's thread; in between a worker thread writes. There is one at
a time: who asks meanwhile is told of the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np

from pmll_async.engine.ledger.ledger import Ledger
from pmll_async.engine.trace.tickets import PurgeTicket, Ticket
from pmll_async.errors import ErasureUnfinishedError, PmllError, StoreError, copy_error
from pmll_async.loop.workers import ERASURES
from pmll_async.protocols import Erasing, Store, SupportsErase, erase_now


class Host(Protocol):
    """The trace, as its erasures know it: only while one is under way."""

    def step(self, job: Callable[[], None]) -> None:
        """Have a job done in the trace's thread; from any thread."""

    def tell(self, ticket: Ticket[Any]) -> None:
        """Wake the caller of a ticket."""


class Purging:
    """The erasures of one trace; all but the writing in its thread."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store, self._ledger = store, ledger
        self._asking, self._waiting = list[PurgeTicket](), list[PurgeTicket]()
        """Who is told of the erasure under way, and who of the next."""
        self.is_busy = False
        """Whether one is under way: the store must not be closed then."""

    def ask(self, ticket: PurgeTicket, host: Host) -> None:
        """Remove what is erased and still there; its caller is told when no file has it."""
        self._waiting.append(ticket)
        if not self.is_busy:
            self._begin(host)

    def _begin(self, host: Host) -> None:
        self._asking, self._waiting = self._waiting, []
        lines = self._ledger.unpurged
        if not lines or not isinstance(self._store, SupportsErase):
            self._end(None, host)
            return
        self.is_busy = True
        try:
            erasing = self._store.erase(_places(self._ledger, lines))
        # Whatever it is, those who asked must learn it.
        except BaseException as exc:  # noqa: BLE001  # they are told
            self._end(exc, host)
            return
        writing = partial(self._write, erasing, lines, host)
        try:
            ERASURES.submit(writing)
        except RuntimeError:
            # No thread can be started, so that who writes has to wait.
            writing()

    def _write(self, erasing: Erasing, lines: frozenset[int], host: Host) -> None:
        error = None
        try:
            erasing.write()
        # Whatever it is, those who asked must learn it.
        except BaseException as exc:  # noqa: BLE001  # they are told
            error = exc
        host.step(partial(self._finish, erasing, lines, error, host))
        # The traceback holds this frame.
        del error

    def _finish(
        self, erasing: Erasing, lines: frozenset[int], error: BaseException | None, host: Host
    ) -> None:
        try:
            if error is None:
                erasing.finish()
                self._ledger.purged(lines)
        # Whatever it is, those who asked must learn it.
        except BaseException as exc:  # noqa: BLE001  # they are told
            error = exc
        self._end(error, host)
        del error

    def _end(self, error: BaseException | None, host: Host) -> None:
        asking, self._asking = self._asking, []
        for ticket in asking:
            if error is not None:
                ticket.error = copy_error(_unfinished(self._store, error))
            host.tell(ticket)
        self.is_busy = False
        if self._waiting:
            self._begin(host)


def purge(store: Store, ledger: Ledger) -> None:
    """Remove from the store what is erased and still there; blocks, before there is a trace.

    `ErasureUnfinishedError`: no query gives it any more, but the store still has it.
    """
    lines = ledger.unpurged
    if not lines or not isinstance(store, SupportsErase):
        return
    try:
        erase_now(store, _places(ledger, lines))
    except (StoreError, OSError, MemoryError) as exc:
        raise _unfinished(store, exc) from exc
    ledger.purged(lines)


def _unfinished(store: Store, error: BaseException) -> ErasureUnfinishedError:
    told = isinstance(error, PmllError | OSError | MemoryError)
    return ErasureUnfinishedError(store.path, str(error) if told else repr(error))


def _places(ledger: Ledger, lines: frozenset[int]) -> Mapping[int, list[int]]:
    """The records of lines, and the places of these in them."""
    starts, numbers = ledger.snapshot.line_starts, np.array(sorted(lines), dtype=np.int32)
    records = np.searchsorted(starts, numbers, side="right") - 1
    found = dict[int, list[int]]()
    for n, place in zip(records.tolist(), (numbers - starts[records]).tolist(), strict=True):
        found.setdefault(n, []).append(place)
    return found
