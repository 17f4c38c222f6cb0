"""Keys as the cache has them: those that pack in parts, each kind of part joined, the others raw.

    keys section = raw float32 rows ‖ bitmaps ‖ compressed parts ‖ u32 how many rows are raw
    parts        = a byte a key, 1 if it is packed ‖ first bytes ‖ second bytes

Bitmaps are too even to be worth compressing. What packing is, `values.packing` says. A store of
plain keys has the raw rows and nothing else.
"""

from __future__ import annotations

import binascii
import re
import struct
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pmll_async.loop.breathing import Breather
from pmll_async.records.chain import NOT_OURS
from pmll_async.records.content import PACKED
from pmll_async.records.parser import parse_object
from pmll_async.records.record import PutRecord, Record
from pmll_async.stores.jsonl.compression import compress, decompress
from pmll_async.stores.jsonl.frames import BadFrameError, check_frame, checked_body
from pmll_async.values.concert import Float32
from pmll_async.values.packing import LAST_NARROW, PackedRow, split, unpack_rows

_KEY: Final = b'"key":"'
_COUNT: Final = struct.Struct("<I")
PACKED_MARK: Final = PACKED.encode()
_LITTLE: Final = np.dtype("<f4")


PUT: Final = re.compile(
    rb'\{"n":([0-9]+),"d":[0-9]+,(?:"g":[0-9]+,)?"op":"put","t":[0-9.e+-]+,"key":"'
)
"""How a put begins, up to its key's text: no text of a caller stands before it."""


class PackedKeys(NamedTuple):
    """The parts of those of some keys that pack; `which` has a byte a key, 1 for one that does."""

    bitmaps: bytes = b""
    which: bytes = b""
    first: bytes = b""
    second: bytes = b""

    @classmethod
    def written(cls, records: Sequence[Record], lines: Sequence[bytes]) -> PackedKeys:
        """Those of records, from their log lines: packing them again takes far longer."""
        texts, breathe = list[list[bytes]](), Breather()
        for record, line in zip(records, lines, strict=True):
            breathe()
            texts.append(_key_texts(record, line))
        return cls.of_texts(filter(None, chain.from_iterable(texts)))

    @classmethod
    def of_texts(cls, texts: Iterable[bytes]) -> PackedKeys:
        """Those of keys by their texts in the log."""
        which, rows = bytearray(), list[PackedRow]()
        for text in texts:
            packed = text.startswith(PACKED_MARK)
            which.append(packed)
            if packed:
                rows.append(split(binascii.a2b_base64(text[len(PACKED_MARK) :])))
        return cls.of(which, rows)

    @classmethod
    def of(cls, which: bytearray, rows: Sequence[PackedRow]) -> PackedKeys:
        """The parts of these rows, joined; `which` has the keys that do not pack, too."""
        return cls(
            b"".join([row.bitmap for row in rows]),
            bytes(which),
            b"".join([row.first for row in rows]),
            b"".join([row.second for row in rows]),
        )

    def where(self, stays: NDArray[np.bool_]) -> PackedKeys:
        """Those of the keys that stay, by all of them."""
        which = np.frombuffer(self.which, np.uint8)
        if not self.bitmaps:
            return self._replace(which=which[stays].tobytes() if len(which) else b"")
        chosen = stays[which != 0]
        bitmaps = np.frombuffer(self.bitmaps, np.uint8).reshape(len(chosen), -1)
        counts = np.unpackbits(bitmaps, axis=1).sum(axis=1, dtype=np.int64)
        first, second = np.frombuffer(self.first, np.uint8), np.frombuffer(self.second, np.uint8)
        stay = np.repeat(chosen, counts)
        return PackedKeys(
            bitmaps[chosen].tobytes(),
            which[stays].tobytes(),
            first[stay].tobytes(),
            second[stay[first > LAST_NARROW]].tobytes(),
        )

    @classmethod
    def joined(cls, several: Iterable[PackedKeys]) -> PackedKeys:
        """Those of several runs of keys that follow each other."""
        return cls(*map(b"".join, zip(*several, strict=True)))

    def keys(self, raw: Float32) -> Float32:
        """All the keys, the others being `raw` (m, dim), whose memory they share if none packs."""
        if not self.bitmaps:
            return raw
        unpacked = unpack_rows(self.bitmaps, self.first, self.second, raw.shape[1])
        if not len(raw):
            return unpacked
        which = np.frombuffer(self.which, np.uint8) != 0
        keys = np.empty((len(raw) + len(unpacked), raw.shape[1]), dtype=_LITTLE)
        keys[~which], keys[which] = raw, unpacked
        return keys


def _key_texts(record: Record, line: bytes) -> list[bytes]:
    """The text of each key in a record's log line; empty for a note, none for an erased line."""
    if isinstance(record, PutRecord):
        if record.line.content.erased:
            return []
        # No text of a caller stands before it.
        start = line.index(_KEY) + len(_KEY)
        return [line[start : line.index(b'"', start)]]
    if not record.lines:
        return []
    return [entry["key"].encode() for entry in parse_object(line)["lines"] if "key" in entry]


def key_texts(line: bytes, n: int) -> list[bytes]:
    """The texts of the keys of record `n`, whose line this is."""
    put = PUT.match(line)
    if put is None:
        return _texts_of_any(line, n)
    checked_body(line)
    if int(put[1]) != n:
        raise BadFrameError(f"record {put[1].decode()} is in its place")
    return [line[put.end() : line.index(b'"', put.end())]]


def _texts_of_any(line: bytes, n: int) -> list[bytes]:
    head = check_frame(line)
    if head.n != n:
        raise BadFrameError(f"record {head.n} is in its place")
    try:
        return [entry.get("key", "").encode() for entry in parse_object(line).get("lines", ())]
    except NOT_OURS as exc:
        raise BadFrameError(f"not a record with keys: {type(exc).__name__}: {exc}") from exc


def encode_keys(keys: Float32, packed: PackedKeys | None) -> bytes:
    """The keys section; without `packed` that of a store of plain keys."""
    if packed is None:
        return keys.astype(_LITTLE, copy=False).tobytes()
    # Most stores have either kind alone, and choosing copies.
    chosen = keys[~np.frombuffer(packed.which, np.bool_)] if packed.bitmaps else keys
    raw = chosen.astype(_LITTLE, copy=False)
    parts = compress(b"".join(packed[1:]))
    return b"".join([raw.tobytes(), packed.bitmaps, parts, _COUNT.pack(len(raw))])


def most_bytes(count: int, dim: int) -> int:
    """The most that a keys section takes: packing makes no row longer, compressing little."""
    return count * (dim * _LITTLE.itemsize + 1) * 9 // 8 + 64


def decode_keys(section: NDArray[np.uint8], count: int, dim: int) -> tuple[Float32, PackedKeys]:
    """The keys (count, dim) and what is packed of them; `ValueError` for what is no such section.

    Keys of which none packs share the section's memory.
    """
    (rows,) = _COUNT.unpack(section[-_COUNT.size :].tobytes())
    end = rows * dim * _LITTLE.itemsize
    raw = section[:end].view(_LITTLE).reshape(rows, dim)
    stop = end + (count - rows) * ((dim + 7) // 8)
    parts = decompress(section[stop : -_COUNT.size].tobytes())
    packed = _divided(section[end:stop].tobytes(), parts, count)
    if np.count_nonzero(np.frombuffer(packed.which, np.uint8)) != count - rows:
        raise ValueError("it has another number of raw keys")
    return packed.keys(raw), packed


def _divided(bitmaps: bytes, parts: bytes, count: int) -> PackedKeys:
    second = count + int.from_bytes(bitmaps, "little").bit_count()
    return PackedKeys(bitmaps, parts[:count], parts[count:second], parts[second:])
