"""Commits: which of the lattice's last batches brought an anchor, and when."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import Tracer

from pmll_async import CommitBatch

# Who asks for a commit does so as soon as it is durable: only what others commit is in between.
_REMEMBERED: Final = 64
_NANO: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit of one anchor; times in nanoseconds since the epoch."""

    anchor: str
    revision: int
    batch: CommitBatch
    began: int
    ended: int

    def write_span(self, tracer: Tracer, parent: Context, attributes: dict[str, str]) -> None:
        """Its span, from beginning to end, within another one."""
        batch = self.batch
        about: dict[str, str | int | float] = {
            **attributes,
            "pmll.anchor": self.anchor,
            "pmll.revision": self.revision,
            "pmll.commit.batch.size": len(batch.anchors),
            "pmll.commit.wait": batch.waited,
            "pmll.commit.deciding": batch.deciding,
            "pmll.commit.writing": batch.writing,
        }
        span = tracer.start_span("pmll.commit", parent, attributes=about, start_time=self.began)
        span.end(self.ended)


class Commits:
    """The last batches of a lattice."""

    def __init__(self) -> None:
        self._batches: deque[CommitBatch] = deque(maxlen=_REMEMBERED)

    def add(self, batch: CommitBatch) -> None:
        """Remember a batch."""
        if batch.anchors:
            self._batches.append(batch)

    def find(self, anchor: str) -> Commit | None:
        """The commit of an anchor, if it was one of the last."""
        for batch in reversed(self._batches):
            revision = batch.revision_of(anchor)
            # An empty one stands for a record without lines, and for an event without a record.
            if anchor and revision is not None:
                # The clock that batches are timed by does not tell what time it is.
                ago = time.perf_counter() - batch.began
                began = time.time_ns() - int(ago * _NANO)
                took = int((batch.deciding + batch.writing) * _NANO)
                return Commit(anchor, revision, batch, began, began + took)
        return None
