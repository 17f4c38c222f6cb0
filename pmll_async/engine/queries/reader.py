"""The reader: turns line numbers and queries of a snapshot into lines. Everything here blocks.

What it read from the store is kept in a bounded cache, so that a line asked for again costs no I/O.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.engine.ledger.snapshot import Ints, Snapshot, window_start
from pmll_async.engine.queries.context_index import ContextIndex
from pmll_async.errors import CorruptionError, LineErasedError, LineNotFoundError
from pmll_async.loop.batcher import tried
from pmll_async.loop.breathing import Breather
from pmll_async.protocols import (
    Hit,
    Index,
    QuickIndex,
    RankQuery,
    ReadsKeys,
    Sidecar,
    Store,
    SupportsCosines,
    SupportsSidecar,
)
from pmll_async.records.content import LineRecord
from pmll_async.records.record import RaceRecord, Record
from pmll_async.values.concert import Concert, Float32, exact_norm
from pmll_async.values.contexts import FrozenDict, decode_context
from pmll_async.values.filters import Filter
from pmll_async.values.lines import Limits, MemoryLine, RaceOutcome

_OBJECTS: Final = 8
"""Bytes that the objects of a context take for each of its canonical text; short items more."""
_EMPTY: Final = 1024
"""What a line takes without vectors and context."""


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A query as the caller put it; `floor` None stands for the concert's.

    `rows` are the index rows that its filter matches, where they are known; `where` is one that is
    quick and evaluated on the way.
    """

    vector: Float32
    norm: float
    k: int
    now: float
    where: Filter | None = None
    rows: NDArray[np.int64] | None = None
    floor: float | None = None
    branches: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class StoredLine:
    """What never changes about a line, decoded; `size` is about how many bytes that takes."""

    key: Float32
    value: Float32
    context: FrozenDict
    prev_anchor: str
    timestamp: float
    committed_at: float
    similarity: float
    novelty: float
    size: int


class LineCache:
    """The lines read last, by line number, up to a number and bytes; safe in several threads."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._bytes = 0
        self._lines: OrderedDict[int, StoredLine] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, line: int) -> StoredLine | None:
        """The line, if it is kept."""
        with self._lock:
            known = self._lines.get(line)
            if known is not None:
                self._lines.move_to_end(line)
            return known

    def put(self, line: int, stored: StoredLine) -> None:
        """Keep the line and drop the one not asked for longest."""
        with self._lock:
            # Two threads may have read the same line.
            known = self._lines.pop(line, None)
            self._lines[line] = stored
            self._bytes += stored.size - (known.size if known is not None else 0)
            while len(self._lines) > self._limits.cached_lines or (
                self._bytes > self._limits.cached_bytes
            ):
                self._bytes -= self._lines.popitem(last=False)[1].size


class Reader:
    """Answers from a snapshot. Called in worker threads, or on the loop where nothing is read."""

    def __init__(self, store: Store, index: Index, concert: Concert, limits: Limits) -> None:
        self.concert = concert
        self.may_block = isinstance(index, ReadsKeys) and index.resident != "memory"
        """Whether ranking reads from the store."""
        self._store, self._index = store, index
        # Asked at every query, and telling takes longer than answering.
        self._quick = index if isinstance(index, QuickIndex) else None
        self._cache = LineCache(limits)
        self._contexts = ContextIndex(store.contexts)

    # --- queries -------------------------------------------------------------------------------

    def rank(self, snapshot: Snapshot, questions: Sequence[Query]) -> list[list[Hit]]:
        """The best rows for each question, all in one product."""
        queries = [self._rank_query(snapshot, question) for question in questions]
        return self._index.rank(snapshot.columns, queries)

    def is_quick_over(self, count: int) -> bool:
        """Whether one query over so many rows takes less than a hop to a thread."""
        return self._quick is not None and self._quick.quick(count)

    def answer(
        self, snapshot: Snapshot, questions: Sequence[Query]
    ) -> list[list[MemoryLine] | Exception]:
        """The lines for each question; one that meets damage fails alone."""
        prepared = [tried(self._rank_query, snapshot, question) for question in questions]
        queries = [query for query in prepared if isinstance(query, RankQuery)]
        hits = iter(self._index.rank(snapshot.columns, queries))
        answers: list[list[MemoryLine] | Exception] = []
        breathe = Breather()
        for query in prepared:
            breathe()
            if isinstance(query, Exception):
                answers.append(query)
            else:
                answers.append(tried(self.ranked_lines, snapshot, next(hits)))
        return answers

    def ranked_lines(self, snapshot: Snapshot, hits: Iterable[Hit]) -> list[MemoryLine]:
        """The lines of hits, seen by their query."""
        lines = []
        for hit in _remaining(snapshot, hits):
            # It may be erased this very moment.
            with suppress(LineErasedError):
                lines.append(self._seen(snapshot, hit, self._stored))
        return lines

    def kept_lines(self, snapshot: Snapshot, hits: Iterable[Hit]) -> list[MemoryLine] | None:
        """The same without reading from the store; None if one of them is not kept."""
        try:
            return [self._seen(snapshot, hit, self._kept) for hit in _remaining(snapshot, hits)]
        except KeyError:
            return None

    def _rank_query(self, snapshot: Snapshot, question: Query) -> RankQuery:
        concert, rows = self.concert, question.rows
        if question.where is not None:
            rows = self.rows(snapshot, question.where)
        return RankQuery(
            vector=question.vector,
            norm=question.norm,
            k=question.k,
            now=question.now,
            concert=concert,
            floor=concert.floor if question.floor is None else question.floor,
            rows=rows,
            branches=question.branches,
        )

    def rows(self, snapshot: Snapshot, where: Filter) -> NDArray[np.int64]:
        """The index rows whose contexts the filter matches, ascending."""
        matching = np.flatnonzero(self._contexts.mask(snapshot, where))
        rows = snapshot.ranked[matching].astype(np.int64)
        return rows[rows >= 0]

    def unknown_fields(self, snapshot: Snapshot, where: Filter) -> list[str]:
        """The filter's fields that no line has, by their names."""
        return [".".join(path) for path in self._contexts.unknown(snapshot, where)]

    def matching(
        self, snapshot: Snapshot, where: Filter, kept: Collection[int], *, gone: bool
    ) -> tuple[str, ...]:
        """The anchors of all lines that are there and match, notes and branches too, in order.

        Not of those that are `kept` or erased; with `gone` what was forgotten or rolled back, too.
        """
        mask = self._contexts.mask(snapshot, where)
        found = np.flatnonzero(mask if gone else mask & snapshot.alive).tolist()
        left = [line for line in found if line not in kept and not snapshot.lacks(line)]
        return tuple(dict.fromkeys(map(snapshot.anchor, left)))

    def covers(self, snapshot: Snapshot, where: Filter) -> bool:
        """Whether hardly anything has to be read for the filter; does not block."""
        return self._contexts.covers(snapshot, where)

    def is_quick(self, snapshot: Snapshot, where: Filter) -> bool:
        """Whether the filter takes less than a hop to a thread; does not block."""
        return self._contexts.is_quick(snapshot, where)

    def cover(self, snapshot: Snapshot, where: Filter) -> None:
        """Read from the store what the filter is the first to ask for."""
        self._contexts.cover(snapshot, where)

    def novelties(self, snapshot: Snapshot, keys: Sequence[Float32]) -> list[float]:
        """The largest cosine of each key to the lines that novelty is of, 0 where there is none."""
        norms = np.array([exact_norm(key) for key in keys])
        start = window_start(snapshot.columns, snapshot.novelty_window)
        nearest = self._index.nearest(snapshot.columns, np.stack(keys), norms, start)
        return [found[0] if found else 0.0 for found in nearest]

    # --- lines ---------------------------------------------------------------------------------

    def line(self, snapshot: Snapshot, line: int) -> MemoryLine:
        """One line as it is stored; `LineErasedError` if it is no more."""
        if snapshot.lacks(line):
            raise LineErasedError(snapshot.anchor(line))
        stored = self._stored(snapshot, line)
        return self._as_stored(snapshot, line, stored, float(snapshot.strengths[line]))

    def lines(self, snapshot: Snapshot, numbers: Iterable[int]) -> list[MemoryLine]:
        """These lines as they are stored, without those that are erased."""
        lines = []
        for line in numbers:
            # It may be erased this very moment.
            with suppress(LineErasedError):
                lines.append(self.line(snapshot, line))
        return lines

    def contexts(self, first: int, stop: int) -> Iterator[bytes]:
        """The canonical contexts of the lines of records `first` … `stop - 1`, in order."""
        return chain.from_iterable(self._store.contexts(first, stop))

    def sidecar(self, name: str) -> Sidecar | None:
        """The file of this name that the store has room for; None if it offers none."""
        return self._store.sidecar(name) if isinstance(self._store, SupportsSidecar) else None

    def cosines(self, snapshot: Snapshot, vector: Float32, norm: float) -> Float32 | None:
        """The cosine of every index row to a vector; None if the index cannot tell."""
        if not isinstance(self._index, SupportsCosines):
            return None
        return self._index.cosines(snapshot.columns.count, vector, norm)

    def recorded(self, snapshot: Snapshot, n: int, record: Record) -> list[MemoryLine]:
        """The lines of record `n` as they were when it was committed."""
        first = int(snapshot.line_starts[n])
        lines = []
        if snapshot.lacks(first):
            raise LineErasedError(snapshot.anchor(first))
        for line, entry in enumerate(record.lines, first):
            if snapshot.lacks(line):
                continue
            stored = _decoded(entry, record.t)
            self._cache.put(line, stored)
            lines.append(self._as_stored(snapshot, line, stored, entry.strength))
        return lines

    def outcome(self, snapshot: Snapshot, n: int, record: Record | None = None) -> RaceOutcome:
        """What record `n`, a race, gave; it is read unless given."""
        if record is None:
            record = self.record(snapshot, n)
        if not isinstance(record, RaceRecord):
            first = int(snapshot.line_starts[n])
            raise LineNotFoundError(snapshot.anchor(first), "race behind it and the anchor")
        winner, *losers = self.recorded(snapshot, n, record)
        return RaceOutcome(
            winner=winner,
            losers=tuple(losers),
            failures=record.failures,
            unfinished=record.unfinished,
            scores=record.scores,
            revised=record.revises,
        )

    def chain(
        self, snapshot: Snapshot, where: Filter | None, start: int | None, *, forgotten: bool
    ) -> Ints:
        """Line numbers of the chain from position `start` backwards, those that match.

        Without those that were forgotten, unless they are wanted.
        """
        lines = snapshot.chain if start is None else snapshot.chain[: start + 1]
        if not forgotten:
            lines = lines[snapshot.alive[lines]]
        if where is not None:
            lines = lines[self._contexts.mask(snapshot, where)[lines]]
        if snapshot.erased:
            lines = lines[~np.isin(lines, list(snapshot.erasures.lines))]
        return lines[::-1]

    def _seen(
        self, snapshot: Snapshot, hit: Hit, find: Callable[[Snapshot, int], StoredLine]
    ) -> MemoryLine:
        line = int(snapshot.ranked_lines[hit.row])
        return _build(snapshot, line, find(snapshot, line), float(snapshot.strengths[line]), hit)

    def _as_stored(
        self, snapshot: Snapshot, line: int, stored: StoredLine, strength: float
    ) -> MemoryLine:
        recency = self.concert.recency(stored.timestamp, stored.committed_at)
        weight = self.concert.weight(
            strength=strength,
            recency=recency,
            similarity=stored.similarity,
            novelty=stored.novelty,
        )
        # No query found it, so that it has no row; a note, which has no key, weighs nothing.
        own = Hit(-1, stored.similarity, recency, weight if len(stored.key) else 0.0)
        return _build(snapshot, line, stored, strength, own)

    def _kept(self, _: Snapshot, line: int) -> StoredLine:
        stored = self._cache.get(line)
        if stored is None:
            raise KeyError(line)
        return stored

    def _stored(self, snapshot: Snapshot, line: int) -> StoredLine:
        stored = self._cache.get(line)
        if stored is None:
            stored = self._read(snapshot, line)
            self._cache.put(line, stored)
        return stored

    def _read(self, snapshot: Snapshot, line: int) -> StoredLine:
        n = snapshot.record_of(line)
        record = self.record(snapshot, n)
        return _decoded(record.lines[line - int(snapshot.line_starts[n])], record.t)

    def record(self, snapshot: Snapshot, n: int) -> Record:
        """Record `n`, which the store has held against its own anchors, held against those here."""
        record = self._store.read(n)
        first, stop = snapshot.line_starts[n : n + 2].tolist()
        anchors = [snapshot.anchor(line) for line in range(first, stop)]
        if [line.anchor for line in record.lines] != anchors or record.t != snapshot.times[n + 1]:
            raise CorruptionError(self._store.path, 0, "holds another record than was stored", n)
        return record


def _remaining(snapshot: Snapshot, hits: Iterable[Hit]) -> Iterable[Hit]:
    """The hits without those that were erased since the snapshot was drawn."""
    if not snapshot.is_outdated:
        return hits
    return [hit for hit in hits if not snapshot.lacks(int(snapshot.ranked_lines[hit.row]))]


def _build(
    snapshot: Snapshot, line: int, stored: StoredLine, strength: float, seen: Hit
) -> MemoryLine:
    return MemoryLine.trusted(
        {
            "anchor": snapshot.anchor(line),
            "prev_anchor": stored.prev_anchor,
            "kind": snapshot.kind(line),
            "position": snapshot.position(line),
            "key": stored.key,
            "value": stored.value,
            "context": stored.context,
            "timestamp": stored.timestamp,
            "committed_at": stored.committed_at,
            "recency": seen.recency,
            "novelty": stored.novelty,
            "similarity": seen.similarity,
            "strength": strength,
            "weight": seen.weight,
            "forgotten": snapshot.is_forgotten(line),
        }
    )


def _decoded(line: LineRecord, t: float) -> StoredLine:
    content = line.content
    if content.erased:
        raise LineErasedError(line.anchor)
    return StoredLine(
        key=np.frombuffer(content.key, dtype="<f4"),
        value=np.frombuffer(content.value, dtype="<f4"),
        context=decode_context(content.context),
        prev_anchor=line.prev_anchor,
        timestamp=t if line.timestamp is None else line.timestamp,
        committed_at=t,
        similarity=line.similarity,
        novelty=line.novelty,
        # An estimate: to measure the objects would take longer than to make them.
        size=len(content.key) + len(content.value) + _OBJECTS * len(content.context) + _EMPTY,
    )
