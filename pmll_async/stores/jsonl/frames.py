"""Frames: one record a line, and one-line JSON objects, each closed by its own checksum.

A log line is ``{"n":…,"d":…[,"g":…],"op":…,…,"c":"<8 hex digits>"}`` and a newline. `c` is the
CRC-32C of the bytes before it: everything up to, and without, ``,"c":"``. `store.json`,
`MANIFEST.json` and `LOCK` end in the same way.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

import google_crc32c
import numpy as np

from pmll_async.records.parser import (
    PUT_HEAD,
    RecordFormatError,
    UnknownOperationError,
    parse_object,
    parse_put,
    parse_record,
)
from pmll_async.records.record import Record, encode_record
from pmll_async.values.anchors import Hasher

_TRAILER: Final = len(b',"c":"00000000"}\n')
_NUMBER: Final = rb"(0|[1-9][0-9]{0,17})"
_HEAD: Final = re.compile(
    rb'\{"n":' + _NUMBER + rb',"d":' + _NUMBER + rb',(?:"g":([1-9][0-9]{0,17}),)?"op":"'
)
NOT_OURS: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""Whatever a parsed object can do to code that expects one of ours."""


class BadFrameError(ValueError):
    """These bytes are not what was written; the message says why."""


class FrameHead(NamedTuple):
    """What a frame says: its number, records known durable, how many of its group follow."""

    n: int
    d: int
    g: int


def crc32c(data: bytes | np.ndarray[Any, Any]) -> int:
    """CRC-32C; an array is read in place."""
    return int(google_crc32c.value(data))


def close_line(body: bytes) -> bytes:
    """The line of an object that lacks only its checksum and closing brace."""
    return b'%b,"c":"%08x"}\n' % (body, crc32c(body))


def checked_body(line: bytes) -> bytes:
    """The bytes that the line's checksum covers; `BadFrameError` unless it holds."""
    if line[-1:] != b"\n":
        raise BadFrameError("the line does not end" if line else "nothing is there")
    body = line[:-_TRAILER]
    if line[-_TRAILER:] != b',"c":"%08x"}\n' % crc32c(body):
        raise BadFrameError("the checksum does not hold")
    return body


def checksum_text(line: bytes) -> bytes:
    """The eight digits of `c`."""
    return line[-11:-3]


# --- records -----------------------------------------------------------------------------------


def encode_frame(record: Record, n: int, d: int) -> bytes:
    """The log line of record `n`, written when `d` records were known durable."""
    return close_line(encode_record(record, f'"n":{n},"d":{d},').encode())


def check_frame(line: bytes) -> FrameHead:
    """The head of a log line whose checksum holds; `BadFrameError` otherwise."""
    checked_body(line)
    match = _HEAD.match(line)
    if match is None:
        raise BadFrameError("the line does not begin like a record")
    n, d, g = match.groups(b"0")
    return FrameHead(int(n), int(d), int(g))


def decode_frame(line: bytes, n: int, hasher: Hasher) -> Record:
    """Record `n` of its log line, with the checksum, the number and the anchors checked.

    Raises `BadFrameError`, or `UnknownOperationError` for a record of a later version.
    """
    head = check_frame(line)
    if head.n != n:
        raise BadFrameError(f"record {head.n} is in its place")
    record = _parse_put(line, hasher) or _decode(line, hasher)
    for entry in record.lines:
        if hasher.anchor(entry.prev_anchor, entry.content.digests) != entry.anchor:
            raise BadFrameError(f"its content is not that of its anchor {entry.anchor}")
    return record


def decode_exactly(line: bytes, head: FrameHead, hasher: Hasher) -> Record:
    """The record of a checked line, which must be byte for byte what we write for it.

    That refuses whatever parses to the same values: repeated keys, other spellings of a number, a
    string or base64 text, other orders. Raises as `decode_frame` does.
    """
    record = _decode(line, hasher)
    try:
        same = encode_frame(record, head.n, head.d) == line
    except NOT_OURS as exc:
        raise BadFrameError(f"not a record: {exc}") from exc
    if not same:
        raise BadFrameError("the line is not written as its record is")
    return record


def _parse_put(line: bytes, hasher: Hasher) -> Record | None:
    head = PUT_HEAD.match(line)
    if head is None:
        return None
    try:
        return parse_put(head, line, hasher)
    except NOT_OURS as exc:
        raise BadFrameError(f"not a put: {type(exc).__name__}: {exc}") from exc


def _decode(line: bytes, hasher: Hasher) -> Record:
    try:
        return parse_record(parse_object(line.decode()), hasher)
    except (RecordFormatError, UnicodeDecodeError) as exc:
        raise BadFrameError(str(exc)) from exc
    except UnknownOperationError:
        raise
    except NOT_OURS as exc:
        raise BadFrameError(f"not a record: {type(exc).__name__}: {exc}") from exc


# --- objects -----------------------------------------------------------------------------------


def encode_object(fields: dict[str, Any]) -> bytes:
    """A one-line object with its checksum."""
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return close_line(text[:-1].encode())


def decode_object(line: bytes) -> dict[str, Any]:
    """The fields of a one-line object, without `c`; `BadFrameError` unless its checksum holds."""
    body = checked_body(line)
    try:
        fields = parse_object(body.decode() + "}")
    except NOT_OURS as exc:
        raise BadFrameError(f"not a JSON object: {exc}") from exc
    return fields
