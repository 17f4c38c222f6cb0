"""The lattice with an approximate index, and the bare libraries that indexes select with."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.data import DIM, Line, Vector, Where
from benchmarks.floors import MatrixProduct
from benchmarks.ours import Ours

# As many as the index has codes propose.
SHORTLIST = 1_024
# As many as need exact products where codes have 8 bits.
RESCORED = 64


class OurReader(Ours):
    """A reader, because the writer with the usual index is measured on the same folder."""

    async def open(self, folder: Path) -> None:
        self._folder = folder
        self._package = importlib.import_module("pmll_async")
        self._index = self.index()
        self._lattice: Any = await self._package.Lattice.open(
            folder, dim=DIM, index=self._index, read_only=True
        )

    @abstractmethod
    def index(self) -> Any:
        """The index that it reads with."""


class OurMapped(OurReader):
    """A lattice that leaves its keys to the store."""

    name: ClassVar[str] = "pmll-async, mmap"
    capacity: ClassVar[int] = 1_000_000
    requires: ClassVar[tuple[str, ...]] = ("pmll_async", "numkong")

    def index(self) -> Any:
        return importlib.import_module("pmll_async.indexes.exact").ExactIndex(resident="mmap")


class OurFaiss(OurReader):
    """A lattice with an approximate index, whose codes are there before anything is timed."""

    name: ClassVar[str] = "pmll-async, FaissIndex"
    capacity: ClassVar[int] = 1_000_000
    requires: ClassVar[tuple[str, ...]] = ("pmll_async", "faiss")

    def index(self) -> Any:
        return importlib.import_module("pmll_async.indexes.faiss").FaissIndex()

    async def open(self, folder: Path) -> None:
        await super().open(folder)
        self._index.build()


class BareFaiss(MatrixProduct):
    """One search of the library in one thread for as many rows: no exact scores, no lines."""

    name: ClassVar[str] = "faiss"
    requires: ClassVar[tuple[str, ...]] = ("faiss",)
    caveat: ClassVar[str] = "approximate codes in memory: no lines, nothing stored"

    async def open(self, folder: Path) -> None:
        await super().open(folder)
        self._faiss = importlib.import_module("faiss")
        self._faiss.omp_set_num_threads(1)
        metric = self._faiss.METRIC_INNER_PRODUCT
        self._codes: Any = self._faiss.IndexPQFastScan(DIM, DIM // 2, 4, metric)
        self._codes.train(self._keys[:: max(1, len(self._keys) // 4_096)])
        self._codes.add(self._keys)

    async def query(self, vector: Vector, k: int, where: Where | None = None) -> int:
        _, rows = self._codes.search(vector[None], min(SHORTLIST, len(self._keys)))
        return int((rows >= 0).sum())


class BareInt8(MatrixProduct):
    """One product of whole numbers with all keys, then exact ones of the best: no thread, no lines.

    A put is the product alone: what the novelty of one line cannot do without.
    """

    name: ClassVar[str] = "numkong"
    requires: ClassVar[tuple[str, ...]] = ("numkong",)

    async def open(self, folder: Path) -> None:
        await super().open(folder)
        self._kong: Any = importlib.import_module("numkong")
        codes = np.rint(self._keys * (127 / np.abs(self._keys).max(axis=1, keepdims=True)))
        self._steps = (np.abs(self._keys).max(axis=1) / 127).astype(np.float32)
        self._packed: Any = self._kong.dots_pack(codes.astype(np.int8))

    def _products(self, vector: Vector) -> Any:
        code = np.rint(vector * (127 / np.abs(vector).max())).astype(np.int8)
        return np.asarray(self._kong.dots_packed(code[None], self._packed))[0] * self._steps

    async def put(self, line: Line) -> None:
        assert self._products(line.key).max() > 0

    async def query(self, vector: Vector, k: int, where: Where | None = None) -> int:
        products = self._products(vector)
        rows = np.argpartition(products, -RESCORED)[-RESCORED:]
        exact = self._keys[rows] @ vector
        return len(rows[np.argsort(-exact)[:k]])
