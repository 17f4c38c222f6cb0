"""An approximate index on FAISS: products are quantised to 2 bits a dimension, and all scanned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from pmll_async.indexes.approximate import ApproximateIndex
from pmll_async.indexes.coder import Kernel, Rows
from pmll_async.values.concert import Float32

try:
    import faiss
except ImportError as exc:
    raise ImportError("faiss missing: pip install 'pmll-async[faiss]'", name="faiss") from exc

_DIMS_A_CODE: Final = 2
"""Dimensions that 4 bits stand for. With 4 of them a scan takes half as long, and of the best ten
among hashed texts 15 in 1000 are missed instead of one."""


class FaissIndex(ApproximateIndex):
    """See `ApproximateIndex`; `dim` / 4 bytes a line beside its key.

    FAISS computes in the calling thread alone: its threads and numpy's would wait for each other,
    which can take 50 times as long. What other threads use of FAISS is left as it is.
    """

    def _kernel(self, dim: int) -> Kernel:
        return _FastScan(dim)


class _FastScan:
    def __init__(self, dim: int) -> None:
        # An odd dimension is filled up with a zero.
        self._missing = -dim % _DIMS_A_CODE
        width = dim + self._missing
        self._index: Any = faiss.IndexPQFastScan(
            width, width // _DIMS_A_CODE, 4, faiss.METRIC_INNER_PRODUCT
        )

    def train(self, units: Float32) -> None:
        with _one_thread():
            self._index.train(self._padded(units))

    def add(self, units: Float32) -> None:
        with _one_thread():
            self._index.add(self._padded(units))

    def search(self, units: Float32, m: int) -> tuple[Float32, Rows]:
        with _one_thread():
            products, rows = self._index.search(self._padded(units), m)
        return products, rows

    def _padded(self, units: Float32) -> Float32:
        return np.pad(units, ((0, 0), (0, self._missing))) if self._missing else units


@contextmanager
def _one_thread() -> Iterator[None]:
    # OpenMP keeps this number for each thread, so that nobody else's changes.
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
