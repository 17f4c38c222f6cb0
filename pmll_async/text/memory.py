"""Text memory: remember sentences, and recall the ones that answer a question."""

from __future__ import annotations

import asyncio
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from pmll_async import encoding
from pmll_async.canonical import StampedContext, encode_context, stamp
from pmll_async.errors import (
    DimensionMismatchError,
    LatticeClosedError,
    NotNovelError,
    PinnedError,
    ReadOnlyStoreError,
)
from pmll_async.lattice import Lattice
from pmll_async.lines import MOST_IN_A_BATCH, Candidate
from pmll_async.protocols import AsyncEmbedder, Embedder
from pmll_async.readable import Readable
from pmll_async.snapshot import Point
from pmll_async.text.asking import Parts, Recalling, text_of
from pmll_async.text.embedding import EmbeddingDesk
from pmll_async.text.hashing import HashingEmbedder
from pmll_async.text.keeping import IndexKeeper
from pmll_async.text.presets import DIALOGUE, Preset
from pmll_async.text.results import Duplicate, Stored, Utterance
from pmll_async.text.rows import told
from pmll_async.text.shelf import Shelf
from pmll_async.views import LatticeView

if TYPE_CHECKING:
    from pydantic import JsonValue

EMBEDDER_PIN: Final = "embedder"
"""The name under which a store is told the id of the embedder that made its vectors."""
_SHELF: Final = "text.sqlite"


class TextMemory(Recalling):
    """Sentences in a lattice, found again by what they say.

    Over a lattice that the caller opens and closes, or by `TextMemory.open` over one of its own.
    `embedder` makes the key vectors, the hashing embedder by default; its id is pinned in the
    store, and another one is refused with `PinnedError`. `preset` says how recall weighs what it
    knows. `shelf` is a file that keeps the text index between openings; without, it is made anew.
    """

    def __init__(
        self,
        lattice: Lattice,
        embedder: Embedder | AsyncEmbedder | None = None,
        *,
        preset: Preset = DIALOGUE,
        shelf: str | os.PathLike[str] | None = None,
    ) -> None:
        self._lattice = lattice
        self._embedder = HashingEmbedder() if embedder is None else embedder
        self._preset = preset
        self._keeper = IndexKeeper(None if shelf is None else Shelf(Path(shelf)))
        self._reopened: Callable[[], Lattice] | None = None
        self._opening = asyncio.Lock()
        self._parts: Parts | None = None
        self._closed = False

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        embedder: Embedder | AsyncEmbedder | None = None,
        *,
        preset: Preset = DIALOGUE,
        **lattice_options: Any,
    ) -> TextMemory:
        """The memory in the folder `path`; `lattice_options` are those of `Lattice.open`."""
        embedder = HashingEmbedder() if embedder is None else embedder
        lattice = Lattice.open(path, **({"dim": embedder.dim} | lattice_options))
        read_only = bool(lattice_options.get("read_only"))
        memory = cls(lattice, embedder, preset=preset)
        memory._keeper = IndexKeeper(Shelf(Path(path) / _SHELF, read_only=read_only))
        memory._reopened = partial(Lattice.open, path, **(lattice_options | {"read_only": True}))
        return memory

    @property
    def lattice(self) -> Lattice:
        """The lattice that holds the texts."""
        return self._lattice

    @property
    def embedder(self) -> Embedder | AsyncEmbedder:
        """What makes the key vectors."""
        return self._embedder

    # --- opening and closing ---------------------------------------------------------------------

    def __await__(self) -> Generator[object, None, Self]:
        """Open; again on an open memory is nothing."""
        return self._opened().__await__()

    async def __aenter__(self) -> Self:
        return await self._opened()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Keep the text index for the next opening; close the lattice if it is the memory's own."""
        self._closed = True
        try:
            await asyncio.to_thread(self._keeper.close)
        finally:
            if self._reopened is not None:
                await self._lattice.aclose()

    async def _opened(self) -> Self:
        if self._reopened is not None:
            await self._open_lattice(self._reopened)
        await self._ready()
        return self

    async def _open_lattice(self, reopened: Callable[[], Lattice]) -> None:
        try:
            await self._lattice
        except DimensionMismatchError:
            # Of two embedders the names say more than the dimensions.
            async with reopened() as lattice:
                pinned = lattice.pins.get(EMBEDDER_PIN, self._embedder.id)
            if pinned != self._embedder.id:
                raise PinnedError(EMBEDDER_PIN, pinned, self._embedder.id) from None
            raise

    async def _ready(self) -> Parts:
        if self._closed:
            raise LatticeClosedError
        async with self._opening:
            if self._parts is None:
                self._parts = await self._prepared()
        return self._parts

    async def _prepared(self) -> Parts:
        lattice, embedder = self._lattice, self._embedder
        if lattice.dim != embedder.dim:
            raise DimensionMismatchError(f"embedder {embedder.id!r}", lattice.dim, embedder.dim)
        try:
            await lattice.pin(EMBEDDER_PIN, embedder.id)
        except ReadOnlyStoreError:
            pass  # made without a text memory, and nothing will be written to it here
        except PinnedError:
            if self._reopened is not None:
                await lattice.aclose()
            raise
        survey = await lattice.survey()
        await survey.run(self._keeper.follow, survey.snapshot, survey.reader)
        return Parts(embedder, self._preset, self._keeper, EmbeddingDesk(embedder, survey.run))

    def _state(self) -> Readable:
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
        candidate = await self.candidate(
            text, speaker=speaker, session=session, timestamp=timestamp, context=context
        )
        try:
            return Stored(
                await self._lattice.put(
                    candidate.key,
                    None,
                    candidate.context,
                    timestamp=timestamp,
                    min_novelty=min_novelty,
                    idempotency_key=idempotency_key,
                )
            )
        except NotNovelError as exc:
            return Duplicate(exc.nearest, exc.novelty)

    async def remember_many(
        self,
        texts: Iterable[str | Utterance] | AsyncIterable[str | Utterance],
        *,
        batch: int = 256,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Store texts in batches, each whole or not at all; returns how many lines are new.

        Memory stays bounded by one batch. `progress` and errors are those of `Lattice.put_many`.
        """
        size = encoding.count(batch, "batch", 1, MOST_IN_A_BATCH)
        return await self._lattice.put_many(
            self._candidates(texts, size), batch=size, progress=progress
        )

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
        name: str = "",
    ) -> Candidate:
        """The line that `remember` would store, for a race."""
        said = Utterance(
            text=text, speaker=speaker, session=session, timestamp=timestamp, context=context or {}
        )
        stamped = _stamped(said)
        vectors = await (await self._ready()).desk.embed([told(said.text, said.speaker)])
        return Candidate(
            key=vectors[0],
            context=stamped,
            timestamp=timestamp,
            confidence=confidence,
            revises=tuple(revises),
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

        The older line leaves recall, and stays readable with `at` and `get`. What is not given is
        taken from it. `StaleAnchorError` if it was replaced or forgotten already.
        """
        older = await self.get(anchor)
        candidate = await self.candidate(
            text,
            speaker=older.speaker if speaker is None else speaker,
            session=older.session if session is None else session,
            context=older.context if context is None else context,
        )
        return Stored(
            await self._lattice.put(
                candidate.key,
                None,
                candidate.context,
                timestamp=timestamp,
                revises=(anchor,),
                idempotency_key=idempotency_key,
            )
        )

    async def forget(self, anchor: str) -> None:
        """Take a text out of every later recall; `get` and `at` still find it."""
        await self._lattice.forget(anchor)

    def at(self, point: Point) -> TextView:
        """The memory just after the record of an anchor, a revision, or a moment (datetime)."""
        return TextView(self, self._lattice.at(point))

    async def _candidates(
        self, texts: Iterable[str | Utterance] | AsyncIterable[str | Utterance], size: int
    ) -> AsyncGenerator[Candidate, None]:
        desk = (await self._ready()).desk
        async for batch in _batches(texts, size):
            contexts = [_stamped(said) for said in batch]
            vectors = await desk.embed([told(said.text, said.speaker) for said in batch])
            for said, context, vector in zip(batch, contexts, vectors, strict=True):
                yield Candidate(
                    key=vector,
                    context=context,
                    timestamp=said.timestamp,
                    idempotency_key=said.idempotency_key,
                )


class TextView(Recalling):
    """The texts of one past state: recall answers as it did then."""

    def __init__(self, memory: TextMemory, view: LatticeView) -> None:
        self._memory, self._view = memory, view

    @property
    def view(self) -> LatticeView:
        """The state of the lattice."""
        return self._view

    async def _ready(self) -> Parts:
        return await self._memory._ready()  # noqa: SLF001  # a view is a part of its memory

    def _state(self) -> Readable:
        return self._view


def _stamped(said: Utterance) -> StampedContext:
    facts: dict[str, JsonValue] = {"text": text_of(said.text, "text")}
    for name in ("speaker", "session"):
        value = getattr(said, name)
        if value is not None:
            facts[name] = text_of(value, name)
    context = stamp(said.context, facts)
    # Refused before a model is asked about it.
    encode_context(context)
    return context


async def _batches(
    texts: Iterable[str | Utterance] | AsyncIterable[str | Utterance], size: int
) -> AsyncGenerator[list[Utterance], None]:
    batch: list[Utterance] = []
    async for given in _each(texts):
        batch.append(Utterance(text=given) if isinstance(given, str) else given)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


async def _each(
    texts: Iterable[str | Utterance] | AsyncIterable[str | Utterance],
) -> AsyncGenerator[str | Utterance, None]:
    if isinstance(texts, AsyncIterable):
        async for text in texts:
            yield text
    else:
        for text in texts:
            yield text
