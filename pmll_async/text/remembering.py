"""Remembering: what text memory and a writer of it have in common."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, overload

from typing_extensions import Unpack

from pmll_async.errors import InvalidInputError, LineNotFoundError, NotNovelError
from pmll_async.integrity.lifetime import Lasting, lifetime_of
from pmll_async.lattice import Lattice
from pmll_async.provenance import Writer
from pmll_async.text.index.rows import carried, said_in, told
from pmll_async.text.results import Anchored, Duplicate, Stored, Utterance, anchor_of
from pmll_async.text.said import Progress, Texts, batches, done_of, stamped
from pmll_async.text.views import RecallServices
from pmll_async.values import checks
from pmll_async.values.concert import Float32
from pmll_async.values.contexts import StampedContext
from pmll_async.values.lines import MOST_IN_A_BATCH, Candidate
from pmll_async.values.moments import Moment

if TYPE_CHECKING:
    from pydantic import JsonValue

# Texts checked between two turns of the event loop, which a large batch must not hold.
_YIELD_EVERY: Final = 16


class Remembering(ABC):
    """Storing texts as lines."""

    @abstractmethod
    async def _ready(self) -> RecallServices:
        """What an open memory works with."""

    @abstractmethod
    def _state(self) -> Lattice:
        """The lattice; raises when the memory is closed."""

    @abstractmethod
    def _context_bytes(self) -> int:
        """The largest context that may be put."""

    async def _signed(self, candidate: Candidate) -> Candidate:
        """The candidate in the writer's name, if there is one."""
        return candidate

    @abstractmethod
    def _target(self) -> Lattice | Writer:
        """Where lines are put."""

    async def remember(
        self,
        text: str,
        *,
        speaker: str | None = None,
        session: str | None = None,
        timestamp: Moment | None = None,
        context: Mapping[str, JsonValue] | None = None,
        min_novelty: float | None = None,
        idempotency_key: str | None = None,
        **life: Unpack[Lasting],
    ) -> Stored | Duplicate:
        """Store a text as one line, as it is; returns when it is durable.

        `session` joins turns that belong together; `timestamp` is when it was said, in seconds
        since the epoch. `Duplicate` only if its novelty is under `min_novelty`, which the commit
        decides. Other arguments and errors as for `Lattice.put`.
        """
        if life:
            context = await self._state().lasting(context, **life)
        said = _said(text, speaker, session, timestamp, context, idempotency_key)
        try:
            return Stored(await self._put(said, min_novelty=min_novelty))
        except NotNovelError as exc:
            return Duplicate(exc.nearest, exc.novelty)

    @overload
    async def remember_many(
        self,
        texts: Texts,
        *,
        batch: int = 256,
        progress: Callable[[int], None] | None = None,
    ) -> int: ...

    @overload
    async def remember_many(
        self, texts: Texts, *, batch: int = 256, progress: Progress, total: int
    ) -> int: ...

    async def remember_many(
        self,
        texts: Texts,
        *,
        batch: int = 256,
        progress: Callable[..., None] | None = None,
        total: int | None = None,
    ) -> int:
        """Store texts in batches, each whole or not at all; returns how many lines are new.

        Memory stays bounded by two batches. `progress` and errors are those of `Lattice.put_many`;
        with `total`, how many texts there are, it is told (done, total) after each batch, and what
        was stored before is done, too.
        """
        if isinstance(texts, str | bytes):
            raise InvalidInputError("remember_many takes several texts; for one: remember(text)")
        size = checks.count(batch, "batch", 1, MOST_IN_A_BATCH)
        if total is not None:
            if progress is None:
                raise InvalidInputError("total is for progress, and there is none: pass both")
            progress = done_of(checks.count(total, "total", 0), progress, size)
        async with aclosing(self._candidates(texts, size)) as candidates:
            self._state()
            return await self._target().put_many(candidates, batch=size, progress=progress)

    async def candidate(
        self,
        text: str,
        *,
        speaker: str | None = None,
        session: str | None = None,
        timestamp: Moment | None = None,
        context: Mapping[str, JsonValue] | None = None,
        confidence: float = 1.0,
        revises: Sequence[str] = (),
        idempotency_key: str | None = None,
        name: str = "",
    ) -> Candidate:
        """The line that `remember` would store, for a race or for `Lattice.put_many`."""
        said = _said(text, speaker, session, timestamp, context, idempotency_key)
        key, stamped_context = await self._encoded(said)
        made = Candidate(
            key=key,
            context=stamped_context,
            timestamp=timestamp,
            confidence=confidence,
            revises=tuple(revises),
            idempotency_key=idempotency_key,
            name=name,
        )
        return await self._signed(made)

    async def supersede(
        self,
        anchor: Anchored,
        text: str,
        *,
        speaker: str | None = None,
        session: str | None = None,
        timestamp: Moment | None = None,
        context: Mapping[str, JsonValue] | None = None,
        idempotency_key: str | None = None,
    ) -> Stored:
        """Store a text that replaces an older one, in one record.

        `anchor` may be what `remember` or `recall` gave of the older one, which leaves recall and
        stays readable with `at` and `get`. Speaker, session and context are taken from it where
        they are not given; if it is pinned, so is the newer. `StaleAnchorError` if it was replaced
        or forgotten already, `LineNotFoundError` if it has no text.
        """
        anchor = anchor_of(anchor)
        older = await self._state().get(anchor)
        # Not checked to be live: the commit does that, after whatever happens meanwhile.
        known = said_in(older.context)
        if known.text is None:
            raise LineNotFoundError(anchor, "text and the anchor")
        speaker = known.speaker if speaker is None else speaker
        session = known.session if session is None else session
        context = carried(older.context) if context is None else context
        if (life := lifetime_of(older.context)) is not None and life.pinned:
            context = await self._state().lasting(context, pinned=True)
        said = _said(text, speaker, session, timestamp, context, idempotency_key)
        return Stored(await self._put(said, revises=(anchor,)))

    async def _put(
        self, said: Utterance, *, revises: Sequence[str] = (), min_novelty: float | None = None
    ) -> str:
        key, context = await self._encoded(said)
        return await self._target().put(
            key,
            None,
            context,
            timestamp=said.timestamp,
            revises=revises,
            min_novelty=min_novelty,
            idempotency_key=said.idempotency_key,
        )

    async def _encoded(self, said: Utterance) -> tuple[Float32, StampedContext]:
        context = await self._stamped(said)
        vectors = await (await self._ready()).desk.embed([told(said.text, said.speaker)])
        return vectors[0], context

    async def _candidates(self, texts: Texts, size: int) -> AsyncGenerator[Candidate, None]:
        desk = (await self._ready()).desk
        async with aclosing(batches(texts, size)) as each:
            async for batch in each:
                contexts = []
                for said in batch:
                    contexts.append(await self._stamped(said))
                    if len(contexts) % _YIELD_EVERY == 0:
                        await asyncio.sleep(0)
                vectors = await desk.embed([told(said.text, said.speaker) for said in batch])
                for said, context, vector in zip(batch, contexts, vectors, strict=True):
                    # All in it was checked above, or is where it is stored.
                    yield Candidate.model_construct(
                        key=vector,
                        context=context,
                        timestamp=said.timestamp,
                        idempotency_key=said.idempotency_key,
                    )

    async def _stamped(self, said: Utterance) -> StampedContext:
        return await stamped(said, self._context_bytes())


def _said(
    text: str,
    speaker: str | None,
    session: str | None,
    timestamp: Moment | None,
    context: Mapping[str, JsonValue] | None,
    key: str | None,
) -> Utterance:
    return Utterance(
        text=text,
        speaker=speaker,
        session=session,
        timestamp=timestamp,
        context={} if context is None else context,
        idempotency_key=key,
    )
