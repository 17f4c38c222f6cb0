"""Records that add no line: what they do to older ones, or to the whole state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pmll_async.records.content import Fields, WriteContent, json_strings, parse_frame
from pmll_async.records.events import LineDecayed, LineForgotten, LinesErased, RolledBack
from pmll_async.records.record import Company, LineEffect, Record
from pmll_async.values.anchors import Hasher
from pmll_async.values.contexts import canonical_number


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChange(Record):
    """The base of operations on one older line."""

    anchor: str

    def fields(self, write_content: WriteContent) -> Fields:
        """The line's anchor."""
        return Record.fields(self, write_content) | {"anchor": f'"{self.anchor}"'}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecayRecord(LineChange):
    """Strength × factor for one line; above 1 it strengthens."""

    op: ClassVar[str] = "decay"
    factor: float

    @property
    def effects(self) -> tuple[LineEffect, ...]:
        """The fading."""
        return (LineEffect("decay", self.anchor, self.factor),)

    def event(self, revision: int) -> LineDecayed:
        """A line decayed."""
        return LineDecayed(revision, self.anchor, self.factor)

    @classmethod
    def decode(cls, fields: Mapping[str, Any], hasher: Hasher) -> DecayRecord:  # noqa: ARG003  # no lines
        """An anchor and a factor."""
        anchor, factor = fields["anchor"], float(fields["factor"])
        return cls(**parse_frame(fields), anchor=anchor, factor=factor)

    def fields(self, write_content: WriteContent) -> Fields:
        """An anchor and a factor."""
        fields = LineChange.fields(self, write_content)
        return fields | {"factor": canonical_number(self.factor)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetRecord(LineChange):
    """One line leaves every later query.

    Novelty looks at what is not forgotten, so that forgets are decided among themselves.
    """

    op: ClassVar[str] = "forget"
    company: ClassVar[Company] = "forgets"

    @property
    def effects(self) -> tuple[LineEffect, ...]:
        """The forgetting."""
        return (LineEffect("forget", self.anchor),)

    def event(self, revision: int) -> LineForgotten:
        """A line forgotten."""
        return LineForgotten(revision, self.anchor)

    @classmethod
    def decode(cls, fields: Mapping[str, Any], hasher: Hasher) -> ForgetRecord:  # noqa: ARG003  # no lines
        """An anchor."""
        return cls(**parse_frame(fields), anchor=fields["anchor"])


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseRecord(Record):
    """The content of lines is gone for good, from every state; `withheld` lines were hidden then.

    Novelty looks at what is not forgotten, so that it is decided with forgets.
    """

    op: ClassVar[str] = "erase"
    company: ClassVar[Company] = "forgets"
    anchors: tuple[str, ...]
    withheld: bool = False

    @property
    def effects(self) -> tuple[LineEffect, ...]:
        """The erasures."""
        factor = 0.0 if self.withheld else 1.0
        return tuple([LineEffect("erase", anchor, factor) for anchor in self.anchors])

    def event(self, revision: int) -> LinesErased:
        """Lines erased."""
        return LinesErased(revision, self.anchors)

    @classmethod
    def decode(cls, fields: Mapping[str, Any], hasher: Hasher) -> EraseRecord:  # noqa: ARG003  # no lines
        """Anchors, and whether the lines were hidden."""
        withheld = fields.get("withheld", False)
        return cls(
            **parse_frame(fields), anchors=tuple(fields["anchors"]), withheld=withheld is True
        )

    def fields(self, write_content: WriteContent) -> Fields:
        """Anchors, and whether the lines were hidden."""
        fields = Record.fields(self, write_content) | {"anchors": json_strings(self.anchors)}
        return fields | {"withheld": "true"} if self.withheld else fields


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackRecord(Record):
    """The state after `revision` records is the lattice's again."""

    op: ClassVar[str] = "rollback"
    company: ClassVar[Company] = "none"
    revision: int

    def event(self, revision: int) -> RolledBack:
        """A rollback."""
        return RolledBack(revision, self.revision)

    @classmethod
    def decode(cls, fields: Mapping[str, Any], hasher: Hasher) -> RollbackRecord:  # noqa: ARG003  # no lines
        """A revision."""
        return cls(**parse_frame(fields), revision=int(fields["revision"]))

    def fields(self, write_content: WriteContent) -> Fields:
        """A revision."""
        return Record.fields(self, write_content) | {"revision": str(self.revision)}
