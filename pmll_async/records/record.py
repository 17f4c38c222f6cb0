"""Records: the atomic entries of the log, as JSON lines and as digests (design, sections 4, 7).

A record is written twice from one list of fields: with its content in full for the log, and with
key, value and context replaced by their digests for `L_n`.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, NamedTuple

from pmll_async.values.anchors import Hasher, encode_bytes, encode_vector, leaf_digest
from pmll_async.values.contexts import canonical_json, canonical_number, canonical_string
from pmll_async.values.lines import CandidateFailure, CandidateScore, Kind

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
class LineEffect:
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
    def effects(self) -> tuple[LineEffect, ...]:
        """What it does to older lines, in order."""
        return ()

    @property
    def idempotency_key(self) -> str | None:
        """The key under which it is found again."""
        return None

    def fields(self, contents: Callable[[LineContent], Fields]) -> Fields:  # noqa: ARG002  # a race's
        """Its JSON fields in the log's order as RFC 8785 text; `contents` writes contents.

        Puts, nearly all of a log, are written directly instead: see `_put_json`.
        """
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
    def effects(self) -> tuple[LineEffect, ...]:
        """The revised lines fade by half."""
        return _revisions(self.revises)

    @property
    def idempotency_key(self) -> str | None:
        """The caller's key."""
        return self.key


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
    def effects(self) -> tuple[LineEffect, ...]:
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
    def effects(self) -> tuple[LineEffect, ...]:
        """The fading, or with a factor above 1 the strengthening."""
        return (LineEffect("decay", self.anchor, self.factor),)

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
    def effects(self) -> tuple[LineEffect, ...]:
        """The forgetting."""
        return (LineEffect("forget", self.anchor),)

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


def _revisions(anchors: tuple[str, ...]) -> tuple[LineEffect, ...]:
    return tuple(LineEffect("revise", anchor, REVISION_FACTOR) for anchor in anchors)


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
    t, similarity, novelty, timestamp, revises, key = _put_texts(put)
    return (
        f'{{"anchor":"{line.anchor}","ctx":"{digests[128:]}",{key}"key":"{digests[:64]}",{novelty}'
        f'"op":"put","prev":"{line.prev_anchor}",{revises}{similarity}'
        f'"t":{t},{timestamp}"value":"{digests[64:128]}"}}'
    )


def _put_json(put: PutRecord) -> str:
    """What joining the fields of a put gives, likewise."""
    line, content = put.line, put.line.content
    t, similarity, novelty, timestamp, revises, key = _put_texts(put)
    value = "" if content.value == content.key else f'"value":"{_base64(content.value)}",'
    tail = f"{similarity}{novelty}{timestamp}{revises}{key}"[:-1]
    comma = "," if tail else ""
    return (
        f'"op":"put","t":{t},"key":"{_base64(content.key)}",{value}'
        f'"ctx":{content.context.decode()},"anchor":"{line.anchor}","prev":"{line.prev_anchor}"'
        f"{comma}{tail}"
    )


def _put_texts(put: PutRecord) -> tuple[str, str, str, str, str, str]:
    """The time, and the fields that a put may lack, each with a comma behind it."""
    line = put.line
    similarity = novelty = timestamp = revises = key = ""
    if line.kind != "note":
        similarity = f'"similarity":{canonical_number(line.similarity)},'
        novelty = f'"novelty":{canonical_number(line.novelty)},'
    if line.timestamp is not None:
        timestamp = f'"timestamp":{canonical_number(line.timestamp)},'
    if put.revises:
        revises = f'"revises":{_strings(put.revises)},'
    if put.key is not None:
        key = f'"idempotency_key":{canonical_string(put.key)},'
    return canonical_number(put.t), similarity, novelty, timestamp, revises, key


def encode_record(record: Record, frame: str) -> str:
    """One JSON object: the fields of `frame` (such as `"n":0,"d":0,`), then the record's.

    The closing brace is left to the caller, who may add a checksum.
    """
    group = f'"g":{record.following},' if record.following else ""
    if isinstance(record, PutRecord):
        return f"{{{frame}{group}{_put_json(record)}"
    return f"{{{frame}{group}{_joined(record.fields(_contents))}"


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
