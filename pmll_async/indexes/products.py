"""Float32 products of keys and vectors: quick, and as exact as selecting rows needs."""

from __future__ import annotations

from typing import Final

import numpy as np

from pmll_async.protocols import SMALL_PRODUCT
from pmll_async.values.concert import Float32, Float64

SAFE_NORM: Final = 2.0**40
"""Beyond this length, or below its reciprocal, a key is not left to float32 products."""


def unit_rows(vectors: Float32, norms: Float64) -> Float32:
    """Vectors (m, dim) at length 1; lengths that float32 cannot carry are divided in float64."""
    if len(norms) == 1 and 1 / SAFE_NORM <= norms[0] <= SAFE_NORM:
        return vectors * np.float32(1.0 / norms[0])
    if norms.max(initial=1.0) <= SAFE_NORM and norms.min(initial=1.0) >= 1 / SAFE_NORM:
        return vectors * (1.0 / norms).astype(np.float32)[:, None]
    return (vectors / norms[:, None]).astype(np.float32)


_OUT_OF_CACHE: Final = 1 << 23
"""Multiplications whose keys, 32 MiB, come from memory: one thread then takes in all it gives."""


def product(keys: Float32, unit: Float32, out: Float32, whole: int) -> None:
    """Dot products of keys (n, dim) with one vector; `whole` is how many multiplications in all.

    A small one is not shared between the threads of the linear algebra library: on a busy machine
    waiting for those takes a hundred times as long as the product. Nor is a large one, which row by
    row is bound by memory alone: 5.2 ms against 7.5 in two threads and 13 in one for 38 million.
    """
    if SMALL_PRODUCT < whole <= _OUT_OF_CACHE:
        np.dot(keys, unit, out=out)
    else:
        row_products(keys, unit, out=out)


def row_products(keys: Float32, unit: Float32, out: Float32) -> None:
    """The same, row by row in this thread: a row's bits depend on nothing but the row.

    Measured with every kernel of OpenBLAS for x86-64, at any alignment. Both operands must be
    contiguous: a step between numbers is another order of additions.
    """
    np.vecdot(keys, unit, out=out)
