"""Text memory: remember sentences, and recall the ones that answer a question."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, Unpack

from pmll_async import Point
from pmll_async.errors import (
    DimensionMismatchError,
    InvalidInputError,
    LatticeClosedError,
    PinnedError,
    ReadOnlyStoreError,
)
from pmll_async.lattice import Lattice
from pmll_async.loop.jobs import begin
from pmll_async.loop.lifecycle import Openable
from pmll_async.loop.workers import READS
from pmll_async.protocols import AsyncEmbedder, Embedder, Sidecar
from pmll_async.provenance import Writer
from pmll_async.text.batcher import EmbeddingBatcher
from pmll_async.text.embedders.hashing import HashingEmbedder
from pmll_async.text.facts import (
    Consolidated,
    Extract,
    Message,
    Reading,
    Supports,
    is_supported,
    unread,
    utterances,
    with_defaults,
)
from pmll_async.text.index.keeper import TextIndexer
from pmll_async.text.options import LatticeOptions
from pmll_async.text.presets import DIALOGUE, Preset
from pmll_async.text.remembering import Remembering
from pmll_async.text.results import Anchored, anchor_of
from pmll_async.text.views import Recalling, RecallServices
from pmll_async.values import checks
from pmll_async.values.lines import Candidate
from pmll_async.views import LatticeView, Where

if TYPE_CHECKING:
    from pydantic import JsonValue

EMBEDDER_PIN: Final = "embedder"
"""The name under which a store is told the id of the embedder that made its vectors."""


class TextMemory(Openable, Recalling, Remembering):
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

    def as_writer(
        self, principal: str, *, trust: float = 1.0, channel: str = "", quarantine: bool = False
    ) -> TextWriter:
        """A handle that remembers in a principal's name; see `Lattice.as_writer`."""
        own = self._lattice.as_writer(
            principal, trust=trust, channel=channel, quarantine=quarantine
        )
        return TextWriter(self, own)

    def _target(self) -> Lattice:
        return self._lattice

    def _context_bytes(self) -> int:
        return self._lattice._limits.context_bytes  # noqa: SLF001  # what `put` will ask

    async def remember_turns(
        self,
        messages: Iterable[Message],
        *,
        session: str | None = None,
        context: Mapping[str, JsonValue] | None = None,
        extract: Extract | None = None,
        supports: Supports = is_supported,
        principal: str = "extract",
        carry: Sequence[str] = (),
    ) -> Consolidated:
        """Store turns in order, and with `extract` the facts that a model reads in them.

        `session` and `context` are those of turns that have none. Facts as by `consolidate`, which
        may read them later where no `extract` is given.
        """
        said = [with_defaults(each, session, context) for each in utterances(messages)]
        turns = [await self.get(await self._put(each)) for each in said]
        if extract is None:
            return Consolidated(tuple(turn.anchor for turn in turns))
        reading = Reading(self, extract, supports, principal, carry)
        return await reading.all_of(turns, max(1, len(turns)))

    async def consolidate(
        self,
        extract: Extract,
        *,
        batch: int = 16,
        where: Where | None = None,
        supports: Supports = is_supported,
        principal: str = "extract",
        carry: Sequence[str] = (),
    ) -> Consolidated:
        """Read facts out of all turns that were not read yet, `batch` of a session at a time.

        Of facts about the same matter and of one time the one of most confidence wins a race, and
        replaces what is known of the matter if that is not newer. Facts are in the name of
        `principal`, derived from their turns, and have what these `carry` in their contexts. What
        `supports` denies, and what a newer or more trusted fact contradicts, is kept back in
        quarantine. Each batch is whole before the next: stop it, and call it again.
        """
        size = checks.count(batch, "batch", 1)
        reading = Reading(self, extract, supports, principal, carry)
        return await reading.all_of(await unread(self, where), size)

    async def forget(self, anchor: Anchored, *, erase: bool = False) -> None:
        """Take a text out of every later recall; `get` and `at` still find it; its key is free.

        With `erase` it leaves the files and every state of before; see `Lattice.forget`.
        """
        await self._state().forget(anchor_of(anchor), erase=erase)

    def at(self, point: Point) -> TextView:
        """The memory just after the record of an anchor, a revision, or a moment (datetime)."""
        return TextView(self, self._state().at(point))


class TextWriter(Remembering):
    """Remembers in one principal's name; made by `TextMemory.as_writer`."""

    def __init__(self, memory: TextMemory, writer: Writer) -> None:
        self._memory, self._writer = memory, writer

    def __repr__(self) -> str:
        return f"Text{self._writer!r}"

    @property
    def writer(self) -> Writer:
        """What its lines are written with."""
        return self._writer

    def derived_from(self, *anchors: str) -> TextWriter:
        """The same, of texts that were made from these ones; see `Writer.derived_from`."""
        return TextWriter(self._memory, self._writer.derived_from(*anchors))

    async def _signed(self, candidate: Candidate) -> Candidate:
        return await self._writer.candidate(candidate)

    async def _ready(self) -> RecallServices:
        return await self._memory._ready()  # noqa: SLF001  # a writer is a part of its memory

    def _state(self) -> Lattice:
        return self._memory._state()  # noqa: SLF001  # refuses when the memory is closed

    def _target(self) -> Writer:
        return self._writer

    def _context_bytes(self) -> int:
        return self._memory._context_bytes()  # noqa: SLF001  # of the same lattice


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
