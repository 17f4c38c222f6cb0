"""The lattice with an approximate index, and the bare library that it selects with."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.data import DIM, Vector, Where
from benchmarks.floors import MatrixProduct
from benchmarks.ours import Ours

# As many as the index has codes propose.
SHORTLIST = 1_024


class OurFaiss(Ours):
    """The lattice as shipped, but for its index, whose codes are there before anything is timed."""

    requires: ClassVar[tuple[str, ...]] = ("pmll_async", "faiss")

    async def open(self, folder: Path) -> None:
        self._folder = folder
        self._package = importlib.import_module("pmll_async")
        index = importlib.import_module("pmll_async.indexes.faiss").FaissIndex()
        self._lattice: Any = await self._package.Lattice.open(folder, dim=DIM, index=index)
        index.build()


class BareFaiss(MatrixProduct):
    """One search of the library in one thread for as many rows: no exact scores, no lines."""

    name: ClassVar[str] = "faiss"
    requires: ClassVar[tuple[str, ...]] = ("faiss",)

    async def open(self, folder: Path) -> None:
        await super().open(folder)
        if self._saved.exists():
            self._faiss = importlib.import_module("faiss")
            self._faiss.omp_set_num_threads(1)
            metric = self._faiss.METRIC_INNER_PRODUCT
            self._codes: Any = self._faiss.IndexPQFastScan(DIM, DIM // 2, 4, metric)
            self._codes.train(self._keys[:: max(1, len(self._keys) // 4_096)])
            self._codes.add(self._keys)

    async def query(self, vector: Vector, k: int, where: Where | None = None) -> int:
        _, rows = self._codes.search(vector[None], min(SHORTLIST, len(self._keys)))
        return int((rows >= 0).sum())
