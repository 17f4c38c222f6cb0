"""What an open lattice reads with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pmll_async.engine.ledger.ledger import Ledger
from pmll_async.engine.ledger.snapshot import Snapshot
from pmll_async.engine.queries.batcher import QueryBatcher
from pmll_async.engine.queries.hiding import Hiding
from pmll_async.engine.queries.matches import FilterBatcher
from pmll_async.engine.queries.reader import Reader
from pmll_async.errors import ConflictError
from pmll_async.loop.jobs import Jobs
from pmll_async.records.record import Record
from pmll_async.values.lines import RaceOutcome

Rows: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Services:
    """What an open lattice reads with."""

    reader: Reader
    queries: QueryBatcher
    filters: FilterBatcher
    hiding: Hiding
    jobs: Jobs
    ledger: Ledger
    dim: int
    value_dim: int

    async def recorded_outcome(self, snapshot: Snapshot, key: str | None) -> RaceOutcome | None:
        """The outcome of the race that holds the idempotency key, if there is one."""
        use = None if key is None else snapshot.keys.get(key)
        if use is None or use.n >= snapshot.revision:
            return None
        if not use.race:
            raise ConflictError(use.key, use.anchor)
        return await self.outcome(use.n)

    async def outcome(self, n: int, record: Record | None = None) -> RaceOutcome:
        """The outcome that record `n`, a race, tells of; it is read unless given."""
        # Not the lattice's own look at its state, which is refused while closing: a race that was
        # accepted has its answer then, too.
        snapshot = self.ledger.snapshot
        if record is not None:
            return self.reader.outcome(snapshot, n, record)
        return await self.jobs.run(self.reader.outcome, snapshot, n)
