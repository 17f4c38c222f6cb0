"""Vectors: anything array-like in, read-only float32 (dim,) out, or a clear refusal."""

from __future__ import annotations

from math import isqrt
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from pmll_async.errors import DimensionMismatchError, InvalidInputError, InvalidVectorError
from pmll_async.values.exact import Float32, exact_norm

_NUMBERS: Final = "fiu"
_LITTLE: Final = np.dtype("<f4")
_ZERO: Final = np.float32(0)
_ALONE: Final = 400_000
"""Multiplications that OpenBLAS leaves to the calling thread: 32 by 32 rows of 384 numbers. Threads
of its own spin while they wait for each other, on a busy machine for 16 ms."""
EMPTY: Final[Float32] = np.empty(0, dtype=_LITTLE)
EMPTY.flags.writeable = False


def to_vector(values: ArrayLike, what: str, dim: int | None) -> Float32:
    """A read-only float32 copy of shape (dim,); converted, never reinterpreted; -0.0 becomes 0.0.

    Raises `InvalidVectorError` for what is not a vector of numbers, `DimensionMismatchError` for
    another length than `dim`.
    """
    array = _as_numbers(values, what)
    if array.ndim != 1:
        raise InvalidVectorError(what, f"one dimension is wanted, not shape {array.shape}")
    if dim is not None and array.shape[0] != dim:
        raise DimensionMismatchError(what, dim, array.shape[0])
    if array.dtype != _LITTLE:
        # A number that float32 cannot hold becomes an infinity, which is refused by its name later.
        with np.errstate(over="ignore"):
            array = array.astype(_LITTLE)
    # -0.0 equals 0.0 and has other bytes, so that equal vectors would have two anchors.
    vector: Float32 = np.add(array, _ZERO)
    vector.flags.writeable = False
    return vector


def refuse_one_text(texts: object, call: str = "embed") -> None:
    """Refuse a single text where `call` takes several: its letters would pass for texts."""
    if isinstance(texts, str):
        raise InvalidInputError(f"{call} takes a list of texts; for one text: {call}([text])")


def to_key(values: ArrayLike, what: str, dim: int | None) -> tuple[Float32, float]:
    """A vector that has a direction, and its length; NaN, infinities and zero are refused."""
    vector = to_vector(values, what, dim)
    norm = finite_norm(vector, what)
    if norm == 0.0:
        raise InvalidVectorError(
            what, "a zero vector has no direction (after rounding to float32); give another"
        )
    return vector, norm


def finite_norm(vector: Float32, what: str) -> float:
    """The length; float32 squares cannot overflow in float64, so it tells NaN and infinity."""
    norm = exact_norm(vector)
    if not norm < np.inf:
        raise InvalidVectorError(what, "NaN or infinity, or a number beyond float32's range")
    return norm


def _as_numbers(values: ArrayLike, what: str) -> np.ndarray[Any, np.dtype[Any]]:
    try:
        array = np.asarray(values)
    # It may be anybody's class, which numpy asks for its items: whatever that raises, it is none.
    except Exception as exc:
        raise InvalidVectorError(what, f"not an array of numbers: {type(exc).__name__}") from exc
    if array.dtype.kind not in _NUMBERS:
        raise InvalidVectorError(what, f"numbers are wanted, not {array.dtype}")
    return array


def own_product(vectors: Float32, others: Float32) -> Float32:
    """Dot products (m, n) of rows (m, dim) and (n, dim), in the calling thread alone.

    As near as float32 comes. For some hundreds of rows; of more a library's threads are worth it.
    """
    side = max(1, isqrt(_ALONE // vectors.shape[1]))
    products = np.empty((len(vectors), len(others)), dtype=np.float32)
    for i in range(0, len(vectors), side):
        for j in range(0, len(others), side):
            rows, columns = slice(i, i + side), slice(j, j + side)
            products[rows, columns] = vectors[rows] @ others[columns].T
    return products
