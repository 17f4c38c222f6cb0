"""Frames: one record a line, and one-line JSON objects, each closed by its own checksum.

A log line is ``{"n":…,"d":…[,"g":…],"op":…,…,"c":"<8 hex digits>"}`` and a newline. `c` is the
CRC-32C of the bytes before it: everything up to, and without, ``,"c":"``. `store.json`,
`MANIFEST.json` and `LOCK` end in the same way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import google_crc32c
import numpy as np

from pmll_async.records.chain import NOT_OURS, anchor_holds, decode_exactly
from pmll_async.records.cipher import decode_cipher
from pmll_async.records.content import WriteVector, base64_text
from pmll_async.records.parser import (
    PUT_HEAD,
    RecordFormatError,
    UnknownOperationError,
    decode_put,
    decode_record,
    parse_object,
)
from pmll_async.records.record import Record, encode_record
from pmll_async.values.anchors import Hasher

_TRAILER: Final = len(b',"c":"00000000"}\n')
_NUMBER: Final = rb"(0|[1-9][0-9]{0,17})"
_HEAD: Final = re.compile(
    rb'\{"n":' + _NUMBER + rb',"d":' + _NUMBER + rb',(?:"g":([1-9][0-9]{0,17}),)?"op":"'
)
CHECKSUM: Final = slice(-11, -3)
"""Where a line has the eight digits of its `c`."""
COVERED: Final = slice(-_TRAILER)
"""Where it has what they are the checksum of."""

crc32c: Final[Callable[[bytes | np.ndarray[Any, Any]], int]] = google_crc32c.value
"""CRC-32C; an array is read in place."""


class BadFrameError(ValueError):
    """These bytes are not what was written; the message says why."""


class FrameHead(NamedTuple):
    """What a frame says: its number, records known durable, how many of its group follow."""

    n: int
    d: int
    g: int


def close_line(body: bytes) -> bytes:
    """The line of an object that lacks only its checksum and closing brace."""
    return b'%b,"c":"%08x"}\n' % (body, crc32c(body))


def checked_body(line: bytes) -> bytes:
    """The bytes that the line's checksum covers; `BadFrameError` unless it holds."""
    # A torn write is told from a damaged one by its missing end.
    if line[-1:] != b"\n":
        raise BadFrameError("the line does not end" if line else "nothing is there")
    body = line[COVERED]
    if line[-_TRAILER:] != b',"c":"%08x"}\n' % crc32c(body):
        raise BadFrameError("the checksum does not hold")
    return body


# --- records -----------------------------------------------------------------------------------


def encode_frame(record: Record, n: int, d: int, write_vector: WriteVector = base64_text) -> bytes:
    """The log line of record `n`, written when `d` records were known durable."""
    return close_line(encode_record(record, f'"n":{n},"d":{d},', write_vector).encode())


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
    put = PUT_HEAD.match(line)
    try:
        record = decode_put(put, line, hasher) if put else decode_cipher(line)
        record = record or decode_record(parse_object(line.decode()), hasher)
    except UnknownOperationError:
        raise
    except NOT_OURS as exc:
        raise _bad_frame(exc) from exc
    for entry in record.lines:
        if not anchor_holds(entry, hasher):
            raise BadFrameError(f"its content is not that of its anchor {entry.anchor}")
    return record


def decode_exact_frame(
    line: bytes, head: FrameHead, hasher: Hasher, write_vector: WriteVector = base64_text
) -> Record:
    """The record of a checked line, which must be byte for byte what we write for it.

    Raises as `decode_frame` does.
    """
    try:
        text = line[COVERED].decode() + "}"
        return decode_exactly(text, f'"n":{head.n},"d":{head.d},', hasher, write_vector)
    except UnknownOperationError:
        raise
    except NOT_OURS as exc:
        raise _bad_frame(exc) from exc


def _bad_frame(error: Exception) -> BadFrameError:
    if isinstance(error, RecordFormatError | UnicodeDecodeError):
        return BadFrameError(str(error))
    return BadFrameError(f"not a record: {type(error).__name__}: {error}")


# --- objects -----------------------------------------------------------------------------------


def encode_object(fields: dict[str, Any]) -> bytes:
    """A one-line object with its checksum."""
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return close_line(text[:-1].encode())


def decode_object(line: bytes) -> dict[str, Any]:
    """The fields of a one-line object, without `c`; `BadFrameError` unless its checksum holds."""
    body = checked_body(line)
    try:
        return parse_object(body.decode() + "}")
    except NOT_OURS as exc:
        raise BadFrameError(f"not a JSON object: {exc}") from exc
