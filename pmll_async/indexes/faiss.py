"""An approximate index on FAISS: products are quantised to 2 bits a dimension, and all scanned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.indexes.approximate import ApproximateIndex
from pmll_async.indexes.codefile import read_codes, write_codes
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

    sidecar = "codes.faiss"

    def restore(self, path: Path, anchors: NDArray[np.uint64]) -> None:
        """See `SidecarIndex.restore`."""
        saved = None if self._is_exact else read_codes(path, self._kind, anchors)
        if saved is None:
            return
        kernel = _FastScan(self._dim)
        if kernel.load(saved.arrays, saved.rows):
            self._coder.restore(kernel, saved.level, saved.rows)

    def keep(self, path: Path, anchors: NDArray[np.uint64]) -> None:
        """See `SidecarIndex.keep`."""
        made = self._coder.made(_dump)
        if made is not None:
            write_codes(path, self._kind, made, anchors)

    @property
    def _kind(self) -> str:
        # Another release may lay codes out in another way.
        return f"faiss {faiss.__version__}, {self._dim} dimensions"

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

    def dump(self) -> list[bytes]:
        """The centres and the codes, as they lie in memory."""
        centres = faiss.vector_to_array(self._index.pq.centroids)
        codes = faiss.AlignedTable_to_array(self._index.codes)
        return [centres.tobytes(), codes.tobytes()]

    def load(self, arrays: Sequence[bytes], count: int) -> bool:
        """Take what `dump` gave for so many rows; False for anything else."""
        index = self._index
        room = -(-count // index.bbs) * index.bbs
        centres, codes = (*arrays, b"", b"")[:2]
        sizes = index.pq.M * index.pq.ksub * index.pq.dsub * 4, room * index.M2 // 2
        if (len(centres), len(codes)) != sizes:
            return False
        faiss.copy_array_to_vector(np.frombuffer(centres, np.float32), index.pq.centroids)
        faiss.copy_array_to_AlignedTable(np.frombuffer(codes, np.uint8), index.codes)
        index.ntotal, index.ntotal2, index.is_trained = count, room, True
        return True

    def _padded(self, units: Float32) -> Float32:
        return np.pad(units, ((0, 0), (0, self._missing))) if self._missing else units


def _dump(kernel: Kernel) -> list[bytes]:
    return kernel.dump() if isinstance(kernel, _FastScan) else []


@contextmanager
def _one_thread() -> Iterator[None]:
    # OpenMP keeps this number for each thread, so that nobody else's changes.
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
