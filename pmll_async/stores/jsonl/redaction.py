"""Redaction: what log lines become when content of theirs is erased."""

from __future__ import annotations

import binascii
import re
from collections.abc import Collection, Mapping
from typing import Final

from pmll_async.protocols import Left
from pmll_async.records.content import LineContent
from pmll_async.stores.jsonl.folder import FolderHeader
from pmll_async.stores.jsonl.frames import (
    CHECKSUM,
    BadFrameError,
    check_frame,
    checked_body,
    close_line,
    decode_frame,
    encode_frame,
)
from pmll_async.stores.jsonl.keys import PACKED_MARK, PUT
from pmll_async.stores.jsonl.pieces import Redacted
from pmll_async.values.anchors import Hasher
from pmll_async.values.packing import unpack

_KEY: Final = len(b'"key":"')
_VALUE: Final = b'","value":"'
_CONTEXT: Final = b'","ctx":'
_TAIL: Final = re.compile(
    rb',"anchor":"(?P<anchor>[0-9a-f]{16})","prev":"(?P<prev>[0-9a-f]{16})"'
    rb'(?:,"(?:similarity|novelty|timestamp)":[-+.0-9e]+)*(?:,"revises":\[["0-9a-f,]+\])?\Z'
)
"""How a put goes on behind its context, if it has no idempotency key, which would go, too."""


class Redaction:
    """Takes content out of the lines of one log; `places` and `left` as of `SupportsErase`."""

    def __init__(
        self,
        header: FolderHeader,
        hasher: Hasher,
        places: Mapping[int, Collection[int]],
        left: Left | None,
    ) -> None:
        self._write_vector, self._hasher = header.write_vector, hasher
        self._places, self._left = places, left
        self.done = dict[int, Redacted]()
        """What was taken out so far, by record."""

    def line(self, n: int, line: bytes) -> bytes:
        """What record `n`, whose line this is, becomes; `BadFrameError` for what is not its."""
        if self._left is None and set(self._places[n]) == {0}:
            made = _redacted_put(line, n, self._hasher)
            if made is not None:
                self.done[n] = Redacted((0,), True, made[CHECKSUM])
                return made
        return self._through_record(n, line)

    def _through_record(self, n: int, line: bytes) -> bytes:
        record = decode_frame(line, n, self._hasher)
        left = record.erased(self._places[n]) if self._left is None else self._left(n, record)
        made = encode_frame(left, n, check_frame(line).d, self._write_vector)
        gone = tuple([i for i, entry in enumerate(left.lines) if entry.content.erased])
        self.done[n] = Redacted(gone, left.idempotency_key is None, made[CHECKSUM])
        return made


def _redacted_put(line: bytes, n: int, hasher: Hasher) -> bytes | None:
    """What a plain put becomes, in a third of the time that its record takes.

    Checked as by `decode_frame`; None where that has to tell.
    """
    body, head = checked_body(line), PUT.match(line)
    if head is None:
        return None
    if int(head[1]) != n:
        raise BadFrameError(f"record {head[1].decode()} is in its place")
    # Only in a context may this stand elsewhere, and that comes before.
    context_stop = body.rfind(b',"anchor":"')
    key_stop = value_stop = body.find(b'"', head.end())
    tail = _TAIL.match(body, max(0, context_stop))
    if body.startswith(_VALUE, key_stop):
        value_stop = body.find(b'"', key_stop + len(_VALUE))
    context = value_stop + len(_CONTEXT)
    if tail is None or not body.startswith(_CONTEXT, value_stop) or context_stop < context:
        return None
    try:
        key = value = _vector(body[head.end() : key_stop])
        if value_stop != key_stop:
            value = _vector(body[key_stop + len(_VALUE) : value_stop])
    except ValueError:
        return None
    content = LineContent.of(hasher, key, value, body[context:context_stop], 0.0)
    if hasher.anchor(tail["prev"].decode(), content.digests) != tail["anchor"].decode():
        return None
    before, erased = body[: head.end() - _KEY], content.digests.hex().encode()
    return close_line(b'%b"erased":"%b"%b' % (before, erased, body[context_stop:]))


def _vector(text: bytes) -> bytes:
    if text.startswith(PACKED_MARK):
        return unpack(binascii.a2b_base64(text[len(PACKED_MARK) :]))
    return binascii.a2b_base64(text)
