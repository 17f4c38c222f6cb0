"""Parsing: records of their JSON objects, refusing whatever no version has written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pmll_async.records.operations import OPERATIONS
from pmll_async.records.record import PutRecord, Record
from pmll_async.values.anchors import Hasher
from pmll_async.values.contexts import parse_json

PUT_HEAD: Final = re.compile(
    rb'\{"n":[0-9]+,"d":[0-9]+,(?:"g":(?P<g>[0-9]+),)?"op":"put","t":(?P<t>[0-9.]+),'
    rb'"key":"(?P<key>~?[A-Za-z0-9+/=]*)",(?:"value":"(?P<value>~?[A-Za-z0-9+/=]*)",)?"ctx":'
)
"""How a put begins in a log, up to its context."""


class RecordFormatError(ValueError):
    """These bytes are no record; a store says where they are."""


class UnknownOperationError(ValueError):
    """A later version wrote this operation."""


def decode_put(head: re.Match[bytes], line: bytes, hasher: Hasher) -> Record | None:
    """The put of a log line that begins with `PUT_HEAD`; None where only `decode_record` can tell.

    Its context is cut out of the line, not parsed: that these are the bytes which were stored, its
    anchor says.
    """
    # The context is the only place where this may stand unescaped, and it comes before.
    context_stop = line.rfind(b',"anchor":"')
    if context_stop < head.end():
        return None
    fields = parse_json(b"{" + line[context_stop + 1 :])
    fields |= {"t": float(head["t"]), "g": int(head["g"] or 0), "key": head["key"].decode()}
    if head["value"] is not None:
        fields["value"] = head["value"].decode()
    return PutRecord.decode(fields, hasher, line[head.end() : context_stop])


def decode_record(fields: Mapping[str, Any], hasher: Hasher) -> Record:
    """The record of a parsed JSON object; `n`, `d` and `c` are the caller's.

    `RecordFormatError` for what is none, `UnknownOperationError` for a later version's operation.
    That anchors are right is for `verify` and the loader to see.
    """
    op = fields.get("op")
    if not isinstance(op, str) or op not in OPERATIONS:
        raise UnknownOperationError(f"operation {op!r}")
    try:
        return OPERATIONS[op].decode(fields, hasher)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise RecordFormatError(f"not a {op} record: {type(exc).__name__}: {exc}") from exc


def parse_object(text: bytes | str) -> dict[str, Any]:
    """The JSON object of one log line."""
    fields = parse_json(text)
    if not isinstance(fields, dict):
        raise RecordFormatError("not a JSON object")
    return fields
