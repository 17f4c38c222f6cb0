"""What changes lines that are there: how strong they are, and whether they are."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from typing_extensions import Unpack

from pmll_async import engine
from pmll_async.errors import InvalidInputError, PmllError, StoreError
from pmll_async.loop.logs import logger
from pmll_async.values import checks

if TYPE_CHECKING:
    from pydantic import JsonValue

    from pmll_async.engine.assembly import Opened
    from pmll_async.engine.ledger.snapshot import Point, Snapshot
    from pmll_async.integrity.lifetime import Lasting
    from pmll_async.views import Where

_TOGETHER: Final = 1024
"""So many lines are forgotten at once: a few commits, and callers besides get their turn."""
_ERASED_TOGETHER: Final = 256
"""So many lines are erased by one record, in 10 ms for which whoever puts besides has to wait."""


_ENDED_SHARE: Final = 1 / 8
"""Files are written anew as a whole, however few lines are erased."""


class Changeable(ABC):
    """A lattice's lines, faded, forgotten and brought back."""

    @abstractmethod
    def _writable(self) -> Opened: ...

    @abstractmethod
    def _usable(self) -> Opened: ...

    @abstractmethod
    def _snapshot(self) -> Snapshot: ...

    @abstractmethod
    async def _ready(self) -> Snapshot: ...

    @abstractmethod
    def _now(self) -> float: ...

    @abstractmethod
    async def pin(self, name: str, value: str) -> None:
        """See `Lattice.pin`."""

    async def decay(self, anchor: str, factor: float) -> None:
        """Multiply a line's strength by `factor` ≥ 0, within [0, 1]; above 1 reinforces."""
        opened = self._writable()
        by = checks.number(factor, "factor")
        if by < 0:
            raise InvalidInputError(f"factor must not be negative: {factor!r}")
        record = engine.DecayRecord(t=engine.PENDING, anchor=checks.anchor(anchor), factor=by)
        await opened.trace.commit(engine.ChangeProposal(record))

    async def forget(self, anchor: str, *, erase: bool = False) -> None:
        """Take a line out of every later query; it stays on the chain and `get` finds it.

        Its idempotency key is free: the same call as once made it makes it anew. With `erase` its
        content leaves the store's files, too, and every state of before: `get` raises
        `LineErasedError`, and nothing brings it back. That is done when this returns, or
        `ErasureUnfinishedError` says what is not; queries and writes go on meanwhile. It goes on if
        its caller is cancelled, and closing waits for it.
        """
        opened, wanted = self._writable(), checks.anchor(anchor)
        if checks.plain_flag(erase, "erase"):
            await self._erase(opened, (wanted,))
            return
        record = engine.ForgetRecord(t=engine.PENDING, anchor=wanted)
        await opened.trace.commit(engine.ChangeProposal(record))

    async def forget_where(
        self, where: Where, *, erase: bool = False, dry_run: bool = False
    ) -> tuple[str, ...]:
        """Forget whatever is there that a filter matches: lines, branches and notes; their anchors.

        With `erase` as of `forget`, and also what was forgotten or rolled back before. With
        `dry_run` they are only told, oldest first. A filter that would match everything, `{}`, is
        refused, and pinned lines stay. What is put meanwhile is not looked at. Many are forgotten
        in several commits: an error or a cancellation leaves some, and the same call does the rest.
        """
        erases, tells = checks.plain_flag(erase, "erase"), checks.plain_flag(dry_run, "dry_run")
        opened = self._usable() if tells else self._writable()
        matching = engine.parse(where)
        if matching is None:
            raise InvalidInputError("forget_where needs a filter: an empty one matches everything")
        services, snapshot = opened.services, await self._ready()
        kept = await services.hiding.kept(snapshot)
        match = partial(services.reader.matching, gone=erases)
        found = await services.filters.run(snapshot, matching, match, snapshot, matching, kept)
        if tells:
            return found
        if erases:
            await self._erase(opened, found)
            return found
        for first in range(0, len(found), _TOGETHER):
            await asyncio.gather(*map(self.forget, found[first : first + _TOGETHER]))
        return found

    async def lasting(
        self, context: Mapping[str, JsonValue] | None = None, **life: Unpack[Lasting]
    ) -> Mapping[str, JsonValue]:
        """The context of a line that ends, or is kept: for `note`, candidates and races.

        `ttl`: so many seconds after its commit; `expires_at`: at that time, in epoch seconds or an
        aware datetime; `pinned=True`: neither `compact` nor `forget_where` takes it. From its end
        on no query returns a line; `get` and `rewind` show it until it is compacted.
        """
        stamped = engine.lasting(context, life, self._now())
        await self.pin(engine.LIFETIMES, engine.PIN_VALUE)
        return stamped

    async def compact(self) -> tuple[str, ...]:
        """Erase what no query returns any more; the anchors, oldest first.

        That are branches that went dormant, lines that have ended, and what a rollback took off:
        none of them can be brought back. Pinned lines stay. Queries and writes go on meanwhile.
        """
        opened, now = self._writable(), self._now()
        hiding, snapshot = opened.services.hiding, self._snapshot()
        over, kept = await hiding.over(snapshot, now), await hiding.kept(snapshot)
        dead = await opened.services.jobs.run(engine.dead_lines, snapshot, over, kept)
        await self._erase(opened, dead)
        return dead

    async def _erase_ended(self) -> None:
        """Erase the lines that have ended, if they are enough; another time if that fails."""
        try:
            opened, snapshot = self._writable(), self._snapshot()
        except PmllError:
            # Not open for writing, or not here: then nothing is erased.
            return
        hiding = opened.services.hiding
        if not hiding.applies(snapshot.revision):
            return
        try:
            over = await hiding.over(snapshot, self._now())
            left = sorted(line for line in over if not snapshot.lacks(line))
            if left and len(left) >= _ENDED_SHARE * len(snapshot.chain):
                await self._erase(opened, [snapshot.anchor(line) for line in left])
        except PmllError as exc:
            logger("pmll.lattice").warning(
                "compaction.failed", path=opened.store.path, error=str(exc)
            )

    async def _erase(self, opened: Opened, anchors: Sequence[str]) -> None:
        """Erase lines, those that are hidden apart from the others: that outlasts their sources."""
        if not isinstance(opened.store, engine.SupportsErase):
            kind = type(opened.store).__name__
            raise StoreError(f"{kind} cannot erase: it has no `erase` (SupportsErase)")
        # Whoever closes meanwhile waits for the last of it.
        with opened.services.jobs.going_on():
            services, snapshot = opened.services, self._snapshot()
            hidden, acts = await services.hiding.among(snapshot, anchors)
            if acts:
                raise InvalidInputError(
                    f"{min(acts)} is a note that quarantines, revokes or takes that back: it can "
                    "be undone, but not erased; narrow the filter, or name other lines"
                )
            kept = [anchor for anchor in anchors if anchor not in hidden]
            try:
                await self._commit_erasures(opened, kept, withheld=False)
                await self._commit_erasures(opened, sorted(hidden), withheld=True)
            finally:
                # Of what is committed, whoever is cancelled; it goes on without its caller.
                purged = opened.trace.purge()
                purged.add_done_callback(_seen)
            await purged

    async def _commit_erasures(
        self, opened: Opened, anchors: Sequence[str], *, withheld: bool
    ) -> None:
        for first in range(0, len(anchors), _ERASED_TOGETHER):
            some = tuple(anchors[first : first + _ERASED_TOGETHER])
            record = engine.EraseRecord(t=engine.PENDING, anchors=some, withheld=withheld)
            await opened.trace.commit(engine.ChangeProposal(record))

    async def rollback(self, point: Point) -> None:
        """Make the state at `point` the lattice's again, as a new record.

        Lines after it stay readable with `get`, off the chain; their idempotency keys are free.
        """
        opened = self._writable()
        revision = self._snapshot().revision_at(point)
        await opened.trace.commit(
            engine.ChangeProposal(engine.RollbackRecord(t=engine.PENDING, revision=revision))
        )


def _seen(purged: asyncio.Future[None]) -> None:
    """Mark the error as seen: its caller may be gone."""
    if not purged.cancelled():
        purged.exception()
