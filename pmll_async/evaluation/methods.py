"""The ways of finding lines that are compared, by name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from pmll_async.lattice import Lattice
from pmll_async.loop.jobs import begin
from pmll_async.loop.workers import CALLS
from pmll_async.protocols import Embedder
from pmll_async.text import Part, Preset, Scorer, Search, TextMemory, scorers
from pmll_async.text.presets import ASSISTANT, DIALOGUE, NOTES
from pmll_async.values.concert import Concert, Float64

TURN: Final = "turn"
"""Where in a line's context the id of its turn stands."""
_RANK_CONSTANT: Final = 60  # as published, and as everybody uses it

Ask = Callable[[str, int], Awaitable[list[str]]]
"""The ids of the best k turns for a question, best first."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The folder of a lattice, the embedder of its texts, and when it is asked (epoch seconds)."""

    folder: Path
    embedder: Embedder
    now: float


Method = Callable[[Setting], AbstractAsyncContextManager[Ask]]


def recalling(preset: Preset) -> Method:
    """Text memory with a preset; it knows no now."""

    @asynccontextmanager
    async def method(setting: Setting) -> AsyncIterator[Ask]:
        async with TextMemory.open(setting.folder, setting.embedder, preset=preset) as memory:

            async def ask(question: str, k: int) -> list[str]:
                return [str(each.context[TURN]) for each in await memory.recall(question, k)]

            yield ask

    return method


def querying(concert: Concert) -> Method:
    """The lattice's own ranking for the vector of the question."""

    @asynccontextmanager
    async def method(setting: Setting) -> AsyncIterator[Ask]:
        async with Lattice.open(setting.folder, concert=concert) as lattice:

            async def ask(question: str, k: int) -> list[str]:
                vectors = await begin(CALLS, setting.embedder.embed, [question])
                lines = await lattice.query(vectors[0], k, now=setting.now)
                return [str(line.context[TURN]) for line in lines]

            yield ask

    return method


def by_rank(scorer: Scorer) -> Scorer:
    """1 / (60 + rank) by another scorer, and 0 where that one gives 0.

    The parts of reciprocal rank fusion: G. Cormack et al., SIGIR 2009.
    """

    def score(search: Search) -> Float64:
        points = scorer(search)
        # Ties have the order of the rows, the earlier first.
        ranks = np.empty(len(points))
        ranks[np.argsort(-points, kind="stable")] = np.arange(1, len(points) + 1)
        return np.where(points == 0, 0.0, 1 / (_RANK_CONSTANT + ranks))

    return score


def standardised(scorer: Scorer) -> Scorer:
    """Another scorer's points with mean 0 and deviation 1 over the candidates."""

    def score(search: Search) -> Float64:
        points = scorer(search)
        spread = float(points.std()) if len(points) else 0.0
        return (points - points.mean()) / spread if spread > 0 else np.zeros(len(points))

    return score


BM25: Final = scorers.lexical(k1=1.2, b=0.75)


def _both(name: str, wrapped: Callable[[Scorer], Scorer]) -> Preset:
    parts = (Part("bm25", wrapped(BM25)), Part("cosine", wrapped(scorers.dense()), meaning=True))
    return Preset(name, parts, spelling=True)


PRESETS: Final[Mapping[str, Preset]] = {
    preset.name: preset for preset in (DIALOGUE, NOTES, ASSISTANT)
}
"""Those of text memory."""
METHODS: Final[Mapping[str, Method]] = {
    **{name: recalling(preset) for name, preset in PRESETS.items()},
    "specification": querying(Concert()),
    "cosine": querying(Concert.cosine()),
    "bm25": recalling(Preset("bm25", (Part("bm25", BM25),))),
    "rrf": recalling(_both("rrf", by_rank)),
    "zsum": recalling(_both("zsum", standardised)),
}
"""The presets of text memory, then baselines: the specification's ranking, cosines alone, BM25
alone, and both by reciprocal rank fusion or as a sum of standardised scores."""
