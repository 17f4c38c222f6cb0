"""Proposals: what callers ask the trace to commit, checked and encoded in the caller's own task.

A proposal is generic in what its caller is told, so that a commit has that type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from numpy.typing import ArrayLike

from pmll_async.errors import InvalidInputError
from pmll_async.records.content import LineContent
from pmll_async.records.record import Company, RaceRecord, Record
from pmll_async.values import checks, moments
from pmll_async.values.anchors import Hasher
from pmll_async.values.contexts import encode_at_once, encode_in_turns
from pmll_async.values.lines import Candidate, CandidateFailure, Limits
from pmll_async.values.vectors import EMPTY, finite_norm, to_key, to_vector

if TYPE_CHECKING:
    from pydantic import JsonValue

AnswerT = TypeVar("AnswerT", covariant=True)  # noqa: PLC0105  # both a proposal's and its caller's


class Decider(Protocol):
    """Turns proposals into records, one by one; the contents before a proposal's are `place`."""

    def put(self, put: PutProposal, place: int) -> str:
        """The line's anchor."""

    def group(self, group: GroupProposal, place: int) -> int:
        """How many of the puts were new."""

    def race(self, race: RaceProposal, place: int) -> tuple[int, RaceRecord | None]:
        """The number of the race's record, and the record unless it was there before."""

    def change(self, change: ChangeProposal) -> None:
        """Nothing but that it is done."""


class Proposal(Protocol[AnswerT]):
    """One call's wish."""

    @property
    def company(self) -> Company:
        """What it shares a batch with."""

    @property
    def contents(self) -> tuple[LineContent, ...]:
        """What is to be stored, in order."""

    @property
    def vectors(self) -> int:
        """How many of the contents have vectors."""

    def decide(self, decider: Decider, place: int) -> AnswerT:
        """What its caller is told once the records are durable."""


class PutProposal(NamedTuple):
    """One line or note. `timestamp` None stands for the commit's time.

    A named tuple, which is made in a third of a frozen dataclass's time.
    """

    content: LineContent
    timestamp: float | None = None
    prev_anchor: str | None = None
    revises: tuple[str, ...] = ()
    min_novelty: float | None = None
    idempotency_key: str | None = None

    @property
    def company(self) -> Company:
        """What it shares a batch with."""
        return "any"

    @property
    def contents(self) -> tuple[LineContent, ...]:
        """What is to be stored, in order."""
        return (self.content,)

    @property
    def vectors(self) -> int:
        """1, of a note 0."""
        return 1 if self.content.key else 0

    def decide(self, decider: Decider, place: int) -> str:
        """Its anchor."""
        return decider.put(self, place)


@dataclass(frozen=True, slots=True)
class GroupProposal:
    """Puts that are stored all or none."""

    puts: tuple[PutProposal, ...]
    company: Company = "any"

    @property
    def contents(self) -> tuple[LineContent, ...]:
        """What is to be stored, in order."""
        return tuple([put.content for put in self.puts])

    @property
    def vectors(self) -> int:
        """How many of the puts are no notes."""
        return sum([put.vectors for put in self.puts])

    def decide(self, decider: Decider, place: int) -> int:
        """How many were new."""
        return decider.group(self, place)


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
    idempotency_key: str | None = None
    company: Company = "any"

    @property
    def contents(self) -> tuple[LineContent, ...]:
        """What is to be stored, the winner first."""
        return tuple(entry.content for entry in self.entries)

    @property
    def vectors(self) -> int:
        """All have some."""
        return len(self.entries)

    def under(self, prev_anchor: str | None, idempotency_key: str | None) -> RaceProposal:
        """The same, to be committed only on that head, and found again by that key."""
        return replace(self, prev_anchor=prev_anchor, idempotency_key=idempotency_key)

    def decide(self, decider: Decider, place: int) -> tuple[int, RaceRecord | None]:
        """The number of its record, and the record unless it was there before."""
        return decider.race(self, place)


@dataclass(frozen=True, slots=True)
class ChangeProposal:
    """What adds no line: the record itself, whose time is the commit's."""

    record: Record
    contents: tuple[LineContent, ...] = ()
    vectors: int = 0

    @property
    def company(self) -> Company:
        """What it shares a batch with."""
        return self.record.company

    def decide(self, decider: Decider, place: int) -> None:  # noqa: ARG002  # it has no contents
        """Nothing but that it is done."""
        decider.change(self)


class Encoder:
    """Makes contents for one lattice: its dimensions, its hashes, its limits."""

    def __init__(self, dim: int, value_dim: int, hasher: Hasher, limits: Limits) -> None:
        self.dim, self.value_dim = dim, value_dim
        self._hasher, self._most = hasher, limits.context_bytes

    async def line(
        self,
        key: ArrayLike,
        value: ArrayLike | None,
        context: Mapping[str, JsonValue] | None,
    ) -> LineContent:
        """The content of a line; refuses what can be none. Waits only if the context is large."""
        vector, norm = to_key(key, "key", self.dim)
        key_bytes = vector.tobytes()
        value_bytes = self._value(value, key_bytes)
        most = self._most
        encoded = encode_at_once(context, most) or await encode_in_turns(context, most)
        return LineContent.of(self._hasher, key_bytes, value_bytes, encoded, norm)

    async def note(self, context: Mapping[str, JsonValue] | None) -> LineContent:
        """The content of a note; waits only if the context is large."""
        most = self._most
        encoded = encode_at_once(context, most) or await encode_in_turns(context, most)
        return LineContent.of(self._hasher, b"", b"", encoded, 0.0)

    async def put(self, candidate: Candidate) -> PutProposal:
        """A candidate as a put; waits only if the context is large."""
        return PutProposal(
            await self.line(candidate.key, candidate.value, candidate.context),
            timestamp=moments.optional_moment(candidate.timestamp, "timestamp"),
            revises=checks.anchors(candidate.revises, "revises"),
            idempotency_key=checks.idempotency_key(candidate.idempotency_key),
        )

    def _value(self, value: ArrayLike | None, key: bytes) -> bytes:
        if value is None:
            if self.value_dim not in (0, self.dim):
                raise InvalidInputError(
                    f"value cannot be left out: keys have {self.dim} dimensions, "
                    f"values {self.value_dim}"
                )
            return key if self.value_dim else EMPTY.tobytes()
        vector = to_vector(value, "value", self.value_dim)
        finite_norm(vector, "value")
        encoded = vector.tobytes()
        # One object for equal bytes saves hashing and base64 of the second.
        return key if encoded == key else encoded
