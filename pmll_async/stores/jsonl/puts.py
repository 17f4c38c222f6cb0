"""Runs of plain puts, nearly all of most logs: read and checked together, a fifth of the time.

A put is plain that adds one line with vectors and does nothing else. What is checked is what
`decode_exact_frame` and `Chain.flaw` check of one record after the other; where anything is wrong,
or merely not plain, nothing is said of it here: whoever goes through it line by line says what.
"""

from __future__ import annotations

import binascii
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from operator import eq
from typing import Final, NamedTuple

import numpy as np

from pmll_async.loop.breathing import Breather
from pmll_async.records.blocks import LINE, Block
from pmll_async.records.record import PutTexts, put_leaf_text
from pmll_async.stores.jsonl.folder import FolderHeader
from pmll_async.stores.jsonl.frames import COVERED, FrameHead, crc32c
from pmll_async.stores.jsonl.keys import PACKED_MARK, PackedKeys
from pmll_async.stores.jsonl.pieces import Piece
from pmll_async.values.anchors import Hasher, encode_bytes, encode_vector, fold, leaf_digest
from pmll_async.values.canonical import canonical_number
from pmll_async.values.concert import exact_norms
from pmll_async.values.contexts import is_canonical
from pmll_async.values.packing import pack_many, unpack_many

_COUNT: Final = rb"(0|[1-9][0-9]{0,17})"
_REAL: Final = rb"(-?[0-9][0-9.e+-]*)"
_ANCHOR: Final = rb'"([0-9a-f]{16})"'
_HEAD: Final = re.compile(
    rb'\{"n":' + _COUNT + rb',"d":' + _COUNT + rb',(?:"g":([1-9][0-9]{0,17}),)?"op":"put"'
    rb',"t":' + _REAL + rb',"key":"'
)  # fmt: skip
_REST: Final = re.compile(
    rb'",(?:"value":"([^"]*)",)?"ctx":(\{.*\})'
    rb',"anchor":' + _ANCHOR + rb',"prev":' + _ANCHOR + rb',"similarity":' + _REAL
    + rb',"novelty":' + _REAL + rb'(?:,"timestamp":' + _REAL + rb')?,"c":"([0-9a-f]{8})"\}\n'
)  # fmt: skip
_LITTLE: Final = np.dtype("<f4")
_FEW: Final = 4
"""So few lines take longer together than one by one."""


class LineTexts(NamedTuple):
    """The texts of the lines of some plain puts, each kind in order."""

    n: Sequence[bytes]
    d: Sequence[bytes]
    g: Sequence[bytes | None]
    t: Sequence[bytes]
    key: Sequence[bytes]
    value: Sequence[bytes | None]
    context: Sequence[bytes]
    anchor: Sequence[bytes]
    prev: Sequence[bytes]
    similarity: Sequence[bytes]
    novelty: Sequence[bytes]
    timestamp: Sequence[bytes | None]
    checksum: Sequence[bytes]

    @property
    def heads(self) -> list[FrameHead]:
        """What each frame says."""
        numbers = zip(self.n, self.d, self.g, strict=True)
        return [FrameHead(int(n), int(d), int(g or 0)) for n, d, g in numbers]


@dataclass(frozen=True, slots=True, eq=False)
class Puts:
    """A run of plain puts as the cache keeps them, and of each record L_n and h_n."""

    piece: Piece
    leaves: Sequence[bytes]
    digests: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Before:
    """What comes before a run: so many records, up to a place, with this head and this digest."""

    records: int
    place: int
    head: str
    digest: bytes


def runs(lines: Sequence[bytes]) -> Iterator[tuple[Sequence[bytes], LineTexts | None]]:
    """Lines in order, those of plain puts together and with their texts."""
    read = [(line, _texts(line)) for line in lines]
    for _, group in groupby(read, key=lambda pair: pair[1] is None):
        some, found = zip(*group, strict=True)
        texts = [each for each in found if each] if len(some) >= _FEW else []
        yield some, LineTexts(*zip(*texts, strict=True)) if texts else None


def _texts(line: bytes) -> tuple[bytes | None, ...] | None:
    """The texts of a plain put, None for anything else."""
    head = _HEAD.match(line)
    if head is None:
        return None
    # A tenth of the time in which an expression goes through a key.
    stop = line.find(b'"', head.end())
    rest = _REST.fullmatch(line, max(stop, 0))
    return (*head.groups(), line[head.end() : stop], *rest.groups()) if rest else None


def read_puts(
    lines: Sequence[bytes], texts: LineTexts, before: Before, header: FolderHeader, hasher: Hasher
) -> Puts | None:
    """The puts of these lines; None if one is not byte for byte what is written there."""
    try:
        return _Reading(lines, texts, before, header, hasher).puts()
    except (ValueError, RecursionError):
        return None


class _Reading:
    """Any `ValueError` says that something is wrong, and never more than that."""

    def __init__(
        self,
        lines: Sequence[bytes],
        texts: LineTexts,
        before: Before,
        header: FolderHeader,
        hasher: Hasher,
    ) -> None:
        self._lines, self._texts, self._before = lines, texts, before
        self._header, self._hasher = header, hasher
        self._breathe = Breather()

    def puts(self) -> Puts:
        self._check_frames()
        texts, before = self._texts, self._before
        keys = self._vectors(texts.key, self._header.dim)
        leaves = self._leaves(self._digests(keys))
        heads = list(accumulate(leaves, fold, initial=before.digest))[1:]
        ends = array("q", accumulate(map(len, self._lines), initial=before.place))[1:]
        last = ends[-1] - len(self._lines[-1])
        packed = PackedKeys.of_texts(texts.key) if self._header.packed else PackedKeys()
        block = self._block(keys, heads[-1])
        return Puts(
            Piece(block, ends, texts.context, packed, last, texts.checksum[-1]), leaves, heads
        )

    def _check_frames(self) -> None:
        texts, first = self._texts, self._before.records
        _require(list(map(int, texts.n)) == list(range(first, first + len(texts.n))))
        sums = [crc32c(line[COVERED]) for line in self._lines]
        _require(sums == [int(checksum, 16) for checksum in texts.checksum])
        _require(texts.prev == (self._before.head.encode(), *texts.anchor[:-1]))
        for context in texts.context:
            self._breathe()
            _require(is_canonical(context))

    def _vectors(self, texts: Sequence[bytes], dim: int) -> Sequence[bytes]:
        """The vectors of their texts."""
        plain = [text for text in texts if not text.startswith(PACKED_MARK)]
        vectors = [_from_base64(text) for text in plain]
        _require(all(len(vector) == 4 * dim for vector in vectors))
        if self._header.packed and dim:
            _require(not any(pack_many(vectors)))
        if len(plain) == len(texts):
            return vectors
        _require(self._header.packed)
        forms = [_from_base64(text[1:]) for text in texts if text.startswith(PACKED_MARK)]
        unpacked = iter(unpack_many(forms, dim))
        raw = iter(vectors)
        return [
            next(unpacked).tobytes() if text.startswith(PACKED_MARK) else next(raw)
            for text in texts
        ]

    def _digests(self, keys: Sequence[bytes]) -> Iterator[bytes]:
        """D of key, value and context of each, joined."""
        texts, digest = self._texts, self._hasher.digest
        given = [text for text in texts.value if text is not None]
        # A value that is the key is left out.
        _require(len(given) == len(keys) or self._header.value_dim == self._header.dim)
        _require(not any(map(eq, texts.value, texts.key)))
        values = self._vectors(given, self._header.value_dim)
        _require(bool(np.isfinite(np.frombuffer(b"".join(values), _LITTLE)).all()))
        others = iter(values)
        for key, text, context in zip(keys, texts.value, texts.context, strict=True):
            self._breathe()
            own = digest(encode_vector(key))
            value = own if text is None else digest(encode_vector(next(others)))
            yield own + value + digest(encode_bytes(context))

    def _leaves(self, digests: Iterable[bytes]) -> list[bytes]:
        """L_n of each, whose anchor must follow from its content."""
        texts, leaves = self._texts, list[bytes]()
        reals = zip(texts.t, texts.similarity, texts.novelty, texts.timestamp, strict=True)
        for i, (content, numbers) in enumerate(zip(digests, map(_fields, reals), strict=True)):
            anchor, prev = texts.anchor[i].decode(), texts.prev[i].decode()
            _require(self._hasher.anchor(prev, content) == anchor)
            leaves.append(leaf_digest(put_leaf_text(anchor, prev, content, numbers).encode()))
        return leaves

    def _block(self, keys: Sequence[bytes], digest: bytes) -> Block:
        texts, count = self._texts, len(keys)
        rows = np.frombuffer(b"".join(keys), _LITTLE).reshape(count, self._header.dim)
        norms, times = exact_norms(rows), np.array(list(map(float, texts.t)))
        # Float32 squares cannot overflow in float64, so the length tells NaN and infinity.
        _require(bool(((norms > 0) & (norms < np.inf)).all()))
        timestamps = [
            t if own is None else own for t, own in zip(texts.t, texts.timestamp, strict=True)
        ]
        return Block(
            first=self._before.records,
            digest=digest,
            times=times,
            line_counts=np.ones(count, np.int64),
            anchors=np.array([int(anchor, 16) for anchor in texts.anchor], np.uint64),
            kinds=np.full(count, LINE, np.uint8),
            strengths=np.ones(count),
            keys=rows,
            norms=norms,
            timestamps=np.array(list(map(float, timestamps))),
            novelties=np.array(list(map(float, texts.novelty))),
            marks=(),
            key_uses=(),
        )


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError("these are no puts as they are written")


def _from_base64(text: bytes) -> bytes:
    raw = binascii.a2b_base64(text, strict_mode=True)
    # The last letter may say more than the bytes, where they are no multiple of three.
    _require(len(raw) * 4 == len(text) * 3 or binascii.b2a_base64(raw, newline=False) == text)
    return raw


def _fields(texts: tuple[bytes, bytes, bytes, bytes | None]) -> PutTexts:
    """Time, similarity, novelty and timestamp as a record has them, if these are their texts."""
    t, similarity, novelty, timestamp = ["" if text is None else text.decode() for text in texts]
    for text in (t, similarity, novelty, timestamp):
        _require(not text or canonical_number(float(text)) == text)
    late = timestamp and f'"timestamp":{timestamp},'
    return t, f'"similarity":{similarity},', f'"novelty":{novelty},', late, "", ""
