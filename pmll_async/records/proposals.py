"""Proposals: what callers ask the trace to commit, checked and encoded in the caller's task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from pmll_async.records.record import LineContent
from pmll_async.values.lines import CandidateFailure


class PutProposal(NamedTuple):
    """One line or note. `timestamp` None stands for the commit's time."""

    content: LineContent
    timestamp: float | None = None
    prev_anchor: str | None = None
    revises: tuple[str, ...] = ()
    min_novelty: float | None = None
    key: str | None = None

    @property
    def contents(self) -> tuple[LineContent, ...]:
        """What is to be stored, in order."""
        return (self.content,)


@dataclass(frozen=True, slots=True)
class GroupProposal:
    """Puts that are stored all or none."""

    puts: tuple[PutProposal, ...]

    @property
    def contents(self) -> tuple[LineContent, ...]:
        """What is to be stored, in order."""
        return tuple(put.content for put in self.puts)


@dataclass(frozen=True, slots=True)
class RaceEntry:
    """A finished candidate as a line to be."""

    content: LineContent
    timestamp: float | None


@dataclass(frozen=True, slots=True)
class RaceProposal:
    """The result of a race: `entries` best first, `scores` in entry order with their entry."""

    entries: tuple[RaceEntry, ...]
    decay: float
    scores: tuple[tuple[str, float, int], ...]
    failures: tuple[CandidateFailure, ...]
    unfinished: tuple[str, ...]
    revises: tuple[str, ...] = ()
    prev_anchor: str | None = None
    key: str | None = None

    @property
    def contents(self) -> tuple[LineContent, ...]:
        """What is to be stored, the winner first."""
        return tuple(entry.content for entry in self.entries)

    def under(self, prev_anchor: str | None, key: str | None) -> RaceProposal:
        """The same, to be committed only on that head, and found again by that key."""
        return replace(self, prev_anchor=prev_anchor, key=key)


@dataclass(frozen=True, slots=True)
class DecayProposal:
    """Strength × factor for one line."""

    anchor: str
    factor: float

    contents: tuple[LineContent, ...] = ()


@dataclass(frozen=True, slots=True)
class ForgetProposal:
    """One line out of every later query."""

    anchor: str

    contents: tuple[LineContent, ...] = ()


@dataclass(frozen=True, slots=True)
class RollbackProposal:
    """Back to the state after `revision` records."""

    revision: int

    contents: tuple[LineContent, ...] = ()


Proposal = (
    PutProposal | GroupProposal | RaceProposal | DecayProposal | ForgetProposal | RollbackProposal
)
