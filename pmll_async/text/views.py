"""Asking for texts: what text memory and a view of its past have in common."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Final

from pmll_async.errors import InvalidInputError, LineNotFoundError, UnknownFieldError
from pmll_async.integrity.guard import Guard, Guarded
from pmll_async.integrity.lifetime import PINNED
from pmll_async.integrity.source import Source
from pmll_async.protocols import AsyncEmbedder, Embedder
from pmll_async.text.agreement import Agreement
from pmll_async.text.batcher import EmbeddingBatcher
from pmll_async.text.context import Count, ReadyContext, by_turns, ready
from pmll_async.text.index.keeper import TextIndexer
from pmll_async.text.index.rows import FACTS, Said, said_in
from pmll_async.text.presets import Preset
from pmll_async.text.recall import Recall, recall, recent
from pmll_async.text.results import Anchored, Recollection, anchor_of, recollected
from pmll_async.values import checks
from pmll_async.values.concert import Float32
from pmll_async.values.filters import Filter
from pmll_async.values.moments import Moment
from pmll_async.values.where import narrowed
from pmll_async.views import Readable, Survey, Where

_OWN: Final = frozenset(f"{FACTS}.{name}" for name in Said._fields)
"""The fields that memory itself writes."""


@dataclass(frozen=True, slots=True, eq=False)
class RecallServices:
    """What an open text memory works with."""

    embedder: Embedder | AsyncEmbedder
    preset: Preset
    keeper: TextIndexer
    desk: EmbeddingBatcher


class Recalling(ABC):
    """Asking for texts, in one state of a lattice."""

    @abstractmethod
    async def _ready(self) -> RecallServices:
        """What an open memory works with."""

    @abstractmethod
    def _state(self) -> Readable:
        """The lattice or the view that is asked."""

    async def recall(
        self,
        question: str,
        k: int = 10,
        *,
        where: Where | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        neighbours: int = 0,
        min_score: float | None = None,
        branches: bool = False,
        explain: bool = False,
        preset: Preset | None = None,
        min_trust: float | None = None,
        min_sources: int | None = None,
        diversity: bool = False,
    ) -> list[Recollection]:
        """The best `k` texts for a question, by score, then the later; [] is a good answer.

        Scores are in [0, 1] and compare between questions; below `min_score` nothing is returned.
        `where` filters on contexts, what memory itself writes under `pmll`: `{"pmll.speaker":
        "Ann"}`. `since` and `until` (exclusive) bound when it was said. `neighbours` turns before
        and after come with each. `branches` brings in the losers of races. `explain` tells what
        each scorer gave, and of a field in `where` that no line has (`UnknownFieldError`). `preset`
        replaces the memory's own. With a `k` above 256 more lines are looked at, which may change
        the last digits of scores. The last three are those of `Lattice.query`; texts agree with one
        if they have all of its words.
        """
        guard = Guard.of(min_trust, min_sources, diversity=diversity)
        tools = await self._ready()
        chosen = tools.preset if preset is None else preset
        asked = Recall(
            question=text_of(question, "question"),
            k=checks.count(k, "k", 0),
            min_score=0.0 if min_score is None else checks.fraction(min_score, "min_score"),
            branches=checks.flag(branches, "branches"),
            neighbours=checks.count(neighbours, "neighbours", 0),
            explain=checks.flag(explain, "explain"),
        )
        matching = narrowed(where, since, until)
        # Before the state is taken, which may go on while a model thinks.
        vector = await _meaning(tools, chosen, question)
        survey = await self._state().survey()
        asked = replace(asked, vector=vector)

        async def ask(k: int, matching: Filter | None) -> list[Recollection]:
            return await _found(tools, survey, chosen, replace(asked, k=k), matching)

        agreement = Agreement(survey, tools.keeper, guard)
        if asked.explain and matching is not None:
            await survey.run(_refuse_unknown, survey, matching)
        guarded = Guarded(guard, ask, _source, _score, agreement.agreeing)
        return await guarded.best(asked.k, matching)

    async def recent(
        self,
        limit: int | None = 10,
        *,
        where: Where | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        min_trust: float | None = None,
    ) -> list[Recollection]:
        """The texts of the chain that were said last, the last first; all with `limit=None`.

        From `since` on and before `until`, where these are given.
        """
        tools = await self._ready()
        most = None if limit is None else checks.count(limit, "limit", 0)
        matching = Guard.of(min_trust).narrowed(narrowed(where, since, until))
        survey = await self._state().survey()
        fits = None if matching is None else await survey.rows(matching)
        found: list[Recollection] = await survey.run(recent, survey, tools.keeper, most, fits)
        return found

    async def context(
        self,
        question: str,
        budget: int = 2000,
        *,
        count: Count | None = None,
        k: int = 20,
        recent: int = 6,
        where: Where | None = None,
        min_score: float | None = None,
        min_trust: float | None = None,
        preset: Preset | None = None,
    ) -> ReadyContext:
        """What a prompt is to know for a question: dated, with anchors, fenced, within `budget`.

        First the pinned texts, oldest first: a prefix that stays what it is until one of them
        changes. Then of the best `k` and the `recent` newest as many as fit, in the order of their
        times, each saying once. `count` tells how many tokens a text has, in a worker thread; the
        default is an estimate. The same state and arguments give the same text.
        """
        most = checks.count(budget, "budget", 0)
        pinned = await self.recent(None, where=_also(where, PINNED), min_trust=min_trust)
        newest = await self.recent(recent, where=where, min_trust=min_trust)
        found = await self.recall(
            question, k, where=where, min_score=min_score, min_trust=min_trust, preset=preset
        )
        turns, state = by_turns(found, newest), self._state()
        lines = await asyncio.gather(*[state.get(turn.anchor) for turn in turns])
        places = {line.anchor: line.position or 0 for line in lines}
        run = (await state.survey()).call
        made: ReadyContext = await run(ready, pinned[::-1], turns, places, most, count)
        return made

    async def get(self, anchor: Anchored) -> Recollection:
        """The text of a line, also of one that was replaced, or is `forgotten`.

        `LineNotFoundError` if it has none.
        """
        anchor = anchor_of(anchor)
        line = await self._state().get(anchor)
        if said_in(line.context).text is None:
            raise LineNotFoundError(anchor, "text and the anchor")
        return recollected(line)


def _refuse_unknown(survey: Survey, matching: Filter) -> None:
    # A memory may have no speakers yet.
    for name in sorted(set(survey.unknown_fields(matching)) - _OWN):
        raise UnknownFieldError(name, "another name may be meant, or lines may get it later")


def _also(where: Where | None, other: Where) -> Where:
    return other if where is None else {"$and": [dict(where), dict(other)]}


async def _found(
    tools: RecallServices, survey: Survey, preset: Preset, asked: Recall, matching: Filter | None
) -> list[Recollection]:
    fits = None if matching is None else await survey.rows(matching)
    # A scorer of the user's may wait for other reads, and so may not hold a thread of theirs.
    run = survey.run if preset.is_built_in else survey.call
    asked = replace(asked, fits=fits)
    found: list[Recollection] = await run(recall, survey, tools.keeper, preset, asked)
    return found


def _source(found: Recollection) -> Source | None:
    return found.source


def _score(found: Recollection) -> float:
    return found.score


async def _meaning(tools: RecallServices, preset: Preset, question: str) -> Float32 | None:
    if not preset.uses(tools.embedder):
        return None
    # Not `told`: a question is nobody's saying yet.
    vector: Float32 = (await tools.desk.embed([question]))[0]
    return vector


def text_of(value: object, what: str) -> str:
    """A text that UTF-8 can carry."""
    if not isinstance(value, str):
        raise InvalidInputError(f"{what} is a text, not {type(value).__name__}")
    place = checks.lone_surrogate(value)
    if place is not None:
        raise InvalidInputError(
            f"{what} has a lone surrogate at {place}; decode it, or replace what cannot be read"
        )
    return str(value)
