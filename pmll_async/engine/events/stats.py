"""What a lattice did, in numbers: sums since it was opened, and each batch for who observes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from pmll_async.records.changes import DecayRecord, EraseRecord, ForgetRecord
from pmll_async.records.record import PutRecord, RaceRecord, Record


@dataclass(frozen=True, slots=True)
class LatticeStats:
    """Sums since the lattice was opened, in this process; times in seconds.

    `puts` to `rollbacks` count records by what they are; a race is one record. `refused` are the
    calls that ended in an error, which stored nothing. The trace commits records in `batches`, the
    largest of which had `largest_batch`. `waiting` sums what each call waited for the trace to take
    it, `deciding` and `writing` what the batches then took; writing includes making it durable.
    Queries that wait together are answered in `query_batches`, and took `answering`.
    """

    puts: int = 0
    notes: int = 0
    races: int = 0
    decays: int = 0
    forgets: int = 0
    erasures: int = 0
    rollbacks: int = 0
    refused: int = 0
    batches: int = 0
    largest_batch: int = 0
    waiting: float = 0.0
    deciding: float = 0.0
    writing: float = 0.0
    queries: int = 0
    query_batches: int = 0
    answering: float = 0.0

    @property
    def records(self) -> int:
        """All that was stored."""
        changes = self.decays + self.forgets + self.erasures + self.rollbacks
        return self.puts + self.notes + self.races + changes


class CommitBatch(NamedTuple):
    """What the trace took in at once and committed; `revision` is the lattice's after it.

    `anchors` has one for each record: its line's, of a race the winner's, else an empty string.
    `calls` brought them, `refused` of which got an error. `began` is when the trace took them, in
    seconds of `time.perf_counter`; `waited` is how long the first of them had waited then, and
    `deciding` and `writing` are what followed.
    """

    revision: int
    anchors: tuple[str, ...]
    calls: int
    refused: int
    began: float
    waited: float
    deciding: float
    writing: float

    def revision_of(self, anchor: str) -> int | None:
        """The revision that the anchor's record led to; None if it is not of this batch."""
        if anchor not in self.anchors:
            return None
        return self.revision - len(self.anchors) + self.anchors.index(anchor) + 1


class QueryBatch(NamedTuple):
    """How many queries were answered together, and in how many seconds."""

    queries: int
    answering: float


Batch: TypeAlias = CommitBatch | QueryBatch


class CommitSums(NamedTuple):
    """The trace's part of `LatticeStats`, field by field."""

    puts: int = 0
    notes: int = 0
    races: int = 0
    decays: int = 0
    forgets: int = 0
    erasures: int = 0
    rollbacks: int = 0
    refused: int = 0
    batches: int = 0
    largest_batch: int = 0
    waiting: float = 0.0
    deciding: float = 0.0
    writing: float = 0.0

    def with_batch(
        self, batch: CommitBatch, records: Sequence[Record], waiting: float
    ) -> CommitSums:
        """The sums after one more batch."""
        # Plain steps in one pass: every commit takes this, and counting in C takes twice as long.
        puts, notes, races, decays, forgets, erasures, rollbacks, *_ = self
        for record in records:
            kind = type(record)
            if isinstance(record, PutRecord):
                if record.line.kind == "note":
                    notes += 1
                else:
                    puts += 1
            elif kind is RaceRecord:
                races += 1
            elif kind is DecayRecord:
                decays += 1
            elif kind is ForgetRecord:
                forgets += 1
            elif kind is EraseRecord:
                erasures += 1
            else:
                rollbacks += 1
        return CommitSums(
            puts,
            notes,
            races,
            decays,
            forgets,
            erasures,
            rollbacks,
            self.refused + batch.refused,
            self.batches + bool(records),
            max(self.largest_batch, len(records)),
            self.waiting + waiting,
            self.deciding + batch.deciding,
            self.writing + batch.writing,
        )

    def with_sync(self, seconds: float) -> CommitSums:
        """The sums after a sync that came later than its batch."""
        return self._replace(writing=self.writing + seconds)


class QuerySums(NamedTuple):
    """The queries' part of `LatticeStats`, field by field."""

    queries: int = 0
    query_batches: int = 0
    answering: float = 0.0

    def with_batch(self, batch: QueryBatch) -> QuerySums:
        """The sums after one more batch."""
        return QuerySums(
            self.queries + batch.queries, self.query_batches + 1, self.answering + batch.answering
        )


def anchors_of(records: Sequence[Record]) -> tuple[str, ...]:
    """One for each record, as a `CommitBatch` has them."""
    return tuple([lines[0].anchor if (lines := record.lines) else "" for record in records])
