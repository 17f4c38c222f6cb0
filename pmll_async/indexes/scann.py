"""An approximate index on ScaNN: keys are hashed to 2 bits a dimension, and all are scanned."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from pmll_async.indexes.approximate import ApproximateIndex
from pmll_async.indexes.coder import Kernel, Rows
from pmll_async.values.concert import Float32

try:
    from scann import scann_ops_pybind
except ImportError as exc:
    raise ImportError("scann missing: pip install 'pmll-async[scann]'", name="scann") from exc

_DIMS_A_CODE: Final = 2
"""Dimensions that 4 bits stand for."""
_ANISOTROPY: Final = 0.2
"""ScaNN's own advice: errors along a key count more than those across it. To code a line so takes
ten times as long, and twice as many of the best are found."""


class ScannIndex(ApproximateIndex):
    """See `ApproximateIndex`; `dim` / 4 bytes a line beside its key. Linux alone.

    A search takes less than with `FaissIndex`, and to code a line much more: some 50 µs. ScaNN
    computes in the calling thread alone, and writes a line to stderr whenever it is trained.
    """

    def _kernel(self, dim: int) -> Kernel:
        return _Hashes()


class _Hashes:
    def train(self, units: Float32) -> None:
        builder = scann_ops_pybind.builder(units, 1, "dot_product").score_ah(
            _DIMS_A_CODE,
            anisotropic_quantization_threshold=_ANISOTROPY,
            training_sample_size=len(units),
        )
        self._searcher: Any = builder.set_n_training_threads(1).build()
        self._searcher.set_num_threads(1)
        # It begins with what it was trained on; from the last on, because the last fills each gap.
        self._searcher.searcher.delete(list(reversed(range(len(units)))))

    def add(self, units: Float32) -> None:
        self._searcher.searcher.upsert([None] * len(units), units, len(units))

    def search(self, units: Float32, m: int) -> tuple[Float32, Rows]:
        rows, products = self._searcher.search_batched(units, final_num_neighbors=m)
        return products, rows.astype(np.int64)
