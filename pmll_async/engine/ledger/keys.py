"""The keys of an index that leaves them to the store: by row, read again and held against it."""

from __future__ import annotations

from typing import NoReturn
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from pmll_async.engine.ledger.ledger import Ledger
from pmll_async.engine.ledger.snapshot import Snapshot
from pmll_async.errors import CorruptionError
from pmll_async.protocols import SupportsKeys
from pmll_async.values.concert import Float32


class LedgerKeys:
    """A `KeyReader` for the rows of a ledger whose store is at `path`.

    It holds the ledger weakly: the index, which the ledger holds, has this.
    """

    def __init__(self, store: SupportsKeys, path: str, ledger: Ledger) -> None:
        self._store, self._path, self._ledger = store, path, ref(ledger)

    def __call__(self, rows: NDArray[np.int64]) -> Float32:
        """See `KeyReader`."""
        snapshot = self._snapshot()
        records = snapshot.columns.order[rows].astype(np.int64)
        places = snapshot.ranked_lines[rows] - snapshot.line_starts[records]
        return self._store.keys(records, places.astype(np.int64))

    def refuse(self, row: int) -> NoReturn:
        """See `KeyReader.refuse`."""
        n = int(self._snapshot().columns.order[row])
        raise CorruptionError(self._path, 0, "holds another record than was stored", n)

    def _snapshot(self) -> Snapshot:
        ledger = self._ledger()
        if ledger is None:
            raise RuntimeError("the lattice whose keys are asked for is gone")
        return ledger.snapshot
