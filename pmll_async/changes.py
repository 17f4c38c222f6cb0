"""What changes lines that are there: how strong they are, and whether they are."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from pmll_async import engine
from pmll_async.errors import InvalidInputError
from pmll_async.values import checks

if TYPE_CHECKING:
    from pmll_async.engine.assembly import Opened
    from pmll_async.engine.ledger.snapshot import Point, Snapshot
    from pmll_async.views import Where

_TOGETHER: Final = 1024
"""So many lines are forgotten at once: a few commits, and callers besides get their turn."""


class Changeable(ABC):
    """A lattice's lines, faded, forgotten and brought back."""

    @abstractmethod
    def _writable(self) -> Opened: ...

    @abstractmethod
    def _snapshot(self) -> Snapshot: ...

    async def decay(self, anchor: str, factor: float) -> None:
        """Multiply a line's strength by `factor` ≥ 0, within [0, 1]; above 1 reinforces."""
        opened = self._writable()
        by = checks.number(factor, "factor")
        if by < 0:
            raise InvalidInputError(f"factor must not be negative: {factor!r}")
        record = engine.DecayRecord(t=engine.PENDING, anchor=checks.anchor(anchor), factor=by)
        await opened.trace.commit(engine.ChangeProposal(record))

    async def forget(self, anchor: str) -> None:
        """Take a line out of every later query; it stays on the chain and `get` finds it.

        Its idempotency key is free: the same call as once made it makes it anew.
        """
        opened = self._writable()
        record = engine.ForgetRecord(t=engine.PENDING, anchor=checks.anchor(anchor))
        await opened.trace.commit(engine.ChangeProposal(record))

    async def forget_where(self, where: Where, *, dry_run: bool = False) -> tuple[str, ...]:
        """Forget whatever is there that a filter matches: lines, branches and notes; their anchors.

        With `dry_run` they are only told, oldest first. A filter that would match everything, `{}`,
        is refused. What is put meanwhile is not looked at. Many are forgotten in several commits:
        an error or a cancellation leaves some, and the same call does the rest.
        """
        opened, matching = self._writable(), engine.parse(where)
        if matching is None:
            raise InvalidInputError("forget_where needs a filter: an empty one matches everything")
        services, snapshot = opened.services, self._snapshot()
        matched = services.reader.matching
        found = await services.filters.run(snapshot, matching, matched, snapshot, matching)
        for first in range(0, 0 if dry_run else len(found), _TOGETHER):
            await asyncio.gather(*map(self.forget, found[first : first + _TOGETHER]))
        return found

    async def rollback(self, point: Point) -> None:
        """Make the state at `point` the lattice's again, as a new record.

        Lines after it stay readable with `get`, off the chain; their idempotency keys are free.
        """
        opened = self._writable()
        revision = self._snapshot().revision_at(point)
        await opened.trace.commit(
            engine.ChangeProposal(engine.RollbackRecord(t=engine.PENDING, revision=revision))
        )
