"""Frames: one record as the bytes of one LMDB value, closed by their CRC-32C.

All numbers are little-endian. Every frame begins with the format (1), the kind, flags, how many
records of its group follow, and the record's number. A put is binary throughout: its time, anchors,
similarity, novelty and timestamp (NaN for none), four lengths, then key, value, context and, where
it has them, the rest as JSON. Other records, which are rare, and puts that were erased are the JSON
of the log. The last record of a batch ends with the digest after it.
"""

from __future__ import annotations

import json
import struct
from math import isnan, nan
from typing import Any, Final, NamedTuple

import numpy as np

from pmll_async.records.chain import NOT_OURS
from pmll_async.records.content import LineContent, LineRecord, base64_text
from pmll_async.records.parser import (
    RecordFormatError,
    UnknownOperationError,
    decode_record,
    parse_object,
)
from pmll_async.records.record import PutRecord, Record, record_text
from pmll_async.stores.jsonl.frames import BadFrameError, crc32c
from pmll_async.values.anchors import DIGEST_BYTES, Hasher, is_anchor
from pmll_async.values.concert import exact_norm

FORMAT: Final = 1
_PUT_KIND: Final = 1
_JSON: Final = 0
_ENDS_BATCH: Final = 1
_HEAD: Final = struct.Struct("<BBHIQ")
_PUT: Final = struct.Struct("<d8s8sdddIIII")
_LENGTHS: Final = struct.Struct("<IIII")
KEY_START: Final = _HEAD.size + _PUT.size
_SAME: Final = 2**32 - 1
"""The length of a value that is the key, and takes no bytes of its own."""
_CHECKSUM: Final = 4

Bytes = bytes | memoryview


class Head(NamedTuple):
    """What every frame says of itself; `stop` is where its payload ends."""

    kind: int
    following: int
    n: int
    digest: bytes
    stop: int


# --- writing -----------------------------------------------------------------------------------


def encode_frame(record: Record, n: int, digest: bytes = b"") -> bytes:
    """The frame of record `n`; the last of a batch has the `digest` after it."""
    if isinstance(record, PutRecord) and not record.line.content.erased:
        kind, parts = _PUT_KIND, _put_parts(record)
    else:
        kind, parts = _JSON, [f"{{{record_text(record, base64_text)}}}".encode()]
    head = _HEAD.pack(FORMAT, kind, bool(digest), record.following, n)
    body = b"".join([head, *parts, digest])
    return body + crc32c(body).to_bytes(_CHECKSUM, "little")


def _put_parts(record: PutRecord) -> list[bytes]:
    line, content = record.line, record.line.content
    extra = _extra(record)
    same = content.value == content.key
    numbers = _PUT.pack(
        record.t,
        bytes.fromhex(line.anchor),
        bytes.fromhex(line.prev_anchor),
        line.similarity,
        line.novelty,
        nan if line.timestamp is None else line.timestamp,
        len(content.key),
        _SAME if same else len(content.value),
        len(content.context),
        len(extra),
    )
    return [numbers, content.key, b"" if same else content.value, content.context, extra]


def _extra(record: PutRecord) -> bytes:
    """What few puts have."""
    if not record.revises and record.idempotency_key is None:
        return b""
    fields = [list(record.revises), record.idempotency_key]
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


# --- reading -----------------------------------------------------------------------------------


def check_frame(frame: Bytes, n: int) -> Head:
    """The head of a frame that holds and is record `n`'s; `BadFrameError` otherwise."""
    if len(frame) < _HEAD.size + _CHECKSUM:
        raise BadFrameError("it is too short for a record")
    if crc32c(bytes(frame[:-_CHECKSUM])).to_bytes(_CHECKSUM, "little") != frame[-_CHECKSUM:]:
        raise BadFrameError("the checksum does not hold")
    version, kind, flags, following, number = _HEAD.unpack_from(frame)
    if version != FORMAT or kind > _PUT_KIND or flags > _ENDS_BATCH:
        raise UnknownOperationError(f"form {version}.{kind}.{flags}")
    if number != n:
        raise BadFrameError(f"record {number} is in its place")
    stop = len(frame) - _CHECKSUM
    if not flags:
        return Head(kind, following, number, b"", stop)
    stop -= DIGEST_BYTES
    return Head(kind, following, number, bytes(frame[stop:-_CHECKSUM]), stop)


def decode_frame(frame: bytes, n: int, hasher: Hasher) -> Record:
    """Record `n` of its frame, with the checksum, the number and the anchors checked.

    Raises `BadFrameError`, or `UnknownOperationError` for a record of a later version.
    """
    record = _decode(frame, check_frame(frame, n), hasher)
    for entry in record.lines:
        if hasher.anchor(entry.prev_anchor, entry.content.digests) != entry.anchor:
            raise BadFrameError(f"its content is not that of its anchor {entry.anchor}")
    return record


def decode_exactly(frame: bytes, n: int, hasher: Hasher) -> tuple[Record, Head]:
    """The record of a frame, which must be byte for byte what we write for it; its head."""
    head = check_frame(frame, n)
    record = _decode(frame, head, hasher)
    try:
        same = encode_frame(record, n, head.digest) == frame
    except (*NOT_OURS, struct.error) as exc:
        raise BadFrameError(f"not a record: {exc}") from exc
    if not same:
        raise BadFrameError("it is not written as its record is")
    return record, head


def is_put(frame: Bytes) -> bool:
    """Whether a frame, which is known to be one, is that of a put."""
    return frame[1] == _PUT_KIND


def context_of(frame: Bytes) -> bytes:
    """The context of a put."""
    key, value, context, _ = _LENGTHS.unpack_from(frame, KEY_START - _LENGTHS.size)
    start = KEY_START + key + (0 if value == _SAME else value)
    return bytes(frame[start : start + context])


def keys_of(frame: bytes, n: int, hasher: Hasher) -> list[bytes]:
    """The keys of the lines of record `n`, of its frame, which is checked but for its anchors."""
    head = check_frame(frame, n)
    if head.kind != _PUT_KIND:
        return [entry.content.key for entry in _decode(frame, head, hasher).lines]
    size, *_ = _LENGTHS.unpack_from(frame, KEY_START - _LENGTHS.size)
    return [frame[KEY_START : KEY_START + size]]


def _decode(frame: bytes, head: Head, hasher: Hasher) -> Record:
    payload = frame[_HEAD.size : head.stop]
    try:
        if head.kind == _PUT_KIND:
            return _decode_put(payload, head, hasher)
        fields = parse_object(payload.decode())
        return decode_record(fields | {"g": head.following}, hasher)
    except RecordFormatError as exc:
        raise BadFrameError(str(exc)) from exc
    except (BadFrameError, UnknownOperationError):
        raise
    except (*NOT_OURS, struct.error) as exc:
        raise BadFrameError(f"not a record: {type(exc).__name__}: {exc}") from exc


def _decode_put(payload: bytes, head: Head, hasher: Hasher) -> PutRecord:
    t, anchor, prev, similarity, novelty, timestamp, *lengths = _PUT.unpack_from(payload)
    key, value, context, extra = _parts(payload, lengths)
    revises, idempotency_key = _decode_extra(extra)
    norm = exact_norm(np.frombuffer(key, dtype="<f4"))
    return PutRecord(
        t=t,
        following=head.following,
        line=LineRecord(
            content=LineContent.of(hasher, key, value, context, norm),
            anchor=anchor.hex(),
            prev_anchor=prev.hex(),
            kind="line" if key else "note",
            similarity=similarity if key else 0.0,
            novelty=novelty if key else 0.0,
            timestamp=None if isnan(timestamp) else timestamp,
        ),
        revises=revises,
        idempotency_key=idempotency_key,
    )


def _parts(payload: bytes, lengths: list[int]) -> list[bytes]:
    """Key, value, context and the rest."""
    same = lengths[1] == _SAME
    sizes = [0 if same and i == 1 else size for i, size in enumerate(lengths)]
    if sum(sizes) != len(payload) - _PUT.size:
        raise BadFrameError("its parts are not as long as it says")
    parts, start = [], _PUT.size
    for size in sizes:
        parts.append(payload[start : start + size])
        start += size
    if same:
        parts[1] = parts[0]
    return parts


def _decode_extra(extra: bytes) -> tuple[tuple[str, ...], str | None]:
    if not extra:
        return (), None
    fields: Any = json.loads(extra)
    revises, key = fields
    if not all(map(is_anchor, revises)) or not isinstance(key, str | None):
        raise BadFrameError("what it revises, or its key, is none")
    return tuple(revises), key
