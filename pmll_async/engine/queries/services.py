"""What an open lattice reads with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pmll_async.engine.ledger.ledger import Ledger
from pmll_async.engine.queries.batcher import QueryBatcher
from pmll_async.engine.queries.matches import FilterBatcher
from pmll_async.engine.queries.reader import Reader
from pmll_async.loop.jobs import Jobs

Rows: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Services:
    """What an open lattice reads with."""

    reader: Reader
    queries: QueryBatcher
    filters: FilterBatcher
    jobs: Jobs
    ledger: Ledger
    dim: int
    value_dim: int
