"""Records for the store tests: chained, anchored, and from a seeded generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pmll_async.protocols import Store, StoreHeader
from pmll_async.records.blocks import Block
from pmll_async.records.changes import DecayRecord, ForgetRecord, RollbackRecord
from pmll_async.records.content import LineContent, LineRecord
from pmll_async.records.record import (
    PutRecord,
    RaceRecord,
    Record,
)
from pmll_async.values.anchors import ROOT_ANCHOR, ROOT_DIGEST, Hasher
from pmll_async.values.concert import Float32, exact_norm
from pmll_async.values.contexts import encode_context
from pmll_async.values.lines import CandidateFailure, CandidateScore, Kind


class Chain:
    """Writes a made-up history: each method returns the next record and remembers the head."""

    def __init__(self, dim: int = 3, seed: int = 0, key: bytes | None = None) -> None:
        self.dim, self.hasher = dim, Hasher(key)
        self.rng = np.random.default_rng(seed)
        self.heads = [ROOT_ANCHOR]
        self.records: list[Record] = []
        self.digest = ROOT_DIGEST
        self._columns: dict[int, Block] = {}

    @property
    def header(self) -> StoreHeader:
        return StoreHeader(dim=self.dim, value_dim=self.dim)

    def put(self, context: dict[str, Any] | None = None, **fields: Any) -> Record:
        line = self._line("line", {"i": len(self.records)} if context is None else context)
        return self.add(PutRecord(t=self._time(), line=line, **fields))

    def note(self, text: str = "a note") -> Record:
        return self.add(PutRecord(t=self._time(), line=self._line("note", {"text": text})))

    def race(self, losers: int = 2) -> Record:
        winner = self._line("line", {"won": True})
        branches = [self._line("branch", {"lost": i})._replace(strength=0.5) for i in range(losers)]
        scores = tuple(
            CandidateScore(name=f"c{i}", score=1.0 / (i + 1), anchor=line.anchor)
            for i, line in enumerate([winner, *branches])
        )
        return self.add(
            RaceRecord(
                t=self._time(),
                entries=(winner, *branches),
                decay=0.5,
                scores=scores,
                failures=(CandidateFailure(name="f", error="ValueError", message="no"),),
                unfinished=("late",),
                idempotency_key="race-key",
            )
        )

    def decay(self) -> Record:
        return self.add(DecayRecord(t=self._time(), anchor=self.heads[-1], factor=0.75))

    def forget(self) -> Record:
        return self.add(ForgetRecord(t=self._time(), anchor=self.heads[-1]))

    def rollback(self, revision: int) -> Record:
        return self.add(RollbackRecord(t=self._time(), revision=revision))

    def group(self, count: int) -> list[Record]:
        """An atomic group of puts."""
        records = [replace(self.put(), following=count - 1 - i) for i in range(count)]
        self.records[-count:] = records
        return records

    def block(self, records: Sequence[Record]) -> Block:
        """The columns of the newest records, which follow all others."""
        first = len(self.records) - len(records)
        block = Block.of(records, first, self.digest, self.dim)
        self.digest = block.digest
        return block

    def columns(self, records: int) -> Block:
        """The columns of the first so many records."""
        if records not in self._columns:
            block = Block.of(self.records[:records], 0, ROOT_DIGEST, self.dim)
            self._columns[records] = block
        return self._columns[records]

    def forget_columns(self) -> None:
        """After records were taken back."""
        self._columns.clear()

    def append(self, store: Store, make: Callable[[], Record | list[Record]]) -> None:
        """Make records and write them as one batch."""
        made = make()
        records = made if isinstance(made, list) else [made]
        store.append(records, self.block(records))

    def _line(self, kind: Kind, context: dict[str, Any]) -> LineRecord:
        raw, norm = b"", 0.0
        if kind != "note":
            packable = len(self.records) % 2 and self.dim > 1
            vector = self._packable() if packable else self._any_vector()
            raw, norm = vector.tobytes(), exact_norm(vector)
        content = LineContent.of(self.hasher, raw, raw, encode_context(context), norm)
        head = self.heads[-1]
        novelty = 0.0 if kind == "note" else float(self.rng.random())
        return LineRecord(
            content=content,
            anchor=self.hasher.anchor(head, content.digests),
            prev_anchor=head,
            kind=kind,
            similarity=0.0 if kind == "note" else 1.0 - novelty,
            novelty=novelty,
        )

    def _any_vector(self) -> Float32:
        return self.rng.standard_normal(self.dim).astype("<f4")

    def _packable(self) -> Float32:
        """Whole numbers by their length, as hashing makes them."""
        whole = self.rng.integers(-200, 200, self.dim).astype(np.float64)
        whole[0], whole[-1] = 7.0, 0.0
        return (whole / np.sqrt(whole @ whole)).astype("<f4")

    def _time(self) -> float:
        return 1763816281.125 + len(self.records)

    def add(self, record: Record) -> Record:
        """Take the next record as it is."""
        self.records.append(record)
        if isinstance(record, RollbackRecord):
            self.heads.append(self.heads[record.revision])
        else:
            self.heads.append(record.lines[0].anchor if record.lines else self.heads[-1])
        return record


def small_history(chain: Chain, store: Store) -> None:
    """A dozen records of every kind, in batches of one and of several."""
    chain.append(store, lambda: chain.put({"text": "grüße ∑ 😀", "x": 1.5}))
    chain.append(store, lambda: chain.note("n\nl"))
    chain.append(store, chain.race)
    chain.append(store, lambda: chain.group(3))
    chain.append(store, chain.decay)
    chain.append(store, lambda: chain.put(idempotency_key="idem", revises=(chain.heads[1],)))
    chain.append(store, lambda: chain.rollback(4))
    chain.append(store, lambda: [chain.put(), chain.put()])
    chain.append(store, chain.forget)
