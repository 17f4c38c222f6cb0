"""The metrics of a lattice: instruments that count what it does, batch by batch."""

from __future__ import annotations

from typing import Final

from opentelemetry.metrics import Histogram, Meter

from pmll_async import CommitBatch, LatticeStats, QueryBatch

# The default bounds are for milliseconds; a commit takes about one.
_SECONDS: Final = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
_COUNTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
_KINDS: Final = ("put", "note", "race", "decay", "forget", "erase", "rollback")


class LatticeMeters:
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
        self._batch = _histogram(
            meter, "pmll.commit.batch.size", "{record}", "Records committed at once.", _COUNTS
        )
        self._wait = _histogram(
            meter, "pmll.commit.wait", "s", "How long the first call of a batch waited to be taken."
        )
        self._commit = _histogram(
            meter,
            "pmll.commit.duration",
            "s",
            "Deciding a batch, and writing it until it is durable.",
        )
        self._queries = _histogram(
            meter, "pmll.query.batch.size", "{query}", "Queries answered together.", _COUNTS
        )
        self._query = _histogram(
            meter, "pmll.query.duration", "s", "Answering the queries of a batch."
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


def _histogram(
    meter: Meter, name: str, unit: str, about: str, bounds: tuple[float, ...] = _SECONDS
) -> Histogram:
    return meter.create_histogram(name, unit, about, explicit_bucket_boundaries_advisory=bounds)


def _by_kind(stats: LatticeStats) -> tuple[int, ...]:
    added = (stats.puts, stats.notes, stats.races)
    return (*added, stats.decays, stats.forgets, stats.erasures, stats.rollbacks)
