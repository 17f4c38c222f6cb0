"""Chained records to plant in a store, to append to it and to find in it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from pmll_async.protocols import StoreHeader
from pmll_async.records.blocks import Block
from pmll_async.records.changes import DecayRecord, EraseRecord, ForgetRecord, RollbackRecord
from pmll_async.records.content import LineContent, LineRecord
from pmll_async.records.record import (
    PutRecord,
    RaceRecord,
    Record,
    leaf,
)
from pmll_async.values.anchors import ROOT_ANCHOR, ROOT_DIGEST, Hasher, fold
from pmll_async.values.concert import Float32, exact_norm
from pmll_async.values.contexts import StampedContext, encode_context
from pmll_async.values.lines import CandidateFailure, CandidateScore, Kind

Context = Mapping[str, Any]
AnyRecord = TypeVar("AnyRecord", bound=Record)
CONTEXTS: Final[tuple[Context, ...]] = (
    {},
    {"topic": "recursion", "step": 1},
    {"b": [1, 2.5, None, True, False], "a": {"deep": {"deeper": [{"x": 1e21}, {"y": 1e-7}]}}},
    {"text": "naïve café — 東京 🎉", "quote": 'a"b\\c\n\t\u0001\u2028'},
    {"é": 1, "e": 2, "€": 3, "😀": 4, "\uffff": 5},
    {"large": 1e16, "integer": 2**53 - 1, "small": -0.0001},
)
"""Contexts that a careless encoding would change: key order, escapes, numbers."""


class ChainBuilder:
    """Appends records to a log that exists only here, with right anchors and digests.

    Vectors that a call leaves out come from a seeded generator; each record is committed one second
    after the one before. Similarity and novelty are plausible numbers and not computed.
    """

    def __init__(
        self,
        dim: int = 4,
        *,
        value_dim: int | None = None,
        integrity_key: bytes | None = None,
        novelty_window: int | None = None,
        seed: int = 0,
        start: float = 1_700_000_000.0,
    ) -> None:
        self.hasher, self.novelty_window = Hasher(integrity_key), novelty_window
        self.dim, self.value_dim = dim, dim if value_dim is None else value_dim
        self.records: list[Record] = []
        self._digests = [ROOT_DIGEST]
        self._heads = [ROOT_ANCHOR]
        self._random = np.random.default_rng(seed)
        self._start = start

    @property
    def header(self) -> StoreHeader:
        """What a new store for this log is made with."""
        return StoreHeader(
            self.dim,
            self.value_dim,
            key_check=self.hasher.check_value(),
            novelty_window=self.novelty_window,
        )

    @property
    def head(self) -> str:
        """The anchor of the newest line on the chain."""
        return self._heads[-1]

    @property
    def digest(self) -> bytes:
        """h after the last record."""
        return self._digests[-1]

    def block(self, first: int = 0, stop: int | None = None) -> Block:
        """The columns of records `first` … `stop - 1`, the last by default."""
        records = self.records[first:stop]
        return Block.of(records, first, self._digests[first], self.dim)

    # --- one record each -----------------------------------------------------------------------

    def put(
        self,
        context: Context | None = None,
        *,
        key: ArrayLike | None = None,
        value: ArrayLike | None = None,
        timestamp: float | None = None,
        revises: Sequence[str] = (),
        idempotency_key: str | None = None,
    ) -> PutRecord:
        """A line on the chain."""
        content = self._content(context, key, value)
        record = PutRecord(
            t=self._now(),
            line=self._line(content, "line", timestamp=timestamp),
            revises=tuple(revises),
            idempotency_key=idempotency_key,
        )
        return self._append(record, record.line.anchor)

    def note(
        self, context: Context | None = None, *, idempotency_key: str | None = None
    ) -> PutRecord:
        """A note on the chain."""
        content = LineContent.of(self.hasher, b"", b"", encode_context(context), 0.0)
        record = PutRecord(
            t=self._now(), line=self._line(content, "note"), idempotency_key=idempotency_key
        )
        return self._append(record, record.line.anchor)

    def race(
        self,
        contexts: Sequence[Context] = ({"n": 0}, {"n": 1}, {"n": 2}),
        *,
        decay: float = 0.5,
        revises: Sequence[str] = (),
        idempotency_key: str | None = None,
    ) -> RaceRecord:
        """A race that the first context's line won; it tells of a failure and a late candidate."""
        entries = tuple(
            self._line(
                self._content(context, None, None),
                "branch" if number else "line",
                strength=decay if number else 1.0,
            )
            for number, context in enumerate(contexts)
        )
        record = RaceRecord(
            t=self._now(),
            entries=entries,
            decay=decay,
            scores=tuple(
                CandidateScore(name=f"candidate-{i}", score=1.0 - i / 8, anchor=line.anchor)
                for i, line in enumerate(entries)
            ),
            failures=(CandidateFailure(name="broken", error="ValueError", message='no "luck" 🎲'),),
            unfinished=("late",),
            revises=tuple(revises),
            idempotency_key=idempotency_key,
        )
        return self._append(record, entries[0].anchor)

    def decay(self, anchor: str, factor: float = 0.5) -> DecayRecord:
        """Strength × factor."""
        return self._append(DecayRecord(t=self._now(), anchor=anchor, factor=factor))

    def forget(self, anchor: str) -> ForgetRecord:
        """A line forgotten."""
        return self._append(ForgetRecord(t=self._now(), anchor=anchor))

    def erase(self, *anchors: str) -> EraseRecord:
        """Lines are erased."""
        return self._append(EraseRecord(t=self._now(), anchors=anchors))

    def rollback(self, revision: int) -> RollbackRecord:
        """The state after `revision` records again."""
        record = RollbackRecord(t=self._now(), revision=revision)
        return self._append(record, self._heads[revision])

    # --- many ----------------------------------------------------------------------------------

    def lines(self, count: int) -> list[Record]:
        """That many puts."""
        return [self.put({"n": number}) for number in range(count)]

    def one_of_each(self) -> list[Record]:
        """Every operation with every optional field, and contexts that are easily changed."""
        first = len(self.records)
        puts = [self.put(context) for context in CONTEXTS]
        self.put({"at": 1}, timestamp=1_600_000_000.25, idempotency_key='key / 鍵 "1"')
        self.put(StampedContext({"pmll": {"run": "r1", "cycle": 0}}), revises=[self.head])
        self.note({"kind": "note"}, idempotency_key="note")
        self.note()
        revision = len(self.records)
        race = self.race(idempotency_key="race", revises=[puts[0].line.anchor])
        self.race([{"alone": True}], decay=0.0)
        self.decay(race.entries[1].anchor, 1.75)
        self.decay(puts[1].line.anchor, 0.0)
        self.forget(puts[2].line.anchor)
        self.rollback(revision)
        self.put({"after": "rollback"})
        return self.records[first:]

    # --- parts ---------------------------------------------------------------------------------

    def vector(self, dim: int | None = None) -> Float32:
        """The generator's next vector, float32 (dim,)."""
        # Never zero in practice, so that it can be a key.
        numbers = self._random.standard_normal(self.dim if dim is None else dim)
        return numbers.astype("<f4")

    def _now(self) -> float:
        # Whole seconds that grow: a record's time names its place.
        return self._start + len(self.records)

    def _content(
        self, context: Context | None, key: ArrayLike | None, value: ArrayLike | None
    ) -> LineContent:
        key_vector = self.vector() if key is None else np.asarray(key, dtype="<f4")
        value_vector = self.vector(self.value_dim) if value is None else np.asarray(value, "<f4")
        return LineContent.of(
            self.hasher,
            key_vector.tobytes(),
            value_vector.tobytes(),
            encode_context(context),
            exact_norm(key_vector),
        )

    def _line(
        self,
        content: LineContent,
        kind: Kind,
        *,
        timestamp: float | None = None,
        strength: float = 1.0,
    ) -> LineRecord:
        vectors = kind != "note"
        return LineRecord(
            content=content,
            anchor=self.hasher.anchor(self.head, content.digests),
            prev_anchor=self.head,
            kind=kind,
            similarity=0.3125 if vectors else 0.0,
            novelty=0.6875 if vectors else 0.0,
            timestamp=timestamp,
            strength=strength,
        )

    def _append(self, record: AnyRecord, head: str | None = None) -> AnyRecord:
        self.records.append(record)
        self._digests.append(fold(self.digest, leaf(record)))
        self._heads.append(self.head if head is None else head)
        return record
