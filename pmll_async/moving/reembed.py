"""Reembedding: the same memory with the vectors of another embedder, in a store of its own.

Every record is made anew in its place: the same texts, contexts, times, decays and rollbacks, so
that revisions stay what they were. Keys differ, and with them anchors, novelties and digests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final

from pmll_async.engine.assembly import assemble, loading
from pmll_async.engine.shape import Shape
from pmll_async.errors import InvalidInputError
from pmll_async.indexes.exact import ExactIndex
from pmll_async.integrity.renaming import names_lines, renamed
from pmll_async.loop.jobs import begin
from pmll_async.loop.lifecycle import Abandonable
from pmll_async.loop.workers import CALLS
from pmll_async.moving.transfer import Progress
from pmll_async.protocols import AsyncEmbedder, Embedder, Store, StoreHeader
from pmll_async.records.changes import EraseRecord, LineChange
from pmll_async.records.content import LineContent, LineRecord
from pmll_async.records.proposals import ChangeProposal, PutProposal, RaceEntry, RaceProposal
from pmll_async.records.record import PutRecord, RaceRecord, Record
from pmll_async.text.batcher import EmbeddingBatcher
from pmll_async.text.index.rows import said_in, told
from pmll_async.text.memory import EMBEDDER_PIN
from pmll_async.values.anchors import Hasher
from pmll_async.values.concert import Concert, Float32, exact_norm
from pmll_async.values.contexts import parse_json
from pmll_async.values.lines import Limits

# They are embedded together, and those without revisions are durable with one sync.
_RECORDS_AT_ONCE: Final = 256


async def reembed(
    source: Store,
    target: Store,
    embedder: Embedder | AsyncEmbedder,
    *,
    integrity_key: bytes | None = None,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Copy a memory into an empty store with new key vectors; returns new anchors by old ones.

    Opens and closes both. A line without text, or with a value of its own that the new dimensions
    do not fit, raises `InvalidInputError`: no embedder can make its vectors. After an error the
    target holds what was copied before it. Sources and acts name the new anchors; those that a
    caller's contexts mention stay as they are.
    """
    hasher = Hasher(integrity_key)
    header = await Abandonable(partial(source.open, None, hasher), source.close).run()
    try:
        records = await begin(CALLS, lambda: sum(len(b.times) for b in source.load()))
        copy = _Copy(header, embedder, hasher)
        async with copy.into(target):
            for first in range(0, records, _RECORDS_AT_ONCE):
                stop = min(records, first + _RECORDS_AT_ONCE)
                await copy.add(await begin(CALLS, _read, source, first, stop))
                if progress is not None:
                    progress(stop, records)
    finally:
        # Shielded, so that who is cancelled here does not leave the store open and locked.
        await asyncio.shield(begin(CALLS, source.close))
    return copy.anchors


class _Copy:
    """The new memory while it grows."""

    def __init__(
        self, header: StoreHeader, embedder: Embedder | AsyncEmbedder, hasher: Hasher
    ) -> None:
        self._header, self._embedder, self._hasher = header, embedder, hasher
        self._times: Iterator[float] = iter(())
        self.anchors: dict[str, str] = {}

    @asynccontextmanager
    async def into(self, target: Store) -> AsyncIterator[None]:
        """Open the target, which must be empty, with the source's other pins, for the block."""
        old, dim = self._header, self._embedder.dim
        value_dim = dim if old.value_dim == old.dim else old.value_dim
        shape = Shape(dim, value_dim, old.novelty_window)
        loaded = await loading(target, ExactIndex(), shape, self._hasher).run()
        # Records are committed at the times of the old ones, which `add` lays ready.
        opened = assemble(loaded, Concert(), Limits(), lambda: next(self._times))
        try:
            if loaded.ledger.snapshot.revision:
                raise InvalidInputError(f"{target.path} is not empty: give a new place")
            for name, value in (old.pins | {EMBEDDER_PIN: self._embedder.id}).items():
                await opened.trace.run(partial(opened.pins.add, name, value))
            self._trace = opened.trace
            self._batcher = EmbeddingBatcher(self._embedder, opened.services.jobs.call)
            yield
        finally:
            await opened.end()

    async def add(self, records: Sequence[Record]) -> None:
        """Make the records anew, in order; those that name none together, in one sync."""
        keys = iter(await self._keys(records))
        waiting: list[PutRecord] = []
        for record in records:
            if isinstance(record, PutRecord) and not _names_others(record):
                waiting.append(record)
                continue
            # What is named must have its new anchor first.
            await self._put(waiting, keys)
            waiting = []
            await self._commit(record, keys)
        await self._put(waiting, keys)

    async def _keys(self, records: Sequence[Record]) -> Float32:
        lines = [line for record in records for line in record.lines if line.content.key]
        return await self._batcher.embed([_text_of(line) for line in lines])

    async def _put(self, records: Sequence[PutRecord], keys: Iterator[Float32]) -> None:
        proposals = [self._put_proposal(record, keys) for record in records]
        self._times = iter([record.t for record in records])
        anchors = await asyncio.gather(*map(self._trace.commit, proposals))
        for record, anchor in zip(records, anchors, strict=True):
            self.anchors[record.line.anchor] = anchor

    async def _commit(self, record: Record, keys: Iterator[Float32]) -> None:
        self._times = iter([record.t])
        match record:
            case PutRecord():
                anchor = await self._trace.commit(self._put_proposal(record, keys))
                self.anchors[record.line.anchor] = anchor
            case RaceRecord():
                _, made = await self._trace.commit(self._race_proposal(record, keys))
                # A new store has no race of before, so that each has its record.
                for old, new in zip(record.lines, made.lines if made else (), strict=True):
                    self.anchors[old.anchor] = new.anchor
            case EraseRecord():
                named = self._named(record.anchors)
                await self._trace.commit(ChangeProposal(replace(record, anchors=named)))
            case LineChange():
                here = replace(record, anchor=self.anchors[record.anchor])
                await self._trace.commit(ChangeProposal(here))
            case _:
                await self._trace.commit(ChangeProposal(record))

    # --- records as proposals ------------------------------------------------------------------

    def _put_proposal(self, put: PutRecord, keys: Iterator[Float32]) -> PutProposal:
        return PutProposal(
            self._content(put.line, keys),
            put.line.timestamp,
            revises=self._named(put.revises),
            idempotency_key=put.idempotency_key,
        )

    def _race_proposal(self, race: RaceRecord, keys: Iterator[Float32]) -> RaceProposal:
        if any(line.content.erased for line in race.lines):
            raise InvalidInputError(
                f"a line of the race that {race.lines[0].anchor} won was erased, so that it cannot "
                "be raced again"
            )
        places = {line.anchor: place for place, line in enumerate(race.lines)}
        return RaceProposal(
            tuple(RaceEntry(self._content(line, keys), line.timestamp) for line in race.lines),
            decay=race.decay,
            scores=tuple((told.name, told.score, places[told.anchor]) for told in race.scores),
            failures=race.failures,
            unfinished=race.unfinished,
            revises=self._named(race.revises),
            idempotency_key=race.idempotency_key,
        )

    def _named(self, anchors: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.anchors[anchor] for anchor in anchors)

    def _content(self, line: LineRecord, keys: Iterator[Float32]) -> LineContent:
        old, context = line.content, line.content.context
        if old.erased:
            # Its place on the chain stays, and says no more.
            return old
        if names_lines(context):
            context = renamed(context, self.anchors)
        if line.kind == "note":
            return LineContent.of(self._hasher, b"", b"", context, 0.0)
        vector = next(keys)
        key = vector.tobytes()
        # A value that was left out is the key, and so becomes the new one.
        value = key if old.value == old.key else old.value
        if self._header.value_dim == self._header.dim and len(value) not in (0, len(key)):
            raise InvalidInputError(
                f"line {line.anchor} has a value of its own with {self._header.dim} dimensions, "
                f"which does not fit beside keys of {self._embedder.dim}"
            )
        return LineContent.of(self._hasher, key, value, context, exact_norm(vector))


def _names_others(put: PutRecord) -> bool:
    return bool(put.revises) or names_lines(put.line.content.context)


def _read(source: Store, first: int, stop: int) -> list[Record]:
    return [source.read(n) for n in range(first, stop)]


def _text_of(line: LineRecord) -> str:
    said = said_in(parse_json(line.content.context))
    if said.text is None:
        raise InvalidInputError(
            f"line {line.anchor} has no text, so no embedder can make its key anew"
        )
    return told(said.text, said.speaker)
