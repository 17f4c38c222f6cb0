"""Drafts: a batch being decided, on top of the newest state and before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pmll_async.engine.ledger.snapshot import Snapshot
from pmll_async.engine.trace.novelty import BatchNovelty, Nearest
from pmll_async.errors import (
    ConflictError,
    LineErasedError,
    LineNotFoundError,
    NotNovelError,
    PmllError,
    StaleAnchorError,
)
from pmll_async.loop.breathing import Breather
from pmll_async.protocols import Clock, Index
from pmll_async.records.blocks import KeyUse
from pmll_async.records.content import LineContent, LineRecord
from pmll_async.records.proposals import (
    AnswerT,
    ChangeProposal,
    GroupProposal,
    Proposal,
    PutProposal,
    RaceProposal,
)
from pmll_async.records.record import PutRecord, RaceRecord, Record
from pmll_async.values.anchors import Hasher
from pmll_async.values.concert import novelty_of
from pmll_async.values.lines import CandidateScore, Kind


@dataclass(slots=True)
class _Overlay:
    """What a batch has so far, on top of the newest state; its copy undoes a refused group.

    `anchors` are those of its lines on the chain, by their content's place in the batch.
    """

    head: str
    records: list[Record] = field(default_factory=list)
    anchors: dict[int, str] = field(default_factory=dict)
    lines: set[str] = field(default_factory=set)
    keys: dict[str, KeyUse] = field(default_factory=dict)
    revised: set[str] = field(default_factory=set)

    def copy(self) -> _Overlay:
        """Another that grows apart from this one."""
        return _Overlay(
            self.head,
            self.records.copy(),
            self.anchors.copy(),
            self.lines.copy(),
            self.keys.copy(),
            self.revised.copy(),
        )


class Draft:
    """Decides proposals in order; each adds its records or raises and adds nothing."""

    def __init__(
        self,
        snapshot: Snapshot,
        index: Index,
        hasher: Hasher,
        clock: Clock,
        contents: Sequence[LineContent],
        dim: int,
    ) -> None:
        self._snapshot, self._hasher, self._clock = snapshot, hasher, clock
        self._new = _Overlay(snapshot.head)
        vectors = [content for content in contents if content.key]
        self._novelty = BatchNovelty(index, snapshot.columns, vectors, dim, snapshot.novelty_window)
        self._place = 0

    @property
    def records(self) -> list[Record]:
        """What was decided so far."""
        return self._new.records

    def decide(self, proposal: Proposal[AnswerT]) -> AnswerT:
        """Turn one proposal into records."""
        place = self._place
        self._place += proposal.vectors
        return proposal.decide(self, place)

    # --- what a proposal may ask for -------------------------------------------------------------

    def put(self, put: PutProposal, place: int) -> str:
        """The line's anchor."""
        # What a put does not ask for is not looked at: a batch waits for each of its lines.
        if put.idempotency_key is not None:
            known = self._known_key(put.idempotency_key)
            if known is not None:
                if known.content != put.content.digests:
                    raise ConflictError(known.key, known.anchor)
                return known.anchor
        if put.prev_anchor is not None:
            self._check_head(put.prev_anchor)
        if put.revises:
            self._check_revisable(put.revises)
        if put.content.key:
            nearest = self._novelty.nearest(place)
            if put.min_novelty is not None:
                self._check_novel(put.min_novelty, nearest)
            line = self._line(put.content, "line", nearest, put.timestamp)
        else:
            line = self._line(put.content, "note", Nearest(), put.timestamp)
        self._append(
            PutRecord(
                t=self._clock(),
                line=line,
                revises=put.revises,
                idempotency_key=put.idempotency_key,
            )
        )
        self._chain(line, place if put.content.key else None)
        return line.anchor

    def group(self, group: GroupProposal, place: int) -> int:
        """How many of the puts were new."""
        before, joined = self._new.copy(), self._novelty.count
        first = len(self.records)
        try:
            breathe = Breather()
            for put in group.puts:
                breathe()
                self.put(put, place)
                place += 1 if put.content.key else 0
        except PmllError:
            self._new = before
            self._novelty.keep(joined)
            raise
        new = self.records[first:]
        self.records[first:] = [
            replace(record, following=len(new) - 1 - i) for i, record in enumerate(new)
        ]
        return len(new)

    def race(self, race: RaceProposal, place: int) -> tuple[int, RaceRecord | None]:
        """The number of its record, and the record unless it was there before."""
        if race.idempotency_key is not None:
            known = self._known_key(race.idempotency_key)
            if known is not None:
                if not known.race:
                    raise ConflictError(known.key, known.anchor)
                return known.n, None
        if race.prev_anchor is not None:
            self._check_head(race.prev_anchor)
        self._check_revisable(race.revises)
        nearest = [self._novelty.nearest(place + i) for i in range(len(race.entries))]
        lines = [
            self._line(entry.content, "line" if i == 0 else "branch", nearest[i], entry.timestamp)
            for i, entry in enumerate(race.entries)
        ]
        winner, losers = lines[0], [line._replace(strength=race.decay) for line in lines[1:]]
        record = RaceRecord(
            t=self._clock(),
            entries=(winner, *losers),
            decay=race.decay,
            scores=tuple(
                CandidateScore(name=name, score=score, anchor=lines[entry].anchor)
                for name, score, entry in race.scores
            ),
            failures=race.failures,
            unfinished=race.unfinished,
            revises=race.revises,
            idempotency_key=race.idempotency_key,
        )
        number = self._append(record)
        self._new.lines |= {line.anchor for line in losers}
        self._chain(winner, place)
        return number, record

    def change(self, change: ChangeProposal) -> None:
        """Nothing but that it is done."""
        effects = change.record.effects
        # What a rollback took off can be erased, too.
        erased = [effect.anchor for effect in effects if effect.kind == "erase"]
        for anchor, lines in zip(erased, self._snapshot.find_all(erased), strict=True):
            if not lines:
                raise LineNotFoundError(anchor)
        for effect in effects:
            if effect.kind != "erase":
                self._check_present(effect.anchor)
        self._append(replace(change.record, t=self._clock()))

    # --- lines -----------------------------------------------------------------------------------

    def _line(
        self, content: LineContent, kind: Kind, nearest: Nearest, timestamp: float | None
    ) -> LineRecord:
        head, similarity = self._new.head, nearest.similarity
        return LineRecord(
            content,
            self._hasher.anchor(head, content.digests),
            head,
            kind,
            similarity,
            novelty_of(similarity) if kind != "note" else 0.0,
            timestamp,
        )

    def _check_novel(self, min_novelty: float, nearest: Nearest) -> None:
        novelty = novelty_of(nearest.similarity)
        if novelty >= min_novelty:
            return
        if nearest.row is not None:
            anchor = self._snapshot.anchor(int(self._snapshot.ranked_lines[nearest.row]))
        else:
            anchor = self._new.anchors[nearest.place or 0]
        raise NotNovelError(novelty, min_novelty, anchor)

    def _append(self, record: Record) -> int:
        """The record's number."""
        new = self._new
        key, number = record.idempotency_key, self._snapshot.revision + len(new.records)
        if key is not None:
            line, is_race = record.lines[0], isinstance(record, RaceRecord)
            new.keys[key] = KeyUse(number, key, line.anchor, line.content.digests, is_race)
        for effect in record.effects:
            if effect.kind == "revise":
                new.revised.add(effect.anchor)
        new.records.append(record)
        return number

    def _chain(self, line: LineRecord, place: int | None) -> None:
        self._new.head = line.anchor
        self._new.lines.add(line.anchor)
        if place is not None:
            self._new.anchors[place] = line.anchor
            self._novelty.joined(place)

    # --- checks ----------------------------------------------------------------------------------

    def _check_head(self, prev_anchor: str) -> None:
        if prev_anchor != self._new.head:
            raise StaleAnchorError(prev_anchor, self._new.head)

    def _known_key(self, key: str) -> KeyUse | None:
        return self._new.keys.get(key) or self._snapshot.keys.get(key)

    def _check_present(self, anchor: str) -> int | None:
        """The line that the anchor names in this state, None if this batch made it."""
        if anchor in self._new.lines:
            return None
        line = self._snapshot.find(anchor)
        if not self._snapshot.has(line):
            raise LineNotFoundError(anchor)
        return line

    def _check_revisable(self, revises: tuple[str, ...]) -> None:
        head, revised = self._new.head, self._new.revised
        for anchor in revises:
            line = self._check_present(anchor)
            if line is not None and self._snapshot.lacks(line):
                raise LineErasedError(anchor)
            if anchor in revised or (line is not None and self._snapshot.revised[line]):
                raise StaleAnchorError(anchor, head, "is already revised")
            if line is not None and not self._snapshot.alive[line]:
                raise StaleAnchorError(anchor, head, "is forgotten")
