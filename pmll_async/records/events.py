"""What each record did, as listeners are told; `revision` is the lattice's after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pmll_async.values.lines import Kind


@dataclass(frozen=True, slots=True)
class LinePut:
    """A line or note joined the chain; `revised` are the lines that it replaces."""

    revision: int
    anchor: str
    kind: Kind
    revised: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RaceDecided:
    """A race's winner joined the chain, its losers became branches."""

    revision: int
    winner: str
    losers: tuple[str, ...]
    revised: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LineDecayed:
    """A line's strength was multiplied by `factor`."""

    revision: int
    anchor: str
    factor: float


@dataclass(frozen=True, slots=True)
class LineForgotten:
    """A line left every later query."""

    revision: int
    anchor: str


@dataclass(frozen=True, slots=True)
class LinesErased:
    """The content of lines is gone for good."""

    revision: int
    anchors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The state after `to_revision` records is the lattice's again."""

    revision: int
    to_revision: int


RecordEvent: TypeAlias = (
    LinePut | RaceDecided | LineDecayed | LineForgotten | LinesErased | RolledBack
)
