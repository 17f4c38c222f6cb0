"""Records, the atomic entries of the log, and those of them that add lines.

There is one class an operation. It says all that is particular to it: what it adds and changes, its
JSON in both directions, and which other proposals it may be decided with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Literal, Self

from pmll_async.records.content import (
    Fields,
    LineRecord,
    WriteContent,
    WriteVector,
    base64_text,
    content_fields,
    decode_line,
    digest_fields,
    joined,
    json_array,
    json_object,
    json_strings,
    line_fields,
    parse_frame,
    parse_key,
    parse_text,
)
from pmll_async.records.events import LinePut, RaceDecided, RecordEvent
from pmll_async.values.anchors import Hasher, leaf_digest
from pmll_async.values.contexts import canonical_json, canonical_number, canonical_string
from pmll_async.values.lines import CandidateFailure, CandidateScore

EffectKind = Literal["decay", "revise", "forget", "erase"]
Company = Literal["any", "forgets", "none"]
"""Proposals of one company share a batch; those of "none" have one each."""
PutTexts = tuple[str, str, str, str, str, str]
"""Of a put the time, and similarity, novelty, timestamp, revised lines and idempotency key as
fields, each with a comma behind it, or empty."""

PENDING: Final = 0.0
"""The time of a record that is not committed yet."""

REVISION_FACTOR: Final = 0.5
"""What a line keeps of its strength when another replaces it (design, section 5)."""


@dataclass(frozen=True, slots=True)
class LineEffect:
    """What a record does to an older line.

    `decay` and `revise` multiply its strength by `factor`; a line is revised only once. `forget`
    takes it out of every later query, `erase` out of every state; with the `factor` 0 it was hidden
    then, and so is what was derived from it.
    """

    kind: EffectKind
    anchor: str
    factor: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(ABC):
    """The base of the operations; `t` is the commit time in seconds.

    `following` counts the records after this one that belong to the same atomic group; like `n`,
    `d` and `c` it belongs to the writing and not to what was written, so no digest has it. `was` is
    the L_n of the record before more of it was erased than its lines' content.
    """

    op: ClassVar[str]
    company: ClassVar[Company] = "any"
    t: float
    following: int = 0
    was: bytes | None = None

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

    @property
    def has_erased(self) -> bool:
        """Whether something of it is erased."""
        return any(line.content.erased for line in self.lines)

    @abstractmethod
    def event(self, revision: int) -> RecordEvent:
        """What listeners are told of it; it led to `revision`."""

    @classmethod
    @abstractmethod
    def decode(cls, fields: Mapping[str, Any], hasher: Hasher) -> Self:
        """The record of parsed fields; any of several errors where they are none."""

    def erased(self, places: Collection[int]) -> Self:  # noqa: ARG002  # where it has lines
        """The record without the content of its lines at these places; its leaf stays the same."""
        return self

    def fields(self, write_content: WriteContent) -> Fields:  # noqa: ARG002  # where it has lines
        """Its fields in the log's order."""
        return {"op": f'"{self.op}"', "t": canonical_number(self.t)}

    def log_text(self, write_vector: WriteVector) -> str:
        """Its fields as the log has them, without braces."""
        return joined(self.fields(lambda content: content_fields(content, write_vector)))

    def leaf_text(self) -> str:
        """The canonical JSON that `L_n` is the digest of."""
        return json_object(self.fields(digest_fields), sort=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class PutRecord(Record):
    """One line or note on the chain.

    Puts, nearly all of a log, are written without a dict of fields: half the time, at every put.
    The texts that log and leaf share are made once.
    """

    op: ClassVar[str] = "put"
    line: LineRecord
    revises: tuple[str, ...] = ()
    idempotency_key: str | None = None
    _made: PutTexts | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def lines(self) -> tuple[LineRecord, ...]:
        """The line."""
        return (self.line,)

    @property
    def effects(self) -> tuple[LineEffect, ...]:
        """The revised lines fade by half."""
        return _revisions(self.revises)

    def event(self, revision: int) -> LinePut:
        """A line put."""
        return LinePut(revision, self.line.anchor, self.line.kind, self.revises)

    def erased(self, places: Collection[int]) -> PutRecord:
        """Nobody finds it by its idempotency key any more, which may tell of the content."""
        if not places:
            return self
        was = self.was if self.idempotency_key is None else leaf(self)
        return replace(self, line=self.line.erased(), idempotency_key=None, was=was)

    @classmethod
    def decode(
        cls, fields: Mapping[str, Any], hasher: Hasher, context: bytes | None = None
    ) -> PutRecord:
        """As `Record.decode`; `context` are its bytes where the caller has them."""
        return cls(
            **parse_frame(fields),
            line=decode_line(fields, hasher, None, context),
            revises=tuple(fields.get("revises", ())),
            idempotency_key=parse_key(fields),
        )

    def log_text(self, write_vector: WriteVector) -> str:
        """Key and context first, for whoever reads a log."""
        line, content = self.line, self.line.content
        t, similarity, novelty, timestamp, revises, key = self._texts()
        tail = f"{similarity}{novelty}{timestamp}{revises}{key}"[:-1]
        comma = "," if tail else ""
        frame = f'"anchor":"{line.anchor}","prev":"{line.prev_anchor}"{comma}{tail}'
        if content.erased:
            return f'"op":"put","t":{t},{joined(content_fields(content, write_vector))},{frame}'
        value = "" if content.value == content.key else f'"value":"{write_vector(content.value)}",'
        return (
            f'"op":"put","t":{t},"key":"{write_vector(content.key)}",{value}'
            f'"ctx":{content.context.decode()},{frame}'
        )

    def leaf_text(self) -> str:
        """What sorting its fields would give."""
        line = self.line
        return put_leaf_text(line.anchor, line.prev_anchor, line.content.digests, self._texts())

    def _texts(self) -> PutTexts:
        """The time, and the fields that a put may lack, each with a comma behind it."""
        if self._made is not None:
            return self._made
        line = self.line
        similarity = novelty = timestamp = revises = key = ""
        if line.kind != "note":
            similarity = f'"similarity":{canonical_number(line.similarity)},'
            novelty = f'"novelty":{canonical_number(line.novelty)},'
        if line.timestamp is not None:
            timestamp = f'"timestamp":{canonical_number(line.timestamp)},'
        if self.revises:
            revises = f'"revises":{json_strings(self.revises)},'
        if self.idempotency_key is not None:
            key = f'"idempotency_key":{canonical_string(self.idempotency_key)},'
        made = canonical_number(self.t), similarity, novelty, timestamp, revises, key
        object.__setattr__(self, "_made", made)
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceRecord(Record):
    """A winner on the chain, the losers as branches with strength `decay`, and the scores.

    `entries` are the winner, then the losers, best first.
    """

    op: ClassVar[str] = "race"
    entries: tuple[LineRecord, ...]
    decay: float
    scores: tuple[CandidateScore, ...]
    failures: tuple[CandidateFailure, ...] = ()
    unfinished: tuple[str, ...] = ()
    revises: tuple[str, ...] = ()
    idempotency_key: str | None = None

    @property
    def lines(self) -> tuple[LineRecord, ...]:
        """The entries."""
        return self.entries

    @property
    def effects(self) -> tuple[LineEffect, ...]:
        """The lines that the winner revises fade by half."""
        return _revisions(self.revises)

    def event(self, revision: int) -> RaceDecided:
        """A race decided."""
        winner, *losers = [line.anchor for line in self.entries]
        return RaceDecided(revision, winner, tuple(losers), self.revises)

    def erased(self, places: Collection[int]) -> RaceRecord:
        """Without its winner nobody finds the race, nor what was told of those who failed."""
        entries = [
            line.erased() if place in places else line for place, line in enumerate(self.entries)
        ]
        if 0 not in places:
            return replace(self, entries=tuple(entries))
        return replace(
            self,
            entries=tuple(entries),
            failures=(),
            unfinished=(),
            idempotency_key=None,
            was=leaf(self),
        )

    @classmethod
    def decode(cls, fields: Mapping[str, Any], hasher: Hasher) -> RaceRecord:
        """A loser's strength is the race's decay."""
        decay = float(fields["decay"])
        winner, *losers = fields["lines"]
        entries = [
            decode_line(winner, hasher),
            *(decode_line(loser, hasher, decay) for loser in losers),
        ]
        return cls(
            **parse_frame(fields),
            entries=tuple(entries),
            decay=decay,
            scores=tuple(
                CandidateScore(name=name, score=score, anchor=anchor)
                for name, score, anchor in fields["scores"]
            ),
            failures=tuple(
                CandidateFailure(name=name, error=error, message=message)
                for name, error, message in fields.get("failures", ())
            ),
            unfinished=tuple(map(parse_text, fields.get("unfinished", ()))),
            revises=tuple(fields.get("revises", ())),
            idempotency_key=parse_key(fields),
        )

    def fields(self, write_content: WriteContent, *, sort: bool = False) -> Fields:
        """As `Record.fields`; the lines within sorted, too, where wanted."""
        fields = Record.fields(self, write_content)
        fields["lines"] = json_array(
            json_object(line_fields(line, write_content), sort=sort) for line in self.entries
        )
        fields["decay"] = canonical_number(self.decay)
        fields["scores"] = json_array(
            f'[{canonical_string(score.name)},{canonical_number(score.score)},"{score.anchor}"]'
            for score in self.scores
        )
        if self.failures:
            fields["failures"] = json_array(
                canonical_json([failure.name, failure.error, failure.message]).decode()
                for failure in self.failures
            )
        if self.unfinished:
            fields["unfinished"] = json_strings(self.unfinished)
        if self.revises:
            fields["revises"] = json_strings(self.revises)
        if self.idempotency_key is not None:
            fields["idempotency_key"] = canonical_string(self.idempotency_key)
        return fields

    def leaf_text(self) -> str:
        """Canonical also within its lines."""
        return json_object(self.fields(digest_fields, sort=True), sort=True)


def put_leaf_text(anchor: str, prev_anchor: str, digests: bytes, texts: PutTexts) -> str:
    """The canonical JSON of a put, whose D of key, value and context are joined."""
    names = digests.hex()
    t, similarity, novelty, timestamp, revises, key = texts
    return (
        f'{{"anchor":"{anchor}","ctx":"{names[128:]}",{key}"key":"{names[:64]}",'
        f'{novelty}"op":"put","prev":"{prev_anchor}",{revises}{similarity}'
        f'"t":{t},{timestamp}"value":"{names[64:128]}"}}'
    )


def leaf(record: Record) -> bytes:
    """L_n: the digest of the record's canonical JSON with content replaced by D of it."""
    return record.was or leaf_digest(record.leaf_text().encode())


def record_text(record: Record, write_vector: WriteVector) -> str:
    """The record's fields as a log has them, without braces."""
    text = record.log_text(write_vector)
    return text if record.was is None else f'{text},"was":"{record.was.hex()}"'


def encode_record(record: Record, frame: str, write_vector: WriteVector = base64_text) -> str:
    """One JSON object: the fields of `frame` (such as `"n":0,"d":0,`), then the record's.

    The closing brace is left to the caller, who may add a checksum.
    """
    group = f'"g":{record.following},' if record.following else ""
    return f"{{{frame}{group}{record_text(record, write_vector)}"


def _revisions(anchors: tuple[str, ...]) -> tuple[LineEffect, ...]:
    if not anchors:
        return ()
    return tuple(LineEffect("revise", anchor, REVISION_FACTOR) for anchor in anchors)
