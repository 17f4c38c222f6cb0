"""Sums and products of float32 vectors whose bits depend on nothing but the vectors."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


def exact_dots(rows: Float32, vectors: Float32) -> Float64:
    """Dot products (m,) of rows (m, dim) with one vector (dim,), or with one each (m, dim).

    The same bits in any batching: products of float32 numbers are exact in float64, and numpy adds
    each row pairwise in an order that depends on `dim` alone.
    """
    products = np.multiply(rows, vectors, dtype=np.float64, order="C")
    return np.add.reduce(products, axis=-1)  # type: ignore[no-any-return]  # ufunc stubs say Any


def exact_norm(vector: Float32) -> float:
    """The Euclidean length of a vector (dim,), the same bits wherever it is computed."""
    return math.sqrt(np.add.reduce(np.multiply(vector, vector, dtype=np.float64)))


def exact_norms(rows: Float32) -> Float64:
    """The lengths (m,) of rows (m, dim), each with the bits of `exact_norm`."""
    return np.sqrt(exact_dots(rows, rows))


def clamp_cosine(dots: Float64, norms: Float64, norm: float | Float64) -> Float64:
    """Cosines from dot products and lengths, within [-1, 1]."""
    return np.minimum(np.maximum(dots / (norms * norm), -1.0), 1.0)


def weighted_bias(weights: Iterable[float], values: list[Float32], dim: int) -> Float32:
    """b = Σ w v / Σ w as float32 (dim,); zeros when Σ w ≤ 0. Added in the order given."""
    total, bias = 0.0, np.zeros(dim, dtype=np.float64)
    for weight, value in zip(weights, values, strict=True):
        total += weight
        bias += weight * value.astype(np.float64)
    return (bias / total if total > 0 else np.zeros(dim)).astype(np.float32)
