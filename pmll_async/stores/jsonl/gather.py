"""Keys read out of a log again, a few or very many, without parsing the lines of puts."""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pmll_async.errors import StoreError
from pmll_async.stores.jsonl.files import Files
from pmll_async.stores.jsonl.frames import BadFrameError
from pmll_async.stores.jsonl.keys import PACKED_MARK, PackedKeys, key_texts
from pmll_async.stores.jsonl.log import Log
from pmll_async.stores.jsonl.segments import Segment
from pmll_async.values.concert import Float32
from pmll_async.values.packing import PackedRow, split


def read_keys(
    log: Log, files: Files, records: NDArray[np.int64], places: NDArray[np.int64], dim: int
) -> Float32:
    """See `SupportsKeys.keys`."""
    gathered = _Gathered(dim)
    known, texts, numbers = -1, list[bytes](), records.tolist()
    lines = _lines(log, files, numbers)
    for n, place in zip(numbers, places.tolist(), strict=True):
        try:
            if n != known:
                known, texts = n, key_texts(next(lines), n)
            gathered.add(texts, place)
        except BadFrameError as exc:
            raise log.blamed(n, exc) from exc
    return gathered.keys()


def _lines(log: Log, files: Files, numbers: Sequence[int]) -> Iterator[bytes]:
    """The lines of these records, each once, in order."""
    if numbers and not 0 <= numbers[0] <= numbers[-1] < log.records:
        raise StoreError(f"there is no record {numbers[-1]}; there are {log.records}")
    for segment, runs in _by_segment(log, numbers):
        bounds = [(log.place_of(first), log.place_of(stop)) for first, stop in runs]
        spans = [(start - segment.base, stop - start) for start, stop in bounds]
        pieces = _read(files, segment.file, spans)
        for (first, stop), (start, end), data in zip(runs, bounds, pieces, strict=True):
            # Short where a writer that opened after a crash has moved them into a new segment.
            piece = data if len(data) == end - start else log.bytes_at(start, end)
            places = [log.place_of(n) - start for n in range(first, stop + 1)]
            yield from [piece[begin:end] for begin, end in pairwise(places)]


def _by_segment(
    log: Log, numbers: Sequence[int]
) -> Iterator[tuple[Segment, list[tuple[int, int]]]]:
    """The segments of records and, in each, runs of records that follow each other."""
    table = log.table
    segment, runs = None, list[tuple[int, int]]()
    for n in numbers:
        here = table.at(log.place_of(n))
        if segment is not None and here is not segment:
            yield segment, runs
            runs = []
        segment = here
        if runs and n <= runs[-1][1]:
            runs[-1] = runs[-1][0], n + 1
        else:
            runs.append((n, n + 1))
    if segment is not None:
        yield segment, runs


def _read(files: Files, name: str, spans: Sequence[tuple[int, int]]) -> Sequence[bytes]:
    try:
        return files.read_many(name, spans)
    except FileNotFoundError:
        return [b""] * len(spans)


class _Gathered:
    """Keys as their texts come; those that are packed are unpacked together."""

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._raw = list[bytes]()
        self._packed = list[PackedRow]()
        self._is_packed = bytearray()

    def add(self, texts: Sequence[bytes], place: int) -> None:
        if place >= len(texts):
            raise BadFrameError(f"it has {len(texts)} keys, and not {place + 1}")
        text = texts[place]
        is_packed = text.startswith(PACKED_MARK)
        try:
            content = binascii.a2b_base64(text[len(PACKED_MARK) :] if is_packed else text)
            row = split(content) if is_packed else None
        except ValueError as exc:
            raise BadFrameError(f"its key is no vector: {exc}") from exc
        if (row.dim if row else len(content) / 4) != self._dim:
            raise BadFrameError("its key has other dimensions than the store")
        self._is_packed.append(is_packed)
        if row is None:
            self._raw.append(content)
        else:
            self._packed.append(row)

    def keys(self) -> Float32:
        raw = np.frombuffer(b"".join(self._raw), "<f4").reshape(-1, self._dim)
        return PackedKeys.of(self._is_packed, self._packed).keys(raw)
