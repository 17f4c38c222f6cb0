"""Packing: vectors that are whole numbers divided by their length, in few bytes and exactly.

A row packs when it is, bit for bit, float32(q / √(q·q)) of whole numbers q, some of them zero: what
feature hashing makes. Other rows, such as a model's, do not.

    packed row = u16 dimension ‖ bitmap ‖ first bytes ‖ second bytes

The bitmap says which places of q are not zero, the first in the highest bit of a byte; zeros fill
up the last byte. The code of a number is 2 |q| - 2, and one more if q is negative: its lowest seven
bits are in the first byte, whose highest bit says that the number has a second byte, with the rest.
The numbers have no common divisor; of their magnitudes the least is at most 512, the largest below
2**14, the product of both at most 2**20. Within these bounds the ratios of any two rows differ by
more than float32 rounds, so that a row has one q, and one packed form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pmll_async.values.concert import Float32, Float64

_LEAST: Final = 512
_LARGEST: Final = (1 << 14) - 1
# The ratios of two rows whose least magnitudes are k and m differ by 1 / (k m) somewhere, and
# rounding moves a ratio by less than itself / 2**22: a product of 2**22 would be too much.
_PRODUCT: Final = 1 << 20
# Rounding moves a multiple below 2**14 by less than 2**-9 from its whole number.
_NEAR: Final = 2.0**-8
# They rule out nearly every factor, before the whole row is looked at.
_SAMPLE: Final = 6
# The least number of most rows is less; trying more factors on many rows at once costs more.
_SMALL: Final = 64
_DIM_BYTES: Final = 2
LAST_NARROW: Final = 127
"""First bytes above this one say that their number has a second one."""
# Rows unpacked at once: arrays of larger ones are given back to the system, and cost more than all
# the arithmetic when it gives them out again.
_TOGETHER: Final = 128
_LITTLE: Final = np.dtype("<f4")


class PackedRow(NamedTuple):
    """The parts of a packed row."""

    dim: int
    bitmap: bytes
    first: bytes
    second: bytes


def pack(raw: bytes) -> bytes | None:
    """The packed form of a row of float32 little-endian bytes; None where it has none.

    That a row has no zero, such as a model's, is told in 2 µs.
    """
    row = np.frombuffer(raw, dtype=_LITTLE)
    count = np.count_nonzero(row)
    if not 0 < count < len(row) < 1 << 8 * _DIM_BYTES:
        return None
    # Dividing leaves no negative zero, which has bits.
    if np.count_nonzero(row.view(np.int32)) != count:
        return None
    filled = row != 0.0
    whole = _whole_numbers(row[filled])
    if whole is None:
        return None
    numbers = whole.astype(np.int16)
    # A triple may round where its third does not: once in some millions of rows, and then this row
    # has no form that would be read.
    if np.gcd.reduce(numbers) != 1:
        return None
    first, _, second = _codes(numbers)
    return len(row).to_bytes(_DIM_BYTES, "little") + np.packbits(filled).tobytes() + first + second


def pack_many(raws: Sequence[bytes]) -> list[bytes | None]:
    """`pack` of each of some rows of one length, in a fifth of its time where they are many."""
    packed: list[bytes | None] = []
    for start in range(0, len(raws), _TOGETHER):
        packed += _pack_together(raws[start : start + _TOGETHER])
    return packed


def _pack_together(raws: Sequence[bytes]) -> list[bytes | None]:
    """Those whose least number is small, as nearly all are, together; the others one by one."""
    rows = np.frombuffer(b"".join(raws), dtype=_LITTLE).reshape(len(raws), -1)
    filled = rows != 0.0
    counts = np.count_nonzero(filled, axis=1)
    # A negative zero has bits, and a packed row has none for it.
    bits = np.count_nonzero(rows.view(np.int32), axis=1)
    may = (counts > 0) & (counts < rows.shape[1]) & (counts == bits)
    forms: list[bytes | None] = [None] * len(raws)
    if not may.any() or rows.shape[1] >= 1 << 8 * _DIM_BYTES:
        return forms
    known = _packed_smalls(rows[may], filled[may], counts[may])
    for place, form in zip(np.flatnonzero(may).tolist(), known, strict=True):
        forms[place] = pack(raws[place]) if form is None else form
    return forms


def _packed_smalls(
    rows: Float32, filled: NDArray[np.bool_], counts: NDArray[np.intp]
) -> list[bytes | None]:
    """The packed forms of those rows whose least number is below `_SMALL`; None of others."""
    values, ends = rows[filled], np.cumsum(counts)
    starts = ends - counts
    # NaN and infinity are in no row that packs, and what comes of them equals none.
    with np.errstate(all="ignore"):
        least = np.minimum.reduceat(np.abs(values), starts)
        ratios = values.astype(np.float64) / np.repeat(least, counts)
        factors = _factors(
            ratios[starts[:, None] + np.minimum(np.arange(_SAMPLE), counts[:, None] - 1)]
        )
        whole = np.rint(ratios * np.repeat(factors, counts))
        largest = np.maximum.reduceat(np.abs(whole), starts)
        norms = np.sqrt(np.add.reduceat(whole * whole, starts))
        made = (whole / np.repeat(norms, counts)).astype(_LITTLE)
        numbers = whole.astype(np.int16)
    packs = np.logical_and.reduceat(made == values, starts) & (
        np.gcd.reduceat(numbers, starts) == 1
    )
    packs &= (factors < _SMALL) & (largest <= _LARGEST) & (largest * factors <= _PRODUCT)
    first, longer, second = _codes(numbers)
    bounds = np.concatenate([[0], np.cumsum(longer)[ends - 1]]).tolist()
    dim, bitmaps = rows.shape[1].to_bytes(_DIM_BYTES, "little"), np.packbits(filled, axis=1)
    parts = zip(packs, bitmaps, starts.tolist(), ends.tolist(), pairwise(bounds), strict=True)
    return [
        dim + bitmap.tobytes() + first[start:stop] + second[low:high] if ours else None
        for ours, bitmap, start, stop, (low, high) in parts
    ]


def _factors(samples: Float64) -> Float64:
    """For each row of ratios (m, n) the first factor that makes them whole; `_SMALL` for none."""
    multiples = samples[:, :, None] * np.arange(1.0, _SMALL)
    near = (np.abs(multiples - np.rint(multiples)) <= _NEAR).all(axis=1)
    return np.where(near.any(axis=1), near.argmax(axis=1) + 1.0, float(_SMALL))


def unpack(packed: bytes) -> bytes:
    """The row of a packed form; `ValueError` for bytes that `pack` makes of no row."""
    dim, bitmap, first, second = split(packed)
    filled = np.unpackbits(np.frombuffer(bitmap, np.uint8)).view(np.bool_)
    narrow = np.frombuffer(first, np.uint8)
    numbers = _numbers(
        narrow, np.flatnonzero(narrow > LAST_NARROW), np.frombuffer(second, np.uint8)
    )
    magnitudes = np.abs(numbers)
    if filled[dim:].any() or len(numbers) == dim or 0 in second:
        raise ValueError("a packed vector is not written as it should be")
    if not _bounded(int(magnitudes.min()), int(magnitudes.max())):
        raise ValueError("a packed vector has numbers beyond their bounds")
    if np.gcd.reduce(magnitudes) != 1:
        raise ValueError("a packed vector has numbers with a common divisor")
    row = np.zeros(dim, dtype=_LITTLE)
    row[filled[:dim]] = _divided(numbers.astype(np.float64))
    return row.tobytes()


def split(packed: bytes) -> PackedRow:
    """The parts of a packed row; `ValueError` if they do not go together."""
    dim = int.from_bytes(packed[:_DIM_BYTES], "little")
    start = _DIM_BYTES + (dim + 7) // 8
    bitmap = packed[_DIM_BYTES:start]
    stop = start + int.from_bytes(bitmap, "little").bit_count()
    first, second = packed[start:stop], packed[stop:]
    longer = np.count_nonzero(np.frombuffer(first, np.uint8) > LAST_NARROW)
    if not first or len(first) < stop - start or len(second) != longer:
        raise ValueError("a packed vector has another length than its numbers")
    return PackedRow(dim, bitmap, first, second)


def unpack_many(forms: Sequence[bytes], dim: int) -> Float32:
    """The rows (m, dim) of packed forms, as `unpack` has each, in a fourth of its time.

    `ValueError` if one is of another dimension, or of no row that `pack` makes it of.
    """
    rows = [split(form) for form in forms]
    if any(row.dim != dim for row in rows):
        raise ValueError("a packed vector has another dimension")
    bitmaps, first, second = [b"".join(part) for part in list(zip(*rows, strict=True))[1:]]
    return unpack_rows(bitmaps, first, second, dim, exact=True)


def unpack_rows(
    bitmaps: bytes, first: bytes, second: bytes, dim: int, *, exact: bool = False
) -> Float32:
    """The rows (m, dim) of packed ones whose parts, each kind joined, these are.

    What `pack` never made gives any rows or `ValueError` for who knows where they are from, and
    `ValueError` if they are to be `exact`.
    """
    bits = np.frombuffer(bitmaps, np.uint8).reshape(-1, (dim + 7) // 8)
    rows = np.zeros((len(bits), dim), dtype=_LITTLE)
    narrow, wide = np.frombuffer(first, np.uint8), np.frombuffer(second, np.uint8)
    for start in range(0, len(bits), _TOGETHER):
        some = rows[start : start + _TOGETHER]
        filled = np.unpackbits(bits[start : start + _TOGETHER], axis=1, count=dim).view(np.bool_)
        places = np.flatnonzero(filled)
        bounds = np.searchsorted(places, np.arange(len(some) + 1) * dim)
        starts, counts = bounds[:-1], bounds[1:] - bounds[:-1]
        here, narrow = narrow[: len(places)], narrow[len(places) :]
        if not counts.all() or len(here) != len(places):
            raise ValueError("packed vectors have other bitmaps than numbers")
        longer = np.flatnonzero(here > LAST_NARROW)
        numbers = _numbers(here, longer, wide[: len(longer)])
        if exact and not (_are_packed(numbers, starts) and (counts < dim).all()):
            raise ValueError("a packed vector is not written as it should be")
        whole = numbers.astype(np.float64)
        wide = wide[len(longer) :]
        norms = np.sqrt(np.add.reduceat(whole * whole, starts))
        # A fourth of the time that assigning through a mask takes.
        some.reshape(-1)[places] = whole / np.repeat(norms, counts)
    # What is left over belongs to bits behind the last dimension.
    if exact and (len(narrow) or 0 in second):
        raise ValueError("a packed vector is not written as it should be")
    return rows


def _are_packed(numbers: NDArray[np.int16], starts: NDArray[np.intp]) -> bool:
    """Whether `pack` has such numbers in rows that begin there."""
    magnitudes = np.abs(numbers)
    least = np.minimum.reduceat(magnitudes, starts).astype(np.int64)
    largest = np.maximum.reduceat(magnitudes, starts)
    bounded = (least <= _LEAST) & (largest <= _LARGEST) & (least * largest <= _PRODUCT)
    return bool(bounded.all() and (np.gcd.reduceat(magnitudes, starts) == 1).all())


def _whole_numbers(values: Float32) -> Float64 | None:
    """The numbers in lowest terms of which dividing by their length makes the values."""
    magnitudes = np.abs(values)
    least = float(np.minimum.reduce(magnitudes))
    largest = float(np.maximum.reduce(magnitudes))
    # NaN is not less than anything, either.
    if not largest < math.inf or largest > (_LARGEST + 1) * least:
        return None
    ratios = values.astype(np.float64)
    ratios /= least
    sample: Sequence[float] = ratios[:_SAMPLE].tolist()
    # The row of a model that happens to have a zero has great ratios, and is done with soon.
    for factor in range(1, min(_LEAST, int(_LARGEST * least / largest) + 1) + 1):
        for ratio in sample:
            multiple = ratio * factor
            if abs(multiple - round(multiple)) > _NEAR:
                break
        else:
            whole: Float64 = np.rint(ratios * factor)
            if _divided(whole).tobytes() == values.tobytes():
                return whole if _bounded(factor, round(largest / least * factor)) else None
    return None


def _bounded(least: int, largest: int) -> bool:
    return least <= _LEAST and largest <= _LARGEST and least * largest <= _PRODUCT


def _divided(whole: Float64) -> Float32:
    """The numbers by their length: the same bits on every machine, for their squares are exact."""
    return (whole / math.sqrt(whole @ whole)).astype(_LITTLE)


def _codes(numbers: NDArray[np.int16]) -> tuple[bytes, NDArray[np.bool_], bytes]:
    """The first bytes of numbers, which of them have a second one, and those."""
    codes = 2 * np.abs(numbers) - 2 + (numbers < 0)
    longer = codes > LAST_NARROW
    first = (codes & 127 | longer * np.int16(128)).astype(np.uint8)
    return first.tobytes(), longer, (codes[longer] >> 7).astype(np.uint8).tobytes()


def _numbers(
    first: NDArray[np.uint8], longer: NDArray[np.intp], second: NDArray[np.uint8]
) -> NDArray[np.int16]:
    """The numbers of these bytes, of which those at places `longer` have a second one."""
    codes = first.astype(np.int16)
    codes[longer] += (second.astype(np.int16) - 1) << 7
    magnitudes = (codes >> 1) + np.int16(1)
    # An odd code is a negative number's: of two's complement, -q is ~q + 1.
    sign = -(codes & 1)
    return (magnitudes ^ sign) - sign
