"""A search: one question in one state, as the scorers see it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.text.index.neighbours import NONE
from pmll_async.text.index.play import Play
from pmll_async.text.index.postings import Int32s, Int64s, Posted, either
from pmll_async.text.index.spelling import folded_words
from pmll_async.text.index.terms import QuestionTerms
from pmll_async.values.concert import Float32, Float64

# In fewer lines than that a word is not common because two of them have it.
_FEW: Final = 100
REACH: Final = 2
"""How many turns before and after a line count as its neighbours."""
# Of a form that repeats a term: enough to put the line first that is spelled so.
_CONFIRMS: Final = 0.25
SEEDS: Final = 256
"""So many of the best lines by words, and by meaning, are scored in full, with their neighbours."""


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """One term of the question: its postings among the rows in play, and its idf.

    `weight` is part of the idf: 1, and less for a form that only repeats another term.
    """

    number: int
    posted: Posted
    idf: float
    weight: float = 1.0


class Search:
    """What scorers may look at. Candidates are rows (n,) int64, ascending; scores are (n,).

    `mass` is the summed idf of the question's terms, also of those that no line holds: the most
    that a line could have in common with it. `total` is the sum of the parts before this one, and
    `given` what each of them gave by name. `count` is how many rows the state has; columns of
    `index` may go on with rows that came later. `cosines` float32 (count,) is None without a model
    of meaning.
    """

    def __init__(
        self,
        play: Play,
        question: str,
        asked: QuestionTerms,
        cosines: Float32 | None = None,
        seeds: int = SEEDS,
    ) -> None:
        self.play, self.index = play, play.index
        self.question, self.asked = question, asked
        self.cosines = cosines
        self.count = play.count
        self.wanted = self._wanted()
        held = sum(term.idf for term in self.wanted)
        missing = sum(map(self._weight, asked.wanted)) - sum(term.weight for term in self.wanted)
        self.mass = held + self._idf(1) * missing
        self.rows = self._candidates(seeds)
        self.total: Float64 = np.zeros(len(self.rows))
        self.given: dict[str, Float64] = {}

    # --- the question --------------------------------------------------------------------------

    def _wanted(self) -> list[Wanted]:
        found = self._posted()
        wanted = []
        for term in self.asked.wanted:
            forms = [form for form in (term, self.asked.wholes.get(term)) if form in found]
            if forms:
                number, posted = found[forms[0]]
                for form in forms[1:]:
                    posted = either(posted, found[form][1])
                weight = self._weight(term)
                idf = weight * self._idf(len(posted.rows))
                wanted.append(Wanted(number, posted, idf, weight))
        return wanted

    def _posted(self) -> dict[str, tuple[int, Posted]]:
        """The number and postings of each form that a row in play has."""
        postings = self.index.postings
        forms = dict.fromkeys([*self.asked.wanted, *self.asked.wholes.values()])
        numbers = {form: n for form in forms if (n := postings.number(form)) is not None}
        every = postings.find(list(numbers.values()), self.count)
        found = {}
        for (form, number), posted in zip(numbers.items(), every, strict=True):
            # Counted among the rows in play: a filter asks a smaller memory.
            kept = self.play.rows[posted.rows]
            if kept.any():
                in_play = Posted(posted.rows[kept], posted.counts[kept])
                found[form] = number, posted if kept.all() else in_play
        return found

    def _weight(self, term: str) -> float:
        return _CONFIRMS if term in self.asked.confirming else 1.0

    def _idf(self, frequency: int) -> float:
        size = max(self.play.size, _FEW)
        return float(np.log1p((size - frequency + 0.5) / (frequency + 0.5)))

    @property
    def rarest(self) -> float:
        """The idf of a term that one line holds: the greatest there is."""
        return self._idf(1)

    @property
    def timestamps(self) -> Float64:
        """When the candidates were said (n,), in seconds since the epoch."""
        return self.play.timestamps[self.rows]

    def best(self, most: int) -> Int64s:
        """The places of the best totals so far, best first; of equal ones those said earlier."""
        return np.lexsort((self.rows, self.timestamps, -self.total))[:most]

    @cached_property
    def named_speakers(self) -> frozenset[int]:
        """The numbers of the speakers in play whom the question names, if only by first name."""
        said = set(folded_words(self.question))
        return frozenset(
            number
            for word in said
            for number in self.play.speakers_with(word)
            if _names(said, folded_words(self.index.speakers[number]))
        )

    # --- the candidates ------------------------------------------------------------------------

    def _candidates(self, most: int) -> Int64s:
        """The rows nearest to the question by words and by meaning, and the turns around them."""
        near = [self._best_by_words(most)]
        if self.cosines is not None:
            near.append(
                _largest(
                    np.where(self.play.rows, self.cosines, -np.inf), self.play.timestamps, most
                )
            )
        seeds = np.concatenate(near)
        for step in self.play.neighbours:
            rows = seeds
            for _ in range(REACH):
                rows = self._stepped(step, rows)
                near.append(rows)
        candidates = np.unique(np.concatenate(near))
        candidates = candidates[candidates < self.count]
        return candidates[self.play.rows[candidates]]

    def _best_by_words(self, most: int) -> Int64s:
        sums = np.zeros(self.count, dtype=np.float32)
        for term in self.wanted:
            # Each row is once among a term's, so that nothing is lost in this sum.
            sums[term.posted.rows] += np.float32(term.idf)
        found = np.flatnonzero(sums)
        return found[_largest(sums[found], self.play.timestamps[found], most)]

    def _stepped(self, step: Int32s, rows: Int64s) -> Int64s:
        """The neighbours of rows; `count` stands for none, as for one that is not there yet."""
        known = rows < self.count
        found = np.full(len(rows), self.count, dtype=np.int64)
        found[known] = step[rows[known]]
        found[(found == NONE) | (found > self.count)] = self.count
        return found

    @cached_property
    def around(self) -> tuple[Int64s, ...]:
        """The candidates, the turns said one before and after them, and two; `count`: none.

        A neighbour outside the state or the filter counts as none.
        """
        found: list[Int64s] = [self.rows]
        steps = [self.rows, self.rows]
        for _ in range(REACH):
            steps = [
                self._stepped(self.play.neighbours.before, steps[0]),
                self._stepped(self.play.neighbours.after, steps[1]),
            ]
            found += steps
        return tuple(found)

    def spread(self, scores: Float64) -> tuple[Float64, ...]:
        """Scores of the candidates seen from `around`: 0 where there is no candidate."""
        # One place more, for the neighbours that are none.
        table = np.zeros(self.count + 1)
        table[self.rows] = scores
        return tuple(table[rows] for rows in self.around)

    @cached_property
    def counts(self) -> NDArray[np.float32]:
        """How often each wanted term (t,) occurs in `around` (2 · REACH + 1, n): (t, …)."""
        table = np.zeros(self.count + 1, dtype=np.float32)
        around = np.stack(self.around)
        counts = np.empty((len(self.wanted), *around.shape), dtype=np.float32)
        for place, term in enumerate(self.wanted):
            table[term.posted.rows] = term.posted.counts
            counts[place] = table[around]
            # Emptied by what filled it: a new table for each term would cost all rows.
            table[term.posted.rows] = 0.0
        return counts

    @cached_property
    def idfs(self) -> Float64:
        """The idf of each wanted term (t,)."""
        return np.array([term.idf for term in self.wanted])

    @cached_property
    def tokens(self) -> tuple[Int32s, Int64s]:
        """The candidates' terms one after the other, and where each candidate's begin (n + 1,)."""
        return self.index.postings.tokens_of(self.rows)

    def sums(self, weights: Float64) -> Float64:
        """Weights of the candidates' tokens summed by candidate, each as if it were alone."""
        bounds = self.tokens[1]
        held = bounds[1:] > bounds[:-1]
        sums = np.zeros(len(self.rows))
        # Differences of running sums would depend on what lies before.
        if held.any():
            sums[held] = np.add.reduceat(weights, bounds[:-1][held])
        return sums


def _names(said: set[str], name: list[str]) -> bool:
    # "Ann" names Ann Lee; "Lee" alone may be anybody's.
    return bool(name) and (name[0] in said or said.issuperset(name))


def _largest(scores: Float32, times: Float64, most: int) -> Int64s:
    """The places of the largest scores; of equal ones those said later, then the later."""
    if len(scores) <= most:
        return np.arange(len(scores))
    # A partition is linear in the rows, a sort is not; only ties need care.
    least = np.partition(scores, len(scores) - most)[len(scores) - most]
    above = np.flatnonzero(scores > least)
    equal = np.flatnonzero(scores == least)
    if len(equal) > most - len(above):
        equal = equal[np.lexsort((equal, times[equal]))]
    return np.concatenate([above, equal[len(equal) - (most - len(above)) :]])
