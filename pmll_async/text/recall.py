"""Recalling: one question in one state, answered in a worker thread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmll_async.errors import InvalidInputError
from pmll_async.text.index.keeper import TextIndexer
from pmll_async.text.index.neighbours import NONE
from pmll_async.text.index.play import Play
from pmll_async.text.index.postings import Int32s, Int64s
from pmll_async.text.index.terms import question_terms
from pmll_async.text.presets import FACTORS, Preset
from pmll_async.text.results import Recollection, recollected
from pmll_async.text.search import SEEDS, Search
from pmll_async.values.concert import Float32
from pmll_async.views import Survey


@dataclass(frozen=True, slots=True, eq=False)
class Recall:
    """A question as the caller put it; `vector` (dim,) where a model told what it means.

    `fits` are the index rows that its filter matches, where it has one.
    """

    question: str
    k: int
    min_score: float
    branches: bool
    neighbours: int
    explain: bool
    vector: Float32 | None = None
    fits: Int64s | None = None


def recall(
    survey: Survey, keeper: TextIndexer, preset: Preset, asked: Recall
) -> list[Recollection]:
    """The best lines for a question, by score, then the later. Blocks."""
    keeper.follow(survey)
    play = _play(survey, keeper, asked.fits, branches=asked.branches)
    wanted = question_terms(asked.question)
    cosines = _cosines(survey, asked.vector)
    search = Search(play, asked.question, wanted, cosines, max(SEEDS, asked.k))
    preset.weigh(search)
    strengths = survey.columns.strengths[search.rows]
    answered = preset.best(search)
    scores = preset.scores(search.total, answered) * strengths
    # Of equal scores the later text: it is the one that is still meant.
    best = np.lexsort((-search.rows, -search.timestamps, -scores))[: asked.k]
    found = []
    for place in best[scores[best] >= asked.min_score].tolist():
        row = int(search.rows[place])
        factors = float(strengths[place]), answered
        found.append(
            recollected(
                survey.line(row),
                float(scores[place]),
                _given(search, place, factors) if asked.explain else None,
                _turns(survey, play.neighbours.before, row, asked.neighbours, play.rows)[::-1],
                _turns(survey, play.neighbours.after, row, asked.neighbours, play.rows),
            )
        )
    return found


def _given(search: Search, place: int, factors: tuple[float, float]) -> dict[str, float]:
    """What each part gave a candidate, and what else its score depends on."""
    points = {name: float(given[place]) for name, given in search.given.items()}
    return points | dict(zip(FACTORS, factors, strict=True))


def recent(
    survey: Survey, keeper: TextIndexer, limit: int | None, fits: Int64s | None
) -> list[Recollection]:
    """The texts of the chain by when they were said, newest first. Blocks."""
    keeper.follow(survey)
    play = _play(survey, keeper, fits, branches=False)
    return [recollected(survey.line(row)) for row in play.newest(limit).tolist()]


def _play(survey: Survey, keeper: TextIndexer, fits: Int64s | None, *, branches: bool) -> Play:
    """Which rows have text, are live, not replaced by a newer line, and fit the filter."""
    play = keeper.play(survey, branches=branches)
    return play if fits is None else play.among(fits)


def _cosines(survey: Survey, vector: Float32 | None) -> Float32 | None:
    if vector is None:
        return None
    cosines = survey.cosines(vector)
    if cosines is None:
        raise InvalidInputError(
            "this lattice's index cannot tell all cosines, which recall by meaning needs: "
            "use the exact index, or a preset without `dense` parts"
        )
    return cosines


def _turns(
    survey: Survey, step: Int32s, row: int, most: int, in_play: NDArray[np.bool_]
) -> tuple[Recollection, ...]:
    """The turns that one gets to from a row, the nearest first."""
    turns: list[Recollection] = []
    while len(turns) < most:
        row = int(step[row])
        # The index may know turns that came after the state that is asked.
        if row == NONE or row >= len(in_play):
            break
        if in_play[row]:
            turns.append(recollected(survey.line(row)))
    return tuple(turns)
