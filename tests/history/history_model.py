"""A plain model of a lattice: every state kept whole, every question answered by looking at all."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pmll_async import Concert, ConflictError, LineNotFoundError, StaleAnchorError
from pmll_async.engine.ledger.snapshot import DORMANT_BELOW
from pmll_async.records.content import LineContent
from pmll_async.values.anchors import ROOT_ANCHOR, Hasher
from pmll_async.values.concert import (
    Float32,
    clamp_cosine,
    exact_dots,
    exact_norm,
    novelty_of,
    weighted_bias,
)
from pmll_async.values.contexts import encode_context


@dataclass(frozen=True)
class Given:
    """A line as a caller gives it; a note has no key."""

    key: Float32 | None
    value: Float32 | None
    context: dict[str, Any]
    timestamp: float | None = None
    revises: tuple[str, ...] = ()

    def content(self, hasher: Hasher) -> LineContent:
        key = b"" if self.key is None else self.key.tobytes()
        value = key if self.value is None else self.value.tobytes()
        norm = 0.0 if self.key is None else exact_norm(self.key)
        return LineContent.of(hasher, key, value, encode_context(self.context), norm)


@dataclass(frozen=True)
class Line:
    """What never changes about a line; `number` counts all lines ever, `record` its record."""

    number: int
    record: int
    anchor: str
    prev_anchor: str
    kind: str
    given: Given
    committed_at: float
    similarity: float
    novelty: float

    @property
    def timestamp(self) -> float:
        return self.committed_at if self.given.timestamp is None else self.given.timestamp

    @property
    def key(self) -> Float32:
        return np.empty(0, np.float32) if self.given.key is None else self.given.key

    @property
    def value(self) -> Float32:
        return self.key if self.given.value is None else self.given.value


@dataclass(frozen=True)
class KeyUse:
    line: Line
    digests: bytes
    is_race: bool


@dataclass
class State:
    """One state of the lattice; copied whole for the next."""

    committed_at: float = 0.0
    chain: list[Line] = field(default_factory=list)
    branches: list[Line] = field(default_factory=list)
    strengths: dict[int, float] = field(default_factory=dict)
    forgotten: set[int] = field(default_factory=set)
    revised: set[int] = field(default_factory=set)
    keys: dict[str, KeyUse] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    """Every line that there was by now, on the chain or not."""

    def copy(self) -> State:
        """Lines are shared, they never change."""
        names = ("chain", "branches", "strengths", "forgotten", "revised", "keys", "lines")
        return State(self.committed_at, *(copy.copy(getattr(self, name)) for name in names))

    @property
    def head(self) -> str:
        return self.chain[-1].anchor if self.chain else ROOT_ANCHOR

    def in_force(self, anchor: str) -> Line | None:
        """The line of this state with the anchor: on the chain or a branch."""
        found = [line for line in self.chain + self.branches if line.anchor == anchor]
        assert len(found) <= 1
        return found[0] if found else None

    def find(self, anchor: str) -> Line:
        """The line of this state with the anchor, else the newest that is in it no more."""
        found = self.in_force(anchor)
        if found is None:
            off = [line for line in self.lines if line.anchor == anchor]
            if not off:
                raise LineNotFoundError(anchor)
            found = off[-1]
        return found

    def required(self, anchor: str) -> Line:
        found = self.in_force(anchor)
        if found is None:
            raise LineNotFoundError(anchor)
        return found

    def position(self, line: Line) -> int | None:
        return self.chain.index(line) if line in self.chain else None

    def losers(self, line: Line) -> list[Line]:
        """The branches of the race that the line won, in or off this state."""
        return [
            other
            for other in self.lines
            if other.kind == "branch" and other.record == line.record and line.kind != "branch"
        ]

    def is_live(self, line: Line) -> bool:
        dormant = line.kind == "branch" and self.strengths[line.number] < DORMANT_BELOW
        return line.kind != "note" and line.number not in self.forgotten and not dormant


class Model:
    """States by revision, the newest last."""

    def __init__(self, dim: int, concert: Concert, window: int | None = None) -> None:
        self.states = [State()]
        self.dim, self.concert, self.window = dim, concert, window
        self._hasher = Hasher()

    @property
    def now(self) -> State:
        return self.states[-1]

    @property
    def revision(self) -> int:
        return len(self.states) - 1

    # --- writing -------------------------------------------------------------------------------

    def put(self, given: Given, t: float, key: str | None = None) -> str:
        content = given.content(self._hasher)
        known = self.now.keys.get(key or "")
        if key and known is not None:
            if known.digests != content.digests:
                raise ConflictError(key, known.line.anchor)
            return known.line.anchor
        revised = [self._revisable(anchor) for anchor in given.revises]
        state = self._next(t)
        line = self._line(given, "note" if given.key is None else "line", t)
        self._add(state, line, 1.0)
        if key:
            state.keys[key] = KeyUse(line, content.digests, is_race=False)
        self._revise(state, revised)
        self.states.append(state)
        return line.anchor

    def race(
        self, entries: Sequence[tuple[Given, float]], decay: float, t: float, key: str | None
    ) -> str:
        """Entries with their scores; those that fail are left out."""
        known = self.now.keys.get(key or "")
        if key and known is not None:
            if not known.is_race:
                raise ConflictError(key, known.line.anchor)
            return known.line.anchor
        unique: dict[bytes, Given] = {}
        for given, _ in sorted(entries, key=lambda entry: -entry[1]):
            unique.setdefault(given.content(self._hasher).digests, given)
        ranked = list(unique.values())
        revised = [self._revisable(anchor) for anchor in ranked[0].revises]
        state = self._next(t)
        lines = [
            self._line(given, "branch" if place else "line", t, place)
            for place, given in enumerate(ranked)
        ]
        for place, line in enumerate(lines):
            self._add(state, line, decay if place else 1.0)
        if key:
            digests = ranked[0].content(self._hasher).digests
            state.keys[key] = KeyUse(lines[0], digests, is_race=True)
        self._revise(state, revised)
        self.states.append(state)
        return lines[0].anchor

    def decay(self, anchor: str, factor: float, t: float) -> None:
        line, state = self.now.required(anchor), self._next(t)
        state.strengths[line.number] = clamped(state.strengths[line.number] * factor)
        self.states.append(state)

    def forget(self, anchor: str, t: float) -> None:
        line, state = self.now.required(anchor), self._next(t)
        state.forgotten.add(line.number)
        # What a key stands for is gone, so the key is free; a race's stands for its winner.
        state.keys = {key: use for key, use in state.keys.items() if use.line is not line}
        self.states.append(state)

    def rollback(self, revision: int, t: float) -> None:
        state = self.states[revision].copy()
        state.committed_at, state.lines = t, list(self.now.lines)
        self.states.append(state)

    def revision_at(self, point: str | int) -> int:
        return point if isinstance(point, int) else self.now.find(point).record + 1

    def _next(self, t: float) -> State:
        state = self.now.copy()
        state.committed_at = t
        return state

    def _line(self, given: Given, kind: str, t: float, place: int = 0) -> Line:
        state = self.now
        similarity = 0.0 if given.key is None else self._nearest(state, given.key)
        content = given.content(self._hasher)
        return Line(
            number=len(state.lines) + place,
            record=self.revision,
            anchor=self._hasher.anchor(state.head, content.digests),
            prev_anchor=state.head,
            kind=kind,
            given=given,
            committed_at=t,
            similarity=similarity,
            novelty=0.0 if kind == "note" else novelty_of(similarity),
        )

    @staticmethod
    def _add(state: State, line: Line, strength: float) -> None:
        (state.branches if line.kind == "branch" else state.chain).append(line)
        state.lines.append(line)
        state.strengths[line.number] = strength

    def _revisable(self, anchor: str) -> Line:
        line = self.now.required(anchor)
        if line.number in self.now.revised or line.number in self.now.forgotten:
            raise StaleAnchorError(anchor, self.now.head)
        return line

    @staticmethod
    def _revise(state: State, lines: list[Line]) -> None:
        for line in lines:
            state.revised.add(line.number)
            state.strengths[line.number] = clamped(state.strengths[line.number] * 0.5)

    def _nearest(self, state: State, key: Float32) -> float:
        live = [line for line in state.chain if state.is_live(line)]
        live = live if self.window is None else live[-self.window :]
        return max((cosine(line.key, key) for line in live), default=0.0)

    # --- reading -------------------------------------------------------------------------------

    def query(
        self,
        state: State,
        vector: Float32,
        k: int,
        now: float,
        *,
        floor: float | None = None,
        topic: str | None = None,
        branches: bool = True,
    ) -> list[dict[str, Any]]:
        lines = state.chain + (state.branches if branches else [])
        if topic is not None:
            lines = [line for line in lines if line.given.context.get("topic") == topic]
        least = self.concert.floor if floor is None else floor
        found = []
        for line in lines:
            if not state.is_live(line):
                continue
            similarity = cosine(line.key, vector)
            recency = self.concert.recency(line.timestamp, now)
            seen = self.seen(state, line, similarity, recency)
            if similarity >= least:
                found.append((-seen["weight"], -line.record, int(line.anchor, 16), seen))
        found.sort(key=lambda entry: entry[:3])
        return [seen for *_, seen in found[:k]]

    def bias(self, lines: list[dict[str, Any]]) -> Float32:
        values = [np.frombuffer(line["value"], np.float32) for line in lines]
        return weighted_bias([line["weight"] for line in lines], values, self.dim)

    def stored(self, state: State, line: Line) -> dict[str, Any]:
        """The line as `get` and `rewind` show it in a state."""
        recency = self.concert.recency(line.timestamp, line.committed_at)
        seen = self.seen(state, line, line.similarity, recency)
        return seen if line.kind != "note" else {**seen, "weight": 0.0}

    def seen(self, state: State, line: Line, similarity: float, recency: float) -> dict[str, Any]:
        # Off the state, a line has the strength that its last own state left it with.
        strength = state.strengths.get(line.number)
        weight = self.concert.weight(
            strength=0.0 if strength is None else strength,
            recency=recency,
            similarity=similarity,
            novelty=line.novelty,
        )
        return {
            "anchor": line.anchor,
            "prev_anchor": line.prev_anchor,
            "kind": line.kind,
            "position": state.position(line),
            "key": line.key.tobytes(),
            "value": line.value.tobytes(),
            "context": line.given.context,
            "timestamp": line.timestamp,
            "committed_at": line.committed_at,
            "recency": recency,
            "novelty": line.novelty,
            "similarity": similarity,
            "strength": strength,
            "weight": weight,
            "forgotten": line.number in state.forgotten,
        }


def clamped(strength: float) -> float:
    return min(1.0, max(0.0, strength))


def cosine(key: Float32, vector: Float32) -> float:
    norms = np.array([exact_norm(key)])
    return float(clamp_cosine(exact_dots(key[None], vector), norms, exact_norm(vector))[0])
