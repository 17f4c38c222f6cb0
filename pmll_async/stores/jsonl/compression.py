"""Compressed parts of the cache, by zlib's fastest level: the next one takes longer for little."""

from __future__ import annotations

import zlib
from typing import Final

_LEVEL: Final = 1
# A kilobyte can say that it is a megabyte: no reader runs out of memory for what somebody made.
_MOST: Final = 1 << 30


def compress(data: bytes) -> bytes:
    """What `decompress` makes the data of."""
    return zlib.compress(data, _LEVEL)


def decompress(data: bytes) -> bytes:
    """The data; `ValueError` for what no data was compressed to, and for more than a gigabyte."""
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(data, _MOST)
    except zlib.error as exc:
        raise ValueError(str(exc)) from exc
    if not stream.eof or stream.unused_data:
        raise ValueError("its end is not that of compressed data")
    return plain
