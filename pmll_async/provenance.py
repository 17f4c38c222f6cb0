"""Provenance: writing in somebody's name, and taking back what somebody wrote."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from numpy.typing import ArrayLike
from typing_extensions import Unpack

from pmll_async import engine
from pmll_async.errors import InvalidInputError
from pmll_async.values import checks, moments
from pmll_async.views import Readable

if TYPE_CHECKING:
    from pydantic import JsonValue

    from pmll_async.integrity.lifetime import Lasting
    from pmll_async.integrity.source import Origin, Source
    from pmll_async.integrity.standing import Deed
    from pmll_async.lattice import Lattice
    from pmll_async.values.lines import Candidate

_TOLD: Final = 256
"""How many lines `why` names: a line may come from all that were before it."""


class Writer:
    """Writes to a lattice in one principal's name; made by `Lattice.as_writer`.

    Takes what the lattice takes. A line's trust is the writer's, or that of the least trusted line
    that it was derived from. Nothing that is written can say otherwise: what a text or a context
    claims about its source is content.
    """

    def __init__(self, lattice: Lattice, source: Source) -> None:
        self._lattice, self._source = lattice, source
        self._trust: float | None = None

    def __repr__(self) -> str:
        return f"Writer({self._source.principal!r}, trust={self._source.trust:g})"

    @property
    def source(self) -> Source:
        """What its lines carry, but for the trust of what they are derived from."""
        return self._source

    def derived_from(self, *anchors: str) -> Writer:
        """The same writer, of lines that were made from these ones, such as a summary."""
        parents = checks.anchors(anchors, "anchors")
        return Writer(self._lattice, replace(self._source, parents=parents))

    async def put(
        self,
        key: ArrayLike,
        value: ArrayLike | None = None,
        context: Mapping[str, JsonValue] | None = None,
        prev_anchor: str | None = None,
        *,
        timestamp: moments.Moment | None = None,
        revises: Sequence[str] = (),
        min_novelty: float | None = None,
        idempotency_key: str | None = None,
        **life: Unpack[Lasting],
    ) -> str:
        """`Lattice.put`; `LineNotFoundError` for a parent that is not there.

        A line of more trust than this one's may not be among `revises`, and nothing that is
        quarantined revises anything: `InvalidInputError`.
        """
        revises = checks.anchors(revises, "revises")
        return await self._lattice.put(
            key,
            value,
            await self.stamped(context, revises),
            prev_anchor,
            timestamp=timestamp,
            revises=revises,
            min_novelty=min_novelty,
            idempotency_key=idempotency_key,
            **life,
        )

    async def note(
        self,
        context: Mapping[str, JsonValue],
        prev_anchor: str | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> str:
        """`Lattice.note`."""
        stamped = await self.stamped(context)
        return await self._lattice.note(stamped, prev_anchor, idempotency_key=idempotency_key)

    async def put_many(
        self,
        candidates: Iterable[Candidate] | AsyncIterable[Candidate],
        *,
        batch: int = 256,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """`Lattice.put_many`, all of them in this name."""
        async with aclosing(self._each(candidates)) as each:
            return await self._lattice.put_many(each, batch=batch, progress=progress)

    async def candidate(self, candidate: Candidate) -> Candidate:
        """The candidate in this name, for a race."""
        if not isinstance(candidate, engine.Candidate):
            raise InvalidInputError(f"a Candidate is wanted, not {type(candidate).__name__}")
        context = await self.stamped(candidate.context, candidate.revises)
        return candidate.model_copy(update={"context": context})

    async def _each(
        self, candidates: Iterable[Candidate] | AsyncIterable[Candidate]
    ) -> AsyncGenerator[Candidate, None]:
        if isinstance(candidates, AsyncIterable):
            async for candidate in candidates:
                yield await self._signed(candidate)
        else:
            for candidate in candidates:
                yield await self._signed(candidate)

    async def _signed(self, candidate: Candidate) -> Candidate:
        # What is none, the lattice refuses by its number.
        is_one = isinstance(candidate, engine.Candidate)
        return await self.candidate(candidate) if is_one else candidate

    async def stamped(
        self, context: Mapping[str, JsonValue] | None, revises: Sequence[str] = ()
    ) -> Mapping[str, JsonValue]:
        """The context with its source, as a line of this writer's has it."""
        await self._lattice.uses_sources()
        trust = await self._trusted()
        await self._check_revised(trust, revises)
        return engine.sourced(context, replace(self._source, trust=trust))

    async def _trusted(self) -> float:
        if self._trust is None:
            get, parents = self._lattice.get, self._source.parents
            contexts = [(await get(anchor)).context for anchor in parents]
            # Neither changes any more.
            self._trust = engine.low_water(self._source.trust, contexts)
        return self._trust

    async def _check_revised(self, trust: float, revises: Sequence[str]) -> None:
        """Refuse to weaken what is trusted more: it would be gone from recall."""
        for anchor in revises:
            if self._source.quarantined:
                raise InvalidInputError("what is quarantined revises nothing; release it first")
            context: Mapping[str, Any] = (await self._lattice.get(anchor)).context
            if engine.trust_of(context) > trust:
                raise InvalidInputError(
                    f"{anchor} has trust {engine.trust_of(context):g}, and a line of trust "
                    f"{trust:g} may not revise it; have somebody trusted as much do it"
                )


class Provenance(Readable):
    """What a lattice can do about who wrote its lines."""

    @abstractmethod
    async def note(self, context: Mapping[str, JsonValue]) -> str:
        """See `Lattice.note`."""

    @abstractmethod
    async def pin(self, name: str, value: str) -> None:
        """See `Lattice.pin`."""

    def as_writer(
        self,
        principal: str,
        *,
        trust: float = 1.0,
        channel: str = "",
        quarantine: bool = False,
    ) -> Writer:
        """A handle that writes in a principal's name, such as an agent's, a user's or a site's.

        `trust` (0 to 1) is what `min_trust` of a query goes by. `channel` says by which way it
        came. With `quarantine` its lines are stored and anchored, but no query returns them before
        they are released. Whoever has the lattice itself is its owner, of trust 1.
        """
        source = engine.Source(
            engine.named(principal, "principal"),
            checks.fraction(trust, "trust"),
            engine.named(channel, "channel", least=0),
            quarantined=checks.flag(quarantine, "quarantine"),
        )
        return Writer(cast("Lattice", self), source)

    async def quarantine(self, anchor: str) -> str:
        """Hide a line, and all that was derived from it, until it is released.

        As the three below it is a note on the chain, whose anchor it returns. Hidden are they from
        `query`, `bias_vector`, recall and `recent`; `get` and `rewind` show them. `at` answers as
        the lattice did then.
        """
        return await self._act("quarantine", (await self.get(anchor)).anchor)

    async def release(self, anchor: str) -> str:
        """Show a quarantined line again; one of somebody revoked stays hidden."""
        return await self._act("release", (await self.get(anchor)).anchor)

    async def revoke(self, principal: str) -> str:
        """Hide all that a principal wrote or will write, and everything derived from it."""
        return await self._act("revoke", engine.named(principal, "principal"))

    async def reinstate(self, principal: str) -> str:
        """Take a `revoke` back."""
        return await self._act("reinstate", engine.named(principal, "principal"))

    async def why(self, anchor: str) -> tuple[Origin, ...]:
        """Whom a line is from, and whether it is shown: the line, its parents, theirs, and so on.

        The nearest first, each once, at most 256 of them. A line that is hidden as `derived` has
        among them what it is hidden for.
        """
        services, snapshot = self._services(), await self._ready()
        waiting = [checks.anchor(anchor)]
        told: dict[str, Origin] = {}
        while waiting and len(told) < _TOLD:
            name = waiting.pop(0)
            if name not in told:
                line = await services.jobs.run(services.reader.line, snapshot, snapshot.find(name))
                number, now = snapshot.find(name), self._now()
                status = await services.hiding.status(snapshot, number, now)
                source = engine.source_of(line.context)
                told[name] = engine.Origin(name, source, status)
                waiting += () if source is None else source.parents
        return tuple(told.values())

    async def uses_sources(self) -> None:
        """Fix in the store, once, that its log has sources, so that whoever opens it looks."""
        await self.pin(engine.PIN, engine.PIN_VALUE)

    async def _act(self, deed: Deed, of: str) -> str:
        await self.uses_sources()
        return await self.note(engine.act_note(engine.Act(deed, of)))
