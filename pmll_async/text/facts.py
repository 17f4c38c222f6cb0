"""Facts from conversations: what a model reads out of turns, checked and kept in order of time.

The model proposes. Whether a turn supports a fact, which of two is kept, and what replaces what are
decided here, by the words of the turns and by when they were said.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from pmll_async.errors import InvalidInputError, StaleAnchorError
from pmll_async.text.agreement import share_said
from pmll_async.text.results import Recollection, Utterance
from pmll_async.text.said import utterance
from pmll_async.text.views import text_of
from pmll_async.values import checks, moments
from pmll_async.values.contexts import StampedContext, stamp_also
from pmll_async.values.lines import Candidate
from pmll_async.values.moments import Moment
from pmll_async.views import LatticeView, Where

if TYPE_CHECKING:
    from pydantic import JsonValue

    from pmll_async.text.memory import TextMemory, TextWriter

_FACT: Final = "fact"
_READ: Final = "read"
_TURNS: Final[Where] = {
    "pmll.fact": {"$exists": False},
    # What was made of other lines, such as a summary, is no turn.
    "pmll.source.parents": {"$exists": False},
}
# A name and a verb of a sentence may come from who speaks, and from what was asked before.
_SUPPORTED: Final = 0.5
_DIGEST_BYTES: Final = 16

Reason: TypeAlias = Literal["unsupported", "older", "less trusted"]
"""Why a fact is kept back: no turn says it, a newer one stands, or one that is trusted more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What a model read out of turns: a sentence that names what it is about.

    `about` names the matter, such as "Ann's home", of which one fact at a time is true. `turns` are
    the anchors of those that say so. `timestamp`, in seconds or as a datetime, is when it came to
    be true, the time of the latest of them unless given. Of rivals the one of the most
    `confidence` is kept.
    """

    text: str
    about: str
    turns: Sequence[str]
    timestamp: Moment | None = None
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class KeptBack:
    """A fact that is stored in quarantine: recalled by nobody before it is released."""

    anchor: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Consolidated:
    """The turns that were stored or read, the facts of them, and what was kept back (anchors)."""

    turns: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    kept_back: tuple[KeptBack, ...] = ()

    def __add__(self, other: Consolidated) -> Consolidated:
        """What both did."""
        return Consolidated(
            self.turns + other.turns,
            self.facts + other.facts,
            self.kept_back + other.kept_back,
        )


Extract: TypeAlias = Callable[[Sequence[Recollection]], Awaitable[Iterable[Fact]]]
"""Asks a model what turns say; they are in order, with their anchors."""
Supports: TypeAlias = Callable[[Fact, Sequence[Recollection]], bool]
"""Whether the turns that a fact names say it."""
Message: TypeAlias = "str | Utterance | Mapping[str, JsonValue]"
"""A turn: also as chat APIs have it, `content` with a `role` or `name`, maybe with an `id`."""


def is_supported(fact: Fact, turns: Sequence[Recollection]) -> bool:
    """Whether half of its words are in the turns or their speakers' names, and all its numbers.

    A fact that denies something needs a turn that does.
    """
    said = " ".join(f"{turn.speaker or ''} {turn.text}" for turn in turns)
    return share_said(fact.text, said) >= _SUPPORTED


def utterances(messages: Iterable[Message]) -> list[Utterance]:
    """The utterances that messages are."""
    if isinstance(messages, str | Mapping):
        raise InvalidInputError("messages are several turns; of one: [message]")
    return [_utterance(each, number) for number, each in enumerate(messages, 1)]


def _utterance(given: object, number: int) -> Utterance:
    if not isinstance(given, Mapping):
        return utterance(given, number)
    text = given.get("content")
    if not isinstance(text, str):
        raise InvalidInputError(
            f"message {number} has no text as its content: leave it out, or pass an Utterance"
        )
    return Utterance(
        text=text,
        speaker=given.get("name") or given.get("role"),
        timestamp=given.get("timestamp"),
        idempotency_key=given.get("id"),
    )


def with_defaults(
    said: Utterance, session: str | None, context: Mapping[str, JsonValue] | None
) -> Utterance:
    """The utterance with a session and a context where it has none."""
    return replace(said, session=said.session or session, context=said.context or context or {})


async def unread(memory: TextMemory, where: Where | None) -> list[Recollection]:
    """The turns of which no facts were read yet, the oldest first."""
    matching: Where = _TURNS if where is None else {"$and": [dict(_TURNS), dict(where)]}
    known = await _read_before(memory)
    newest = await memory.recent(None, where=matching)
    return [turn for turn in reversed(newest) if turn.anchor not in known]


async def _read_before(memory: TextMemory) -> set[str]:
    """The anchors of the turns whose facts are stored."""
    notes = memory.lattice.rewind(where={f"pmll.{_READ}": True})
    contexts: list[Any] = [note.context async for note in notes]
    return {turn for context in contexts for turn in context["pmll"]["source"]["parents"]}


@dataclass(frozen=True, slots=True)
class Reading:
    """Reads facts out of turns and stores them, in the name of a principal.

    `carry` names what facts take of the contexts of their turns, such as whose they are.
    """

    memory: TextMemory
    extract: Extract
    supports: Supports
    principal: str
    carry: Sequence[str]

    async def all_of(self, turns: Iterable[Recollection], batch: int) -> Consolidated:
        """Read so many turns at a time, of one session and of what they carry."""
        groups: dict[str, list[Recollection]] = {}
        for turn in turns:
            of = _digest([turn.session, _carried(turn, self.carry)])
            groups.setdefault(of, []).append(turn)
        done = Consolidated()
        for group in groups.values():
            for first in range(0, len(group), batch):
                done += await self._read(group[first : first + batch])
        return done

    async def _read(self, turns: Sequence[Recollection]) -> Consolidated:
        """Store the facts of some turns, and that they were read."""
        facts = [_checked(fact) for fact in await self.extract(turns)]
        anchors = tuple(turn.anchor for turn in turns)
        settled: list[str | KeptBack] = []
        # What is true of a matter is read, compared and replaced by one task at a time.
        async with self.memory.lattice.lock("pmll facts"):
            for rivals in self._matters(facts, turns):
                settled += await self._settle(rivals)
        # Last: who is interrupted before it reads these turns again, and stores nothing twice.
        await self._writer(anchors).writer.note(
            stamp_also(None, {_READ: True}), idempotency_key=_key(self.principal, anchors)
        )
        kept = dict.fromkeys(each for each in settled if isinstance(each, str))
        kept_back = tuple(each for each in settled if isinstance(each, KeptBack))
        return Consolidated(anchors, tuple(kept), kept_back)

    def _matters(self, facts: Iterable[Fact], turns: Sequence[Recollection]) -> list[list[_Claim]]:
        """The facts of one matter and one time together; the earlier times first."""
        by_anchor = {turn.anchor: turn for turn in turns}
        own = _carried(turns[0], self.carry)
        claims = []
        for fact in facts:
            named = [by_anchor[turn] for turn in dict.fromkeys(fact.turns) if turn in by_anchor]
            is_said = bool(named) and self.supports(fact, named)
            when = max(turn.timestamp for turn in named or turns)
            # Of two users who share a lattice each has a home.
            slot = _digest([fact.about, own])
            context = stamp_also(own, {_FACT: {"about": fact.about, "slot": slot}})
            key = _digest([[*by_anchor], slot])
            given = moments.optional_moment(fact.timestamp, "timestamp")
            when = when if given is None else given
            claims.append(_Claim(fact, tuple(named), is_said, when, slot, context, key))
        matters = list(dict.fromkeys(claim.slot for claim in claims))
        claims.sort(key=lambda claim: (matters.index(claim.slot), claim.timestamp))
        groups = groupby(claims, key=lambda claim: (claim.slot, claim.timestamp))
        return [list(rivals) for _, rivals in groups]

    async def _settle(self, rivals: Sequence[_Claim]) -> list[str | KeptBack]:
        """The anchor of the fact that is true from now on, and those that are kept back."""
        done: list[str | KeptBack] = [
            await self._keep_back(claim, "unsupported") for claim in rivals if not claim.is_said
        ]
        said = [claim for claim in rivals if claim.is_said]
        while said:
            standing = await self._standing(said[0].slot)
            for claim in tuple(said):
                reason = claim.weaker_than(standing)
                if reason is not None:
                    said.remove(claim)
                    done.append(await self._keep_back(claim, reason))
            if said:
                try:
                    return [*done, await self._kept(said, standing)]
                except StaleAnchorError:
                    # Somebody else has replaced or forgotten what stood there.
                    continue
        return done

    async def _standing(self, slot: str) -> Recollection | None:
        found = await self.memory.recent(1, where={f"pmll.{_FACT}.slot": slot})
        return found[0] if found else None

    async def _kept(self, said: Sequence[_Claim], standing: Recollection | None) -> str:
        """The anchor of the surest, which replaces what stands; it may be what stands."""
        if standing is not None and _surest(said).says(standing.text):
            return standing.anchor
        revises = () if standing is None else (standing.anchor,)
        candidates = [
            await self._writer(claim.parents).candidate(
                claim.fact.text,
                timestamp=claim.timestamp,
                context=claim.context,
                confidence=claim.fact.confidence,
                revises=revises,
                name=claim.fact.about,
            )
            for claim in said
        ]
        outcome = await self.memory.lattice.race(
            [_proposing(candidate) for candidate in candidates],
            idempotency_key=_key(said[0].key, said[0].timestamp),
        )
        return outcome.winner.anchor

    async def _keep_back(self, claim: _Claim, reason: Reason) -> KeptBack:
        stored = await self._writer(claim.parents, quarantine=True).remember(
            claim.fact.text,
            timestamp=claim.timestamp,
            context=claim.context,
            idempotency_key=_key(claim.key, claim.timestamp, claim.fact.text),
        )
        return KeptBack(stored.anchor, reason)

    def _writer(self, parents: Iterable[str], *, quarantine: bool = False) -> TextWriter:
        writer = self.memory.as_writer(self.principal, quarantine=quarantine)
        return writer.derived_from(*parents)


@dataclass(frozen=True, slots=True)
class _Claim:
    """A fact with the turns that it is from; `slot` names its matter, `key` where it was read."""

    fact: Fact
    turns: tuple[Recollection, ...]
    is_said: bool
    timestamp: float
    slot: str
    context: StampedContext
    key: str

    @property
    def parents(self) -> tuple[str, ...]:
        return tuple(turn.anchor for turn in self.turns)

    def says(self, text: str) -> bool:
        return self.fact.text.casefold().split() == text.casefold().split()

    def weaker_than(self, standing: Recollection | None) -> Reason | None:
        """Why it does not replace what stands, if it does not."""
        if standing is None or self.says(standing.text):
            return None
        if self.timestamp < standing.timestamp:
            return "older"
        trust = min(map(_trust, self.turns))
        return "less trusted" if trust < _trust(standing) else None


def _surest(claims: Sequence[_Claim]) -> _Claim:
    return max(claims, key=lambda claim: claim.fact.confidence)


def _trust(said: Recollection) -> float:
    return 1.0 if said.source is None else said.source.trust


def _carried(turn: Recollection, names: Iterable[str]) -> dict[str, Any]:
    return {name: turn.context[name] for name in names if name in turn.context}


def _checked(fact: object) -> Fact:
    if not isinstance(fact, Fact):
        raise InvalidInputError(f"extract gives Facts, and not {type(fact).__name__}")
    if not text_of(fact.about, "about").strip():
        raise InvalidInputError(f"a fact is about something: {checks.shown(fact.text)}")
    moments.optional_moment(fact.timestamp, "timestamp")
    return fact


def _proposing(candidate: Candidate) -> Callable[[LatticeView], Awaitable[Candidate]]:
    async def propose(_: LatticeView) -> Candidate:
        return candidate

    return propose


def _key(*parts: object) -> checks.JournalKey:
    return checks.journal_key(f"facts/{_digest(parts)}")


def _digest(value: object) -> str:
    told = json.dumps(value, sort_keys=True, default=dict).encode("utf-8", "surrogatepass")
    return blake2b(told, digest_size=_DIGEST_BYTES).hexdigest()
