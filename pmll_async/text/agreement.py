"""Agreement: which texts say all that another one says.

Not by cosine, which cannot tell a fact from the same sentence with another name or number in it: of
a claim every word must be there, but that its author thinks so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.integrity.guard import Guard, KnownRows, Voice, corroborated
from pmll_async.integrity.source import source_of
from pmll_async.loop.breathing import Breather
from pmll_async.text.embedders.hashing import FUNCTION_WORDS
from pmll_async.text.index.keeper import TextIndexer
from pmll_async.text.index.play import Play
from pmll_async.text.index.postings import Int32s, Int64s
from pmll_async.text.index.terms import terms
from pmll_async.text.results import Recollection
from pmll_async.values.filters import Filter
from pmll_async.views import Survey

_DENIALS: Final = ("no", "not", "t", "never", "neither", "nor", "without", "cannot")
"""What turns a claim round, however much else is the same; `t` is what "isn't" ends with."""
_DENYING: Final = frozenset(term for word in _DENIALS for term in terms(word))
_BUILDING: Final = frozenset(term for word in FUNCTION_WORDS for term in terms(word)) - _DENYING
"""What only builds a sentence; a claim is the rest."""
_OPINION: Final = re.compile(
    r"(?:^|(?<=[.!?;:]\s))[\"'(]?(?:I|we) (?:believe|guess|reckon|suppose|think)"
    r"\b(?! (?:about|in|not|of|over|so)\b)",
    re.IGNORECASE,
)
"""A frame that tells how sure somebody is, and not of what.

J. O. Urmson calls its verbs parenthetical (Mind 61, 1952). "I saw" and "I know" are none, because
they tell of something by themselves, and neither is any that no clause follows.
"""
_READ: Final = 64
"""Lines that are read to see whose they are; of more, filters find who else says it."""


class Agreement:
    """Asks of texts who else says all that they say, in one state."""

    def __init__(self, survey: Survey, keeper: TextIndexer, guard: Guard) -> None:
        self._survey, self._keeper, self._guard = survey, keeper, guard
        self._rows = KnownRows(survey.rows)

    async def agreeing(self, found: Sequence[Recollection]) -> list[bool]:
        """Which texts are trusted by themselves, or said by enough principals at first hand."""
        guard, survey = self._guard, self._survey
        texts = {each.text for each in found if not guard.stands_alone(each.source)}
        told: dict[str, Int64s | bool] = await survey.run(
            _sayings, survey, self._keeper, texts, guard.min_sources
        )
        return [await self._agrees(each, told.get(each.text, True)) for each in found]

    async def _agrees(self, found: Recollection, told: Int64s | bool) -> bool:
        if isinstance(told, bool):
            return told or self._guard.stands_alone(found.source)
        return await corroborated(self._guard, found.source, partial(self._another, told))

    async def _another(self, saying: Int64s, others: Filter) -> Voice | None:
        rows = np.intersect1d(saying, await self._rows(others), assume_unique=True)
        if not len(rows):
            return None
        line = await self._survey.run(self._survey.line, int(rows[0]))
        return Voice(source_of(line.context))


def share_said(claim: str, said: str) -> float:
    """How much of a claim's words a text has, 0 to 1.

    0 if the claim has a number that the text has not, or denies something where the text does not.
    """
    words, known = frozenset(terms(claim)), frozenset(terms(said))
    exact = {word for word in words if word[0].isdigit()} | (words & _DENYING)
    claimed = words - _BUILDING
    return len(claimed & known) / len(claimed) if claimed and exact <= known else 0.0


def _sayings(
    survey: Survey, keeper: TextIndexer, texts: Collection[str], least: int
) -> dict[str, Int64s | bool]:
    """Of each text whether so many say it; where they are many, the rows that do. Blocks."""
    keeper.follow(survey)
    play, breathe = keeper.play(survey, branches=False), Breather()
    told: dict[str, Int64s | bool] = {}
    for text in texts:
        breathe()
        rows = _rows_saying(play, frozenset(terms(_OPINION.sub(" ", text))))
        sources = [source_of(survey.line(row).context) for row in rows[:_READ].tolist()]
        at_first_hand = [each for each in sources if each is None or not each.parents]
        voices = {None if each is None else each.principal for each in at_first_hand}
        told[text] = len(voices) >= least if len(rows) <= _READ or len(voices) >= least else rows
    return told


def _rows_saying(play: Play, said: frozenset[str]) -> Int64s:
    """The rows that say all of it, and deny nothing that it does not."""
    # The rarest first, so that the rest has few rows to look at.
    claim = sorted(_posted(play, said - _BUILDING), key=len)
    if not claim:
        return np.empty(0, dtype=np.int64)
    rows: Int64s = claim[0][play.rows[claim[0]]].astype(np.int64)
    for posted in claim[1:]:
        rows = rows[_among(rows, posted)]
    for posted in _posted(play, _DENYING - said) if len(rows) else ():
        rows = rows[~_among(rows, posted)]
    return rows


def _among(rows: Int64s, posted: Int32s) -> NDArray[np.bool_]:
    """Which rows are among the posted ones; both ascend."""
    if not len(posted):
        return np.zeros(len(rows), dtype=np.bool_)
    places = np.minimum(np.searchsorted(posted, rows), len(posted) - 1)
    found: NDArray[np.bool_] = posted[places] == rows
    return found


def _posted(play: Play, wanted: frozenset[str]) -> list[Int32s]:
    """The rows that have each term that any row has."""
    postings = play.index.postings
    numbers = [number for term in wanted if (number := postings.number(term)) is not None]
    return [posted.rows for posted in postings.find(numbers, play.count)]
