"""Parsing: records of their JSON objects, refusing whatever no version has written."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from pmll_async.records.record import (
    DecayRecord,
    ForgetRecord,
    LineContent,
    LineRecord,
    PutRecord,
    RaceRecord,
    Record,
    RollbackRecord,
)
from pmll_async.values.anchors import Hasher, is_anchor
from pmll_async.values.concert import exact_norm
from pmll_async.values.contexts import parse_json, reencode_context
from pmll_async.values.lines import CandidateFailure, CandidateScore

PUT_HEAD: Final = re.compile(
    rb'\{"n":[0-9]+,"d":[0-9]+,(?:"g":(?P<g>[0-9]+),)?"op":"put","t":(?P<t>[0-9.]+),'
    rb'"key":"(?P<key>[A-Za-z0-9+/=]*)",(?:"value":"(?P<value>[A-Za-z0-9+/=]*)",)?"ctx":'
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
    return _decode_put(fields, hasher, line[head.end() : context_stop])


def decode_record(fields: Mapping[str, Any], hasher: Hasher) -> Record:
    """The record of a parsed JSON object; `n`, `d` and `c` are the caller's.

    `RecordFormatError` for what is none, `UnknownOperationError` for a later version's operation.
    That anchors are right is for `verify` and the loader to see.
    """
    op = fields.get("op")
    if not isinstance(op, str) or op not in _DECODERS:
        raise UnknownOperationError(f"operation {op!r}")
    try:
        return _DECODERS[op](fields, hasher)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise RecordFormatError(f"not a {op} record: {type(exc).__name__}: {exc}") from exc


def _frame(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"t": float(fields["t"]), "following": int(fields.get("g", 0))}


def _decode_put(fields: Mapping[str, Any], hasher: Hasher, context: bytes | None = None) -> Record:
    return PutRecord(
        **_frame(fields),
        line=_decode_line(fields, hasher, None, context),
        revises=tuple(fields.get("revises", ())),
        key=_optional_text(fields.get("idempotency_key")),
    )


def _decode_race(fields: Mapping[str, Any], hasher: Hasher) -> Record:
    decay = float(fields["decay"])
    first, *rest = fields["lines"]
    losers = [_decode_line(line, hasher, decay) for line in rest]
    return RaceRecord(
        **_frame(fields),
        entries=(_decode_line(first, hasher, None), *losers),
        decay=decay,
        scores=tuple(
            CandidateScore(name=name, score=score, anchor=anchor)
            for name, score, anchor in fields["scores"]
        ),
        failures=tuple(
            CandidateFailure(name=name, error=error, message=message)
            for name, error, message in fields.get("failures", ())
        ),
        unfinished=tuple(_text(name) for name in fields.get("unfinished", ())),
        revises=tuple(fields.get("revises", ())),
        key=_optional_text(fields.get("idempotency_key")),
    )


def _optional_text(value: Any) -> str | None:
    return None if value is None else _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is wanted, not {type(value).__name__}")
    return value


def _decode_line(
    fields: Mapping[str, Any],
    hasher: Hasher,
    branch_strength: float | None,
    context: bytes | None = None,
) -> LineRecord:
    key = _unbase64(fields["key"])
    value = _unbase64(fields["value"]) if "value" in fields else key
    if value == key and "value" in fields:
        raise ValueError("a value that equals its key is left out")
    if context is None:
        context = reencode_context(fields["ctx"])
    vector = np.frombuffer(key, dtype="<f4")
    anchor, prev = fields["anchor"], fields["prev"]
    if not (is_anchor(anchor) and is_anchor(prev)):
        raise ValueError("anchors are 16 lower-case hex digits")
    return LineRecord(
        content=LineContent.of(hasher, key, value, context, exact_norm(vector)),
        anchor=anchor,
        prev_anchor=prev,
        kind="branch" if branch_strength is not None else "line" if key else "note",
        similarity=float(fields.get("similarity", 0.0)),
        novelty=float(fields.get("novelty", 0.0)),
        timestamp=None if "timestamp" not in fields else float(fields["timestamp"]),
        strength=1.0 if branch_strength is None else branch_strength,
    )


def _unbase64(text: str) -> bytes:
    raw = binascii.a2b_base64(text, strict_mode=True)
    if len(raw) % 4:
        raise ValueError("a vector is whole float32 numbers")
    return raw


def _decode_decay(fields: Mapping[str, Any], _: Hasher) -> Record:
    return DecayRecord(**_frame(fields), anchor=fields["anchor"], factor=float(fields["factor"]))


def _decode_forget(fields: Mapping[str, Any], _: Hasher) -> Record:
    return ForgetRecord(**_frame(fields), anchor=fields["anchor"])


def _decode_rollback(fields: Mapping[str, Any], _: Hasher) -> Record:
    return RollbackRecord(**_frame(fields), revision=int(fields["revision"]))


_DECODERS: Final[dict[Any, Callable[[Mapping[str, Any], Hasher], Record]]] = {
    "put": _decode_put,
    "race": _decode_race,
    "decay": _decode_decay,
    "forget": _decode_forget,
    "rollback": _decode_rollback,
}


def parse_object(text: bytes | str) -> dict[str, Any]:
    """The JSON object of one log line."""
    fields = parse_json(text)
    if not isinstance(fields, dict):
        raise RecordFormatError("not a JSON object")
    return fields
