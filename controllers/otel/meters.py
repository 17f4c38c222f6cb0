"""The metrics: instruments for what a lattice and its runs do."""

from __future__ import annotations

from typing import Final

from opentelemetry.metrics import Meter

from pmll_async import CommitBatch, LatticeStats, QueryBatch

# The default bounds are for milliseconds; a commit takes about one, a run may take an hour.
_SECONDS: Final = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
_RUN_SECONDS: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1800.0, 3600.0)
_COUNTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
_KINDS: Final = ("put", "note", "race", "decay", "forget", "rollback")


class Meters:
    """The instruments, and the lattice's sums as they were last counted.

    They count batch by batch and do not observe the lattice's sums: an SDK calls back only the
    first of several instruments of one name, and sums of a lattice that is closed and gone before
    the next export would be lost.
    """

    def __init__(self, meter: Meter, name: str) -> None:
        self._labels: dict[str, str] = {"pmll.lattice.name": name} if name else {}
        self._kinds = [{**self._labels, "pmll.record.kind": kind} for kind in _KINDS]
        self._counted = (0,) * len(_KINDS)
        self._records = meter.create_counter(
            "pmll.records", "{record}", "Records committed, by what they are."
        )
        self._refused = meter.create_counter(
            "pmll.refusals", "{call}", "Calls that would have stored something and were refused."
        )
        self._batch = meter.create_histogram(
            "pmll.commit.batch.size",
            "{record}",
            "Records committed at once.",
            explicit_bucket_boundaries_advisory=_COUNTS,
        )
        self._wait = meter.create_histogram(
            "pmll.commit.wait",
            "s",
            "How long the first call of a batch waited to be taken.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._commit = meter.create_histogram(
            "pmll.commit.duration",
            "s",
            "Deciding a batch, and writing it until it is durable.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._queries = meter.create_histogram(
            "pmll.query.batch.size",
            "{query}",
            "Queries answered together.",
            explicit_bucket_boundaries_advisory=_COUNTS,
        )
        self._query = meter.create_histogram(
            "pmll.query.duration",
            "s",
            "Answering the queries of a batch.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._run = meter.create_histogram(
            "pmll.run.duration",
            "s",
            "Runs from their start, or a resume, to their end or pause.",
            explicit_bucket_boundaries_advisory=_RUN_SECONDS,
        )

    def begin(self, stats: LatticeStats) -> None:
        """Count from here."""
        self._counted = _by_kind(stats)

    def committed(self, batch: CommitBatch, stats: LatticeStats) -> None:
        """A batch was committed, or refused."""
        counts, before = _by_kind(stats), self._counted
        self._counted = counts
        for now, then, labels in zip(counts, before, self._kinds, strict=True):
            if now > then:
                self._records.add(now - then, labels)
        if batch.refused:
            self._refused.add(batch.refused, self._labels)
        if batch.anchors:
            self._batch.record(len(batch.anchors), self._labels)
        self._wait.record(batch.waited, self._labels)
        self._commit.record(batch.deciding + batch.writing, self._labels)

    def queried(self, batch: QueryBatch) -> None:
        """Queries were answered."""
        self._queries.record(batch.queries, self._labels)
        self._query.record(batch.answering, self._labels)

    def run_ended(self, status: str, seconds: float) -> None:
        """A run ended, or paused."""
        self._run.record(seconds, {**self._labels, "pmll.run.status": status})


def _by_kind(stats: LatticeStats) -> tuple[int, ...]:
    return (stats.puts, stats.notes, stats.races, stats.decays, stats.forgets, stats.rollbacks)
