"""Text memory: remember sentences, and recall the ones that answer a question."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, Unpack

from pmll_async import Point
from pmll_async.errors import (
    DimensionMismatchError,
    InvalidInputError,
    LatticeClosedError,
    LineNotFoundError,
    NotNovelError,
    PinnedError,
    ReadOnlyStoreError,
)
from pmll_async.lattice import Lattice
from pmll_async.loop.jobs import begin
from pmll_async.loop.lifecycle import Openable
from pmll_async.loop.workers import READS
from pmll_async.protocols import AsyncEmbedder, Embedder, Sidecar
from pmll_async.text.batcher import EmbeddingBatcher
from pmll_async.text.embedders.hashing import HashingEmbedder
from pmll_async.text.index.keeper import TextIndexer
from pmll_async.text.index.rows import carried, said_in, told
from pmll_async.text.options import LatticeOptions
from pmll_async.text.presets import DIALOGUE, Preset
from pmll_async.text.results import Duplicate, Stored, Utterance
from pmll_async.text.said import Texts, batches, stamped
from pmll_async.text.views import Recalling, RecallServices
from pmll_async.values import checks
from pmll_async.values.concert import Float32
from pmll_async.values.contexts import StampedContext
from pmll_async.values.lines import MOST_IN_A_BATCH, Candidate
from pmll_async.views import LatticeView

if TYPE_CHECKING:
    from pydantic import JsonValue

EMBEDDER_PIN: Final = "embedder"
"""The name under which a store is told the id of the embedder that made its vectors."""
# Texts checked between two turns of the event loop, which a large batch must not hold.
_YIELD_EVERY: Final = 16


class TextMemory(Openable, Recalling):
    """Sentences in a lattice, found again by what they say.

    Over a lattice that the caller opens and closes, or by `TextMemory.open` over one of its own.
    `embedder` makes the key vectors, the hashing embedder by default; its id is pinned in the
    store, and another one is refused with `PinnedError`. `preset` says how recall weighs what it
    knows. `shelf` is a file that keeps the text index between openings. Without it the store has
    one where it can, or the index is made anew.
    """

    def __init__(
        self,
        lattice: Lattice,
        embedder: Embedder | AsyncEmbedder | None = None,
        *,
        preset: Preset = DIALOGUE,
        shelf: str | os.PathLike[str] | None = None,
    ) -> None:
        if not isinstance(lattice, Lattice):
            raise InvalidInputError(
                f"TextMemory is made over a Lattice, not {type(lattice).__name__}; for a folder: "
                "TextMemory.open(...)"
            )
        self._lattice = lattice
        self._embedder = HashingEmbedder() if embedder is None else embedder
        self._preset = preset
        self._keeper = TextIndexer(None if shelf is None else Sidecar(Path(shelf)))
        self._own: Callable[..., Lattice] | None = None
        self._has_failed = False
        self._opening = asyncio.Lock()
        self._tools: RecallServices | None = None
        self._closed = False

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        embedder: Embedder | AsyncEmbedder | None = None,
        *,
        preset: Preset = DIALOGUE,
        **lattice_options: Unpack[LatticeOptions],
    ) -> TextMemory:
        """The memory in the folder `path`; `lattice_options` are those of `Lattice.open`."""
        embedder = HashingEmbedder() if embedder is None else embedder
        options: LatticeOptions = {"dim": embedder.dim, **lattice_options}
        own = partial(Lattice.open, path, **options)
        memory = cls(own(), embedder, preset=preset)
        memory._own = own
        return memory

    def __repr__(self) -> str:
        return repr(self._lattice).replace("<Lattice", f"<{type(self).__name__}", 1)

    @property
    def lattice(self) -> Lattice:
        """The lattice that holds the texts."""
        return self._lattice

    @property
    def embedder(self) -> Embedder | AsyncEmbedder:
        """What makes the key vectors."""
        return self._embedder

    # --- opening and closing ---------------------------------------------------------------------

    async def aclose(self) -> None:
        """Keep the text index for the next opening; close the lattice if it is the memory's own."""
        # First: nobody who still asks may open what is being closed.
        self._closed = True
        try:
            # Shielded, so that who is cancelled here does not take the index with them.
            await asyncio.shield(begin(READS, self._keeper.close))
        finally:
            if self._own is not None:
                await self._lattice.aclose()

    async def _opened(self) -> Self:
        if self._own is None:
            await self._ready()
            return self
        async with self._opening:
            if self._closed:
                raise LatticeClosedError
            if self._tools is None:
                await self._open_own(self._own)
        return self

    async def _open_own(self, own: Callable[..., Lattice]) -> None:
        """Open the lattice and the memory, or leave neither open; it may be tried again."""
        if self._has_failed:
            # What failed to open may be half open still, and what is closed opens no more.
            await self._lattice.aclose()
            self._lattice = own()
        self._has_failed = True
        try:
            await self._open_lattice(own)
            self._tools = await self._prepared()
        # Whatever stopped it, the store must not stay open and locked.
        except BaseException:
            await self._lattice.aclose()
            raise
        self._has_failed = False

    async def _open_lattice(self, own: Callable[..., Lattice]) -> None:
        try:
            await self._lattice
        except DimensionMismatchError:
            # Of two embedders the names say more than the dimensions.
            shape = {"dim": None, "value_dim": None, "novelty_window": None}
            async with own(**shape, read_only=True) as lattice:
                self._check_embedder(lattice)
            raise

    async def _ready(self) -> RecallServices:
        self._state()._usable()  # noqa: SLF001  # what `put` and `query` will ask
        if self._tools is None:
            # Many may ask at once over a lattice that was opened before; one of them prepares.
            async with self._opening:
                if self._tools is None:
                    self._tools = await self._prepared()
        return self._tools

    async def _prepared(self) -> RecallServices:
        lattice, embedder = self._lattice, self._embedder
        self._check_embedder(lattice)
        if lattice.dim != embedder.dim:
            raise DimensionMismatchError(f"embedder {embedder.id!r}", lattice.dim, embedder.dim)
        # Of a store that was made without a text memory, and to which nothing will be written here.
        with suppress(ReadOnlyStoreError):
            await lattice.pin(EMBEDDER_PIN, embedder.id)
        survey = await lattice.survey()
        await survey.run(self._keeper.follow, survey)
        return RecallServices(
            embedder, self._preset, self._keeper, EmbeddingBatcher(embedder, survey.call)
        )

    def _check_embedder(self, lattice: Lattice) -> None:
        pinned = lattice.pins.get(EMBEDDER_PIN, self._embedder.id)
        if pinned != self._embedder.id:
            raise PinnedError(EMBEDDER_PIN, pinned, self._embedder.id)

    def _state(self) -> Lattice:
        if self._closed:
            raise LatticeClosedError
        return self._lattice

    # --- remembering ---------------------------------------------------------------------------

    async def remember(
        self,
        text: str,
        *,
        speaker: str | None = None,
        session: str | None = None,
        timestamp: float | None = None,
        context: Mapping[str, JsonValue] | None = None,
        min_novelty: float | None = None,
        idempotency_key: str | None = None,
    ) -> Stored | Duplicate:
        """Store a text as one line, as it is; returns when it is durable.

        `session` joins turns that belong together; `timestamp` is when it was said, in seconds
        since the epoch. `Duplicate` only if its novelty is under `min_novelty`, which the commit
        decides. Other arguments and errors as for `Lattice.put`.
        """
        said = _said(text, speaker, session, timestamp, context, idempotency_key)
        try:
            return Stored(await self._put(said, min_novelty=min_novelty))
        except NotNovelError as exc:
            return Duplicate(exc.nearest, exc.novelty)

    async def remember_many(
        self,
        texts: Texts,
        *,
        batch: int = 256,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Store texts in batches, each whole or not at all; returns how many lines are new.

        Memory stays bounded by two batches. `progress` and errors are those of `Lattice.put_many`.
        """
        if isinstance(texts, str | bytes):
            raise InvalidInputError("remember_many takes several texts; for one: remember(text)")
        size = checks.count(batch, "batch", 1, MOST_IN_A_BATCH)
        async with aclosing(self._candidates(texts, size)) as candidates:
            return await self._state().put_many(candidates, batch=size, progress=progress)

    async def candidate(
        self,
        text: str,
        *,
        speaker: str | None = None,
        session: str | None = None,
        timestamp: float | None = None,
        context: Mapping[str, JsonValue] | None = None,
        confidence: float = 1.0,
        revises: Sequence[str] = (),
        idempotency_key: str | None = None,
        name: str = "",
    ) -> Candidate:
        """The line that `remember` would store, for a race or for `Lattice.put_many`."""
        said = _said(text, speaker, session, timestamp, context, idempotency_key)
        key, stamped_context = await self._encoded(said)
        return Candidate(
            key=key,
            context=stamped_context,
            timestamp=timestamp,
            confidence=confidence,
            revises=tuple(revises),
            idempotency_key=idempotency_key,
            name=name,
        )

    async def supersede(
        self,
        anchor: str,
        text: str,
        *,
        speaker: str | None = None,
        session: str | None = None,
        timestamp: float | None = None,
        context: Mapping[str, JsonValue] | None = None,
        idempotency_key: str | None = None,
    ) -> Stored:
        """Store a text that replaces an older one, in one record.

        The older line leaves recall, and stays readable with `at` and `get`. Speaker, session and
        context are taken from it where they are not given. `StaleAnchorError` if it was replaced or
        forgotten already, `LineNotFoundError` if it has no text.
        """
        older = await self._state().get(anchor)
        # Not checked to be live: the commit does that, after whatever happens meanwhile.
        known = said_in(older.context)
        if known.text is None:
            raise LineNotFoundError(anchor, "text and the anchor")
        speaker = known.speaker if speaker is None else speaker
        session = known.session if session is None else session
        context = carried(older.context) if context is None else context
        said = _said(text, speaker, session, timestamp, context, idempotency_key)
        return Stored(await self._put(said, revises=(anchor,)))

    async def _put(
        self, said: Utterance, *, revises: Sequence[str] = (), min_novelty: float | None = None
    ) -> str:
        key, context = await self._encoded(said)
        return await self._lattice.put(
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

    async def forget(self, anchor: str) -> None:
        """Take a text out of every later recall; `get` and `at` still find it; its key is free."""
        await self._state().forget(anchor)

    def at(self, point: Point) -> TextView:
        """The memory just after the record of an anchor, a revision, or a moment (datetime)."""
        return TextView(self, self._state().at(point))

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
        return await stamped(said, self._lattice._limits.context_bytes)  # noqa: SLF001  # what `put` will ask


def _said(
    text: str,
    speaker: str | None,
    session: str | None,
    timestamp: float | None,
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


class TextView(Recalling):
    """The texts of one past state: recall answers as it did then."""

    def __init__(self, memory: TextMemory, view: LatticeView) -> None:
        self._memory, self._view = memory, view

    @property
    def view(self) -> LatticeView:
        """The state of the lattice."""
        return self._view

    async def _ready(self) -> RecallServices:
        return await self._memory._ready()  # noqa: SLF001  # a view is a part of its memory

    def _state(self) -> LatticeView:
        self._memory._state()  # noqa: SLF001  # refuses when the memory is closed
        return self._view
