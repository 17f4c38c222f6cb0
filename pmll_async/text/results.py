"""What text memory takes and gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pmll_async.integrity.source import Source, source_of
from pmll_async.text.index.rows import said_in
from pmll_async.values.contexts import RESERVED_KEY, FrozenDict
from pmll_async.values.lines import MemoryLine
from pmll_async.values.moments import Moment

if TYPE_CHECKING:
    from pydantic import JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """A text to remember, for `remember_many`; what `remember` takes as arguments."""

    text: str
    speaker: str | None = None
    session: str | None = None
    timestamp: Moment | None = None
    context: Mapping[str, JsonValue] = field(default_factory=dict)
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """The text is a line of the lattice, durably."""

    anchor: str


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Nothing was stored: the text is less new than `min_novelty` asked, and `of` is nearest."""

    of: str
    novelty: float

    @property
    def anchor(self) -> str:
        """The line that says it already."""
        return self.of


@dataclass(frozen=True, slots=True)
class Recollection:
    """A remembered text. `score` is the probability that it answers the question; without one 1.

    `timestamp` in seconds since the epoch. `context` is the caller's own. `given`, on request, is
    what each scorer added to the line's total, and what else its score depends on. `before` and
    `after` are the turns around it in its session, oldest first, as many as were asked for.
    `source` is who wrote it, None for the owner. A `forgotten` one comes from `get` alone.
    """

    anchor: str
    text: str
    speaker: str | None
    session: str | None
    timestamp: float
    score: float
    context: Mapping[str, JsonValue] = field(default_factory=FrozenDict)
    is_branch: bool = False
    given: Mapping[str, float] | None = None
    before: tuple[Recollection, ...] = ()
    after: tuple[Recollection, ...] = ()
    source: Source | None = None
    forgotten: bool = False

    def __hash__(self) -> int:
        return hash((self.anchor, self.score))


Anchored = str | Stored | Duplicate | Recollection
"""A text by its anchor, or by what `remember` or `recall` gave."""


def anchor_of(text: Anchored) -> str:
    """The anchor of the text's line."""
    return text.anchor if isinstance(text, Stored | Duplicate | Recollection) else text


def recollected(
    line: MemoryLine,
    score: float = 1.0,
    given: Mapping[str, float] | None = None,
    before: tuple[Recollection, ...] = (),
    after: tuple[Recollection, ...] = (),
) -> Recollection:
    """A line as text memory gives it back."""
    said = said_in(line.context)
    # What memory itself wrote is given as fields, and is not the caller's context.
    own = {name: value for name, value in line.context.items() if name != RESERVED_KEY}
    return Recollection(
        line.anchor,
        said.text or "",
        said.speaker,
        said.session,
        line.timestamp,
        score,
        FrozenDict(own),
        line.kind == "branch",
        None if given is None else FrozenDict(given),
        before,
        after,
        source_of(line.context),
        line.forgotten,
    )
