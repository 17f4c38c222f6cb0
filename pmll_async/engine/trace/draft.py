"""Drafts: a batch being decided, on top of the newest state and before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pmll_async.engine.ledger.ledger import Ledger
from pmll_async.engine.trace.novelty import BatchNovelty, Nearest
from pmll_async.errors import (
    ConflictError,
    LineNotFoundError,
    NotNovelError,
    PmllError,
    StaleAnchorError,
)
from pmll_async.loop.breathing import Breather
from pmll_async.protocols import Clock, Index
from pmll_async.records.blocks import KeyUse
from pmll_async.records.proposals import (
    DecayProposal,
    ForgetProposal,
    GroupProposal,
    Proposal,
    PutProposal,
    RaceProposal,
    RollbackProposal,
)
from pmll_async.records.record import (
    DecayRecord,
    ForgetRecord,
    LineContent,
    LineRecord,
    PutRecord,
    RaceRecord,
    Record,
    RollbackRecord,
)
from pmll_async.values.anchors import Hasher
from pmll_async.values.concert import novelty_of
from pmll_async.values.lines import CandidateScore, Kind

Answer = str | int | tuple[int, RaceRecord | None] | None
"""What a caller is told: an anchor, how many of a group were new, a race's number and record."""


class Draft:
    """Decides proposals in order; each adds its records or raises and adds nothing."""

    def __init__(
        self,
        ledger: Ledger,
        index: Index,
        hasher: Hasher,
        clock: Clock,
        contents: Sequence[LineContent],
        dim: int,
    ) -> None:
        self.records: list[Record] = []
        self._ledger, self._hasher, self._clock = ledger, hasher, clock
        self._snapshot = ledger.snapshot
        self._head = self._snapshot.head
        self._vectors = [content for content in contents if content.key]
        self._novelty = BatchNovelty(index, self._snapshot.columns, self._vectors, dim)
        self._place = 0
        self._anchors: dict[int, str] = {}
        self._lines: dict[str, Kind] = {}
        self._keys: dict[str, KeyUse] = {}
        self._revised: set[str] = set()

    def decide(self, proposal: Proposal) -> Answer:
        """Turn one proposal into records."""
        place = self._place
        self._place += sum(1 for content in proposal.contents if content.key)
        match proposal:
            case PutProposal():
                return self._put(proposal, place)
            case GroupProposal():
                return self._group(proposal, place)
            case RaceProposal():
                return self._race(proposal, place)
            case DecayProposal(anchor=anchor, factor=factor):
                self._check_present(anchor)
                self._append(DecayRecord(t=self._clock(), anchor=anchor, factor=factor))
            case ForgetProposal(anchor=anchor):
                self._check_present(anchor)
                self._append(ForgetRecord(t=self._clock(), anchor=anchor))
            case RollbackProposal(revision=revision):
                self._append(RollbackRecord(t=self._clock(), revision=revision))
        return None

    # --- puts ----------------------------------------------------------------------------------

    def _put(self, put: PutProposal, place: int) -> str:
        known = self._known_key(put.key, put.content.digests)
        if known is not None:
            return known.anchor
        self._check_head(put.prev_anchor)
        self._check_revisable(put.revises)
        kind: Kind = "line" if put.content.key else "note"
        nearest = self._novelty.nearest(place) if kind == "line" else Nearest()
        self._check_novel(put.min_novelty, nearest)
        line = self._line(put.content, kind, nearest, put.timestamp)
        record = PutRecord(t=self._clock(), line=line, revises=put.revises, key=put.key)
        self._append(record)
        self._chain(line, place if kind == "line" else None)
        return line.anchor

    def _group(self, group: GroupProposal, place: int) -> int:
        saved = self._save()
        first = len(self.records)
        try:
            breathe = Breather()
            for put in group.puts:
                breathe()
                self._put(put, place)
                place += 1 if put.content.key else 0
        except PmllError:
            self._restore(saved)
            raise
        new = self.records[first:]
        self.records[first:] = [
            replace(record, following=len(new) - 1 - i) for i, record in enumerate(new)
        ]
        return len(new)

    def _line(
        self, content: LineContent, kind: Kind, nearest: Nearest, timestamp: float | None
    ) -> LineRecord:
        return LineRecord(
            content=content,
            anchor=self._hasher.anchor(self._head, content.digests),
            prev_anchor=self._head,
            kind=kind,
            similarity=nearest.similarity,
            novelty=novelty_of(nearest.similarity) if kind != "note" else 0.0,
            timestamp=timestamp,
        )

    def _check_novel(self, min_novelty: float | None, nearest: Nearest) -> None:
        novelty = novelty_of(nearest.similarity)
        if min_novelty is None or novelty >= min_novelty:
            return
        if nearest.row is not None:
            anchor = self._snapshot.anchor(int(self._snapshot.ranked_lines[nearest.row]))
        else:
            anchor = self._anchors[nearest.place or 0]
        raise NotNovelError(novelty, min_novelty, anchor)

    # --- races ---------------------------------------------------------------------------------

    def _race(self, race: RaceProposal, place: int) -> tuple[int, RaceRecord | None]:
        known = self._keys.get(race.key) or self._snapshot.keys.get(race.key) if race.key else None
        if known is not None:
            if not known.race:
                raise ConflictError(known.key, known.anchor)
            return known.n, None
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
            key=race.key,
        )
        self._append(record)
        self._lines |= {line.anchor: line.kind for line in losers}
        self._chain(winner, place)
        return self._snapshot.revision + len(self.records) - 1, record

    # --- checks --------------------------------------------------------------------------------

    def _check_head(self, prev_anchor: str | None) -> None:
        if prev_anchor is not None and prev_anchor != self._head:
            raise StaleAnchorError(prev_anchor, self._head)

    def _known_key(self, key: str | None, digests: bytes) -> KeyUse | None:
        if key is None:
            return None
        known = self._keys.get(key) or self._snapshot.keys.get(key)
        if known is not None and known.content != digests:
            raise ConflictError(key, known.anchor)
        return known

    def _check_present(self, anchor: str) -> int | None:
        """The line that the anchor names in this state, None if this batch made it."""
        if anchor in self._lines:
            return None
        line = self._snapshot.find(anchor)
        if not self._snapshot.has(line):
            raise LineNotFoundError(anchor)
        return line

    def _check_revisable(self, revises: tuple[str, ...]) -> None:
        for anchor in revises:
            line = self._check_present(anchor)
            if anchor in self._revised or (line is not None and self._snapshot.revised[line]):
                raise StaleAnchorError(anchor, self._head, "is already revised")
            if line is not None and not self._snapshot.alive[line]:
                raise StaleAnchorError(anchor, self._head, "is forgotten")

    # --- what the batch has so far ---------------------------------------------------------------

    def _append(self, record: Record) -> None:
        key = record.idempotency_key
        if key is not None:
            line = record.lines[0]
            number = self._snapshot.revision + len(self.records)
            is_race = isinstance(record, RaceRecord)
            self._keys[key] = KeyUse(number, key, line.anchor, line.content.digests, is_race)
        self._revised |= {effect.anchor for effect in record.effects if effect.kind == "revise"}
        self.records.append(record)

    def _chain(self, line: LineRecord, place: int | None) -> None:
        self._head = line.anchor
        self._lines[line.anchor] = line.kind
        if place is not None:
            self._anchors[place] = line.anchor
            self._novelty.joined(place)

    def _save(self) -> _Saved:
        return _Saved(
            len(self.records),
            self._head,
            dict(self._lines),
            dict(self._keys),
            set(self._revised),
            self._novelty.count,
        )

    def _restore(self, saved: _Saved) -> None:
        del self.records[saved.records :]
        self._head, self._lines, self._keys = saved.head, saved.lines, saved.keys
        self._revised = saved.revised
        self._novelty.keep(saved.joined)


@dataclass(frozen=True, slots=True)
class _Saved:
    """The draft before a group, to return to when one of its puts is refused."""

    records: int
    head: str
    lines: dict[str, Kind]
    keys: dict[str, KeyUse]
    revised: set[str]
    joined: int
