"""FNV-1a in 64 bits, which can go on from where it was.

    h = (h XOR byte) · p mod 2^64

The packages that compute it in C cannot go on from a state, and byte by byte Python takes 11 µs for
a leaf. XOR changes the lowest byte of h alone, so that adding a difference d does the same, and the
end of a run is h·p^n + Σ dᵢ·p^(n-i): one sum of products. The d need the lowest bytes only; of
these each bit is the XOR of all bits before it in its place and of what carries reach it from the
lower ones, so that eight running XORs give them all.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

EMPTY: Final = 0xCBF29CE484222325
_PRIME: Final = 0x100000001B3
_MASK: Final = 2**64 - 1
_TOGETHER: Final = 1 << 15
"""Bytes in one step: their powers and products stay in the processor's caches."""
_SHORT: Final = 128
"""Of fewer bytes a loop is done before arrays are made."""


def fnv1a(data: bytes, state: int = EMPTY) -> int:
    """The hash of what `state` is the hash of, and of `data` behind it."""
    if len(data) < _SHORT:
        for byte in data:
            state = (state ^ byte) * _PRIME & _MASK
        return state
    for start in range(0, len(data), _TOGETHER):
        state = _step(
            np.frombuffer(data, np.uint8, min(_TOGETHER, len(data) - start), start), state
        )
    return state


def _step(run: NDArray[np.uint8], state: int) -> int:
    before = _lowest_bytes(run, state & 0xFF)
    differences = (before ^ run).astype(np.uint64) - before.astype(np.uint64)
    powers = _powers(len(run))
    total = int(np.dot(differences, powers[::-1]))
    return (state * int(powers[-1]) + total) & _MASK


def _lowest_bytes(run: NDArray[np.uint8], first: int) -> NDArray[np.uint8]:
    """The lowest byte of h before each byte of the run."""
    low, carried = np.zeros(len(run), np.uint8), np.zeros(len(run), np.uint8)
    for bit in range(8):
        # What the lower bits of h XOR byte, times p, bring to this bit.
        turned = (carried ^ run) >> bit & 1
        low[1:] |= np.bitwise_xor.accumulate(turned)[:-1] << bit
        low ^= np.uint8(first & 1 << bit)
        lower = (low ^ run) & np.uint8((2 << bit) - 1)
        carried = lower * np.uint8(_PRIME & 0xFF) & np.uint8(2 << bit & 0xFF)
    return low


def _powers(count: int) -> NDArray[np.uint64]:
    """p, p^2, … p^count."""
    powers = np.full(count, _PRIME, np.uint64)
    return np.multiply.accumulate(powers)
