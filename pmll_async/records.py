"""Records: the atomic entries of the log, as JSON lines and as digests (design, sections 4, 7).

A record is written twice from one list of fields: with its content in full for the log, and with
key, value and context replaced by their digests for `L_n`.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, NamedTuple

import numpy as np

from pmll_async.anchors import (
    Hasher,
    encode_bytes,
    encode_vector,
    is_anchor,
    leaf_digest,
)
from pmll_async.canonical import (
    canonical_json,
    canonical_number,
    canonical_string,
    parse_json,
    reencode_context,
)
from pmll_async.concert import exact_norm
from pmll_async.lines import CandidateFailure, CandidateScore, Kind

Fields = dict[str, str]
EffectKind = Literal["decay", "revise", "forget"]


class LineContent(NamedTuple):
    """What an anchor names: float32 little-endian bytes, canonical JSON, and D of each, joined.

    `norm` is the length of the key, 0 in a note.
    """

    key: bytes
    value: bytes
    context: bytes
    digests: bytes
    norm: float

    @classmethod
    def of(
        cls, hasher: Hasher, key: bytes, value: bytes, context: bytes, norm: float
    ) -> LineContent:
        """The content with its digests."""
        key_digest = hasher.digest(encode_vector(key))
        value_digest = key_digest if value == key else hasher.digest(encode_vector(value))
        context_digest = hasher.digest(encode_bytes(context))
        return cls(key, value, context, key_digest + value_digest + context_digest, norm)

    @property
    def size(self) -> int:
        """About the bytes that it takes in a log."""
        return (len(self.key) + len(self.value)) * 4 // 3 + len(self.context) + 256


class LineRecord(NamedTuple):
    """One line within a record; `timestamp` None stands for the record's time."""

    content: LineContent
    anchor: str
    prev_anchor: str
    kind: Kind
    similarity: float
    novelty: float
    timestamp: float | None = None
    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class Effect:
    """What a record does to an older line.

    `decay` and `revise` multiply its strength by `factor`; a line is revised only once. `forget`
    takes it out of every later query.
    """

    kind: EffectKind
    anchor: str
    factor: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The base of the five operations; `t` is the commit time in seconds.

    `following` counts the records after this one that belong to the same atomic group; like `n`,
    `d` and `c` it belongs to the writing and not to what was written, so no digest has it.
    """

    op: ClassVar[str]
    t: float
    following: int = 0

    @property
    def lines(self) -> tuple[LineRecord, ...]:
        """The lines it adds, the one on the chain first."""
        return ()

    @property
    def effects(self) -> tuple[Effect, ...]:
        """What it does to older lines, in order."""
        return ()

    @property
    def idempotency_key(self) -> str | None:
        """The key under which it is found again."""
        return None

    def fields(self, contents: Callable[[LineContent], Fields]) -> Fields:  # noqa: ARG002
        """Its JSON fields in the log's order as RFC 8785 text; `contents` writes contents."""
        return {"op": f'"{self.op}"', "t": canonical_number(self.t)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PutRecord(Record):
    """One line or note on the chain."""

    op: ClassVar[str] = "put"
    line: LineRecord
    revises: tuple[str, ...] = ()
    key: str | None = None

    @property
    def lines(self) -> tuple[LineRecord, ...]:
        """The line."""
        return (self.line,)

    @property
    def effects(self) -> tuple[Effect, ...]:
        """The revised lines fade by half."""
        return _revisions(self.revises)

    @property
    def idempotency_key(self) -> str | None:
        """The caller's key."""
        return self.key

    def fields(self, contents: Callable[[LineContent], Fields]) -> Fields:
        """See `Record.fields`."""
        fields = {"op": '"put"', "t": canonical_number(self.t)}
        fields |= _line_fields(self.line, contents)
        return _common_fields(fields, self.revises, self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceRecord(Record):
    """A winner on the chain, the losers as branches with strength `decay`, and the scores."""

    op: ClassVar[str] = "race"
    entries: tuple[LineRecord, ...]
    decay: float
    scores: tuple[CandidateScore, ...]
    failures: tuple[CandidateFailure, ...] = ()
    unfinished: tuple[str, ...] = ()
    revises: tuple[str, ...] = ()
    key: str | None = None

    @property
    def lines(self) -> tuple[LineRecord, ...]:
        """The winner, then the losers, best first."""
        return self.entries

    @property
    def effects(self) -> tuple[Effect, ...]:
        """The lines that the winner revises fade by half."""
        return _revisions(self.revises)

    @property
    def idempotency_key(self) -> str | None:
        """The race's key."""
        return self.key

    def fields(self, contents: Callable[[LineContent], Fields]) -> Fields:
        """See `Record.fields`."""
        fields = Record.fields(self, contents)
        lines = (_line_fields(line, contents) for line in self.entries)
        fields["lines"] = _array(_object(line, sort=False) for line in lines)
        fields["decay"] = canonical_number(self.decay)
        fields["scores"] = _array(
            f'[{canonical_string(score.name)},{canonical_number(score.score)},"{score.anchor}"]'
            for score in self.scores
        )
        if self.failures:
            fields["failures"] = _array(
                canonical_json([failure.name, failure.error, failure.message]).decode()
                for failure in self.failures
            )
        if self.unfinished:
            fields["unfinished"] = _strings(self.unfinished)
        return _common_fields(fields, self.revises, self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecayRecord(Record):
    """Strength × factor for one line."""

    op: ClassVar[str] = "decay"
    anchor: str
    factor: float

    @property
    def effects(self) -> tuple[Effect, ...]:
        """The fading, or with a factor above 1 the strengthening."""
        return (Effect("decay", self.anchor, self.factor),)

    def fields(self, contents: Callable[[LineContent], Fields]) -> Fields:
        """See `Record.fields`."""
        fields = Record.fields(self, contents)
        return fields | {"anchor": f'"{self.anchor}"', "factor": canonical_number(self.factor)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetRecord(Record):
    """One line leaves every later query."""

    op: ClassVar[str] = "forget"
    anchor: str

    @property
    def effects(self) -> tuple[Effect, ...]:
        """The forgetting."""
        return (Effect("forget", self.anchor),)

    def fields(self, contents: Callable[[LineContent], Fields]) -> Fields:
        """See `Record.fields`."""
        return Record.fields(self, contents) | {"anchor": f'"{self.anchor}"'}


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackRecord(Record):
    """The state after `revision` records is the lattice's again."""

    op: ClassVar[str] = "rollback"
    revision: int

    def fields(self, contents: Callable[[LineContent], Fields]) -> Fields:
        """See `Record.fields`."""
        return Record.fields(self, contents) | {"revision": str(self.revision)}


REVISION_FACTOR: Final = 0.5


def _revisions(anchors: tuple[str, ...]) -> tuple[Effect, ...]:
    return tuple(Effect("revise", anchor, REVISION_FACTOR) for anchor in anchors)


# --- writing -----------------------------------------------------------------------------------


def leaf(record: Record) -> bytes:
    """L_n: the digest of the record's canonical JSON with content replaced by D of it."""
    return leaf_digest(_leaf_json(record).encode())


def _leaf_json(record: Record) -> str:
    if isinstance(record, PutRecord):
        return _put_leaf_json(record)
    if isinstance(record, RaceRecord):
        fields = record.fields(_digests)
        lines = (_line_fields(line, _digests) for line in record.entries)
        fields["lines"] = _array(_object(line, sort=True) for line in lines)
        return _object(fields, sort=True)
    return _object(record.fields(_digests), sort=True)


def _put_leaf_json(put: PutRecord) -> str:
    """What sorting the fields of a put gives; half the time of it, on every put's way."""
    line, digests = put.line, put.line.content.digests.hex()
    key = "" if put.key is None else f'"idempotency_key":{canonical_string(put.key)},'
    revises = f'"revises":{_strings(put.revises)},' if put.revises else ""
    novelty = similarity = timestamp = ""
    if line.kind != "note":
        novelty = f'"novelty":{canonical_number(line.novelty)},'
        similarity = f'"similarity":{canonical_number(line.similarity)},'
    if line.timestamp is not None:
        timestamp = f'"timestamp":{canonical_number(line.timestamp)},'
    return (
        f'{{"anchor":"{line.anchor}","ctx":"{digests[128:]}",{key}"key":"{digests[:64]}",{novelty}'
        f'"op":"put","prev":"{line.prev_anchor}",{revises}{similarity}'
        f'"t":{canonical_number(put.t)},{timestamp}"value":"{digests[64:128]}"}}'
    )


def encode_record(record: Record, frame: str) -> str:
    """One JSON object: the fields of `frame` (such as `"n":0,"d":0,`), then the record's.

    The closing brace is left to the caller, who may add a checksum.
    """
    fields = record.fields(_contents)
    group = f'"g":{record.following},' if record.following else ""
    return f"{{{frame}{group}" + _joined(fields)


def _contents(content: LineContent) -> Fields:
    fields = {"key": f'"{_base64(content.key)}"'}
    # A value that is the key is left out: it would double the bytes of most records.
    if content.value != content.key:
        fields["value"] = f'"{_base64(content.value)}"'
    fields["ctx"] = content.context.decode()
    return fields


def _digests(content: LineContent) -> Fields:
    text = content.digests.hex()
    return {"key": f'"{text[:64]}"', "value": f'"{text[64:128]}"', "ctx": f'"{text[128:]}"'}


def _base64(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).decode("ascii")


def _line_fields(line: LineRecord, contents: Callable[[LineContent], Fields]) -> Fields:
    fields = contents(line.content)
    fields["anchor"] = f'"{line.anchor}"'
    fields["prev"] = f'"{line.prev_anchor}"'
    if line.kind != "note":
        fields["similarity"] = canonical_number(line.similarity)
        fields["novelty"] = canonical_number(line.novelty)
    if line.timestamp is not None:
        fields["timestamp"] = canonical_number(line.timestamp)
    return fields


def _common_fields(fields: Fields, revises: tuple[str, ...], key: str | None) -> Fields:
    if revises:
        fields["revises"] = _strings(revises)
    if key is not None:
        fields["idempotency_key"] = canonical_string(key)
    return fields


def _joined(fields: Fields) -> str:
    return ",".join([f'"{name}":{text}' for name, text in fields.items()])


def _object(fields: Fields, *, sort: bool) -> str:
    return "{" + _joined(dict(sorted(fields.items())) if sort else fields) + "}"


def _array(parts: Iterator[str]) -> str:
    return "[" + ",".join(parts) + "]"


def _strings(texts: Sequence[str]) -> str:
    return _array(canonical_string(text) for text in texts)


# --- reading -----------------------------------------------------------------------------------


class RecordFormatError(ValueError):
    """These bytes are no record; a store says where they are."""


class UnknownOperationError(ValueError):
    """A later version wrote this operation."""


def decode_record(fields: Mapping[str, Any], hasher: Hasher) -> Record:
    """The record of a parsed JSON object; `n`, `d` and `c` are the caller's.

    `RecordFormatError` for what is none, `UnknownOperationError` for a later version's operation.
    That anchors are right is for `verify` and the loader to see.
    """
    op = fields.get("op")
    if op not in _DECODERS:
        raise UnknownOperationError(f"operation {op!r}")
    try:
        return _DECODERS[op](fields, hasher)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise RecordFormatError(f"not a {op} record: {type(exc).__name__}: {exc}") from exc


def _frame(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"t": float(fields["t"]), "following": int(fields.get("g", 0))}


def _decode_put(fields: Mapping[str, Any], hasher: Hasher) -> Record:
    return PutRecord(
        **_frame(fields),
        line=_decode_line(fields, hasher, None),
        revises=tuple(fields.get("revises", ())),
        key=fields.get("idempotency_key"),
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
        unfinished=tuple(fields.get("unfinished", ())),
        revises=tuple(fields.get("revises", ())),
        key=fields.get("idempotency_key"),
    )


def _decode_line(
    fields: Mapping[str, Any], hasher: Hasher, branch_strength: float | None
) -> LineRecord:
    key = _unbase64(fields["key"])
    value = _unbase64(fields["value"]) if "value" in fields else key
    if value == key and "value" in fields:
        raise ValueError("a value that equals its key is left out")
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


def anchors_hold(record: Record, head: str, hasher: Hasher) -> bool:
    """Whether each line's anchor follows from `head` and the line's content."""
    return all(
        line.prev_anchor == head and hasher.anchor(head, line.content.digests) == line.anchor
        for line in record.lines
    )
