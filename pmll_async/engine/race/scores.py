"""Scores: what a race's candidates are worth, and its result as a proposal to the trace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic

import numpy as np

from pmll_async.engine.race.race import (
    CandidateFunction,
    Judge,
    RaceRun,
    ViewT,
    judge_all,
    run_race,
)
from pmll_async.errors import InvalidInputError
from pmll_async.records.proposals import Encoder, PutProposal, RaceEntry, RaceProposal
from pmll_async.values.concert import (
    Concert,
    Float32,
    clamp_cosine,
    exact_dots,
    exact_norm,
    novelty_of,
)
from pmll_async.values.lines import Candidate

_YIELD_EVERY: Final = 16
"""Candidates encoded between two turns of the event loop: about half a millisecond."""


@dataclass(frozen=True, slots=True, eq=False)
class RaceScoring(Generic[ViewT]):
    """Where one race is run: the view that all candidates see, and how they are scored.

    `nearest` gives for each key its largest cosine to a line of that view.
    """

    nearest: Callable[[list[Float32]], Awaitable[list[float]]]
    encoder: Encoder
    concert: Concert
    view: ViewT
    query: Float32 | None
    judge: Judge[ViewT] | None

    async def run(
        self,
        candidates: Sequence[CandidateFunction[ViewT]],
        decay: float,
        seconds: float | None,
    ) -> RaceProposal:
        """Run, score and rank the candidates; `NoWinnerError` if none is left."""
        puts: dict[int, PutProposal] = {}

        async def score(finished: list[Candidate]) -> list[float | Exception]:
            return await self._score(finished, puts)

        heat = await run_race(self.view, candidates, score=score, seconds=seconds)
        return _proposal(heat, puts, decay)

    async def _score(
        self, candidates: list[Candidate], puts: dict[int, PutProposal]
    ) -> list[float | Exception]:
        """Scores of those that can be lines, errors for the others, in the order given."""
        errors: dict[int, Exception] = {}
        for place, candidate in enumerate(candidates):
            try:
                puts[id(candidate)] = await self._encode(candidate)
            except (InvalidInputError, LookupError) as exc:
                errors[place] = exc
            if place % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)
        sound = [c for place, c in enumerate(candidates) if place not in errors]
        scores = iter(await self._score_sound(sound, puts) if sound else [])
        return [
            errors[place] if place in errors else next(scores) for place in range(len(candidates))
        ]

    async def _encode(self, candidate: Candidate) -> PutProposal:
        if candidate.idempotency_key is not None:
            raise InvalidInputError("a race has its own idempotency_key; its candidates have none")
        return await self.encoder.put(candidate)

    async def _score_sound(
        self, candidates: list[Candidate], puts: dict[int, PutProposal]
    ) -> list[float | Exception]:
        if self.judge is not None:
            return await judge_all(self.judge, candidates, self.view)
        if self.query is None:
            return [candidate.confidence for candidate in candidates]
        keys = [_key(puts[id(candidate)]) for candidate in candidates]
        weights = self._weights(self.query, keys, await self.nearest(keys))
        return [c.confidence * weight for c, weight in zip(candidates, weights, strict=True)]

    def _weights(self, query: Float32, keys: list[Float32], nearest: list[float]) -> list[float]:
        norms = np.array([exact_norm(key) for key in keys])
        similarities = clamp_cosine(exact_dots(np.stack(keys), query), norms, exact_norm(query))
        return [
            self.concert.weight(
                strength=1.0, recency=1.0, similarity=similarity, novelty=novelty_of(near)
            )
            for similarity, near in zip(similarities.tolist(), nearest, strict=True)
        ]


def _key(put: PutProposal) -> Float32:
    return np.frombuffer(put.content.key, dtype="<f4")


def _proposal(heat: RaceRun, puts: dict[int, PutProposal], decay: float) -> RaceProposal:
    """Best first; of equal contents, which would share an anchor, only the best."""
    places: dict[bytes, int] = {}
    ranked: list[PutProposal] = []
    for number in heat.ranking():
        put = puts[id(heat.entries[number].candidate)]
        if put.content.digests not in places:
            places[put.content.digests] = len(ranked)
            ranked.append(put)
    scores = tuple(
        (entry.name, entry.score, places[puts[id(entry.candidate)].content.digests])
        for entry in heat.entries
    )
    return RaceProposal(
        entries=tuple(RaceEntry(put.content, put.timestamp) for put in ranked),
        decay=decay,
        scores=scores,
        failures=heat.failures,
        unfinished=heat.unfinished,
        revises=ranked[0].revises,
    )
