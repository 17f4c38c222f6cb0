"""Scorers: small functions from a search to one number a candidate.

Those that compare words give the share, 0 to 1, of what the question's words weigh, so that their
numbers mean the same for every question and store. Formulas: BM25 in S. Robertson and H. Zaragoza,
"The Probabilistic Relevance Framework", 2009.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from pmll_async.errors import InvalidInputError
from pmll_async.text.embedders.hashing import FUNCTION_WORDS
from pmll_async.text.index.postings import Int64s
from pmll_async.text.index.rows import ASKS, DATED
from pmll_async.text.index.spelling import folded_words
from pmll_async.text.index.terms import terms
from pmll_async.text.search import REACH, Search
from pmll_async.values.concert import Float64

Scorer = Callable[[Search], Float64]
"""Scores (n,) of a search's candidates; higher is better."""

# About ln(90): beyond some 90 terms a line gains nothing by its length.
_LONG: Final = 4.5
_FUNCTION_IDF: Final = 0.5  # of a function word in a phrase: a question does not look it up
# Capitalised words and numbers, but not the question's first word, which is always capitalised.
_NAMES: Final = re.compile(r"(?<!^)\b[^\W_a-z][^\W_]*")
_ASKS_WHEN: Final = re.compile(
    r"^\W*(?:in which|when|how long|since when|(?:what|which) (?:date|day|month|year|time))\b",
    re.IGNORECASE,
)
_NO_MASS: Final = 1e-9  # divides nothing by something, where no term weighs anything
# Cosines of float32 differ by that much when they mean the same.
_NO_SPREAD: Final = 1e-6
# Function words that the best lines share say nothing about what they share.
_NO_NEWS: Final = frozenset(term for word in FUNCTION_WORDS for term in terms(word))


def lexical(k1: float = 0.8, b: float = 0.15) -> Scorer:
    """The words that a line shares with the question: BM25 over the greatest possible BM25."""

    def score(search: Search) -> Float64:
        counts = search.counts[:, 0]
        relative = search.play.lengths[search.rows] / search.play.mean_length
        return _share(search, counts / (counts + k1 * (1 - b + b * relative)))

    return score


def window(k1: float = 0.8, fading: float = 0.6) -> Scorer:
    """The same for a line read together with the turns around it, which count less with distance.

    What is asked and what is answered share the words of the question.
    """

    def score(search: Search) -> Float64:
        counts = search.counts[:, 0].astype(np.float64)
        for step in range(1, REACH + 1):
            counts += fading**step * (search.counts[:, 2 * step - 1] + search.counts[:, 2 * step])
        return _share(search, counts / (counts + k1))

    return score


def _share(search: Search, saturations: Float64) -> Float64:
    # Not a matrix product, whose last bits depend on where in it a candidate stands.
    sums: Float64 = np.add.reduce(search.idfs[:, np.newaxis] * saturations, axis=0)
    return sums / max(search.mass, _NO_MASS)


def session(k1: float = 1.2, b: float = 0.5) -> Scorer:
    """BM25 of the whole session that a line is of, over the greatest possible."""

    def score(search: Search) -> Float64:
        sessions = search.index.session
        lengths = search.play.session_lengths
        size = len(lengths)
        held = np.count_nonzero(lengths)
        relative = 1 - b + b * lengths / max(1.0, lengths.sum() / max(1, held))
        scores, mass = np.zeros(size), 0.0
        for term in search.wanted:
            posted = term.posted
            named = sessions[posted.rows] >= 0
            counts = np.bincount(sessions[posted.rows[named]], posted.counts[named], minlength=size)
            frequency = np.count_nonzero(counts)
            idf = term.weight * np.log1p((held - frequency + 0.5) / (frequency + 0.5))
            scores += idf * counts / (counts + k1 * relative)
            mass += idf
        # Lines of no session look at the place behind the last, which holds a zero.
        own = sessions[search.rows]
        return np.where(
            own < 0, 0.0, np.append(scores, 0.0)[np.maximum(own, 0)] / max(mass, _NO_MASS)
        )

    return score


def phrases() -> Scorer:
    """Pairs of the question's words that stand side by side in the line, over the words' mass."""

    def score(search: Search) -> Float64:
        weights = _pair_weights(search)
        scores = np.zeros(len(search.rows))
        meant = {term for pair in weights for term in pair}
        # Sorted: sums of floats depend on their order, and that of a set is nobody's promise.
        for owner, found in sorted(_neighbouring(search, meant)):
            scores[owner] += weights.get(found, 0.0)
        return scores / max(search.mass, _NO_MASS)

    return score


def _pair_weights(search: Search) -> dict[tuple[int, int], float]:
    """The mean idf of the two terms of each of the question's pairs."""
    idfs = {term.number: term.idf for term in search.wanted}
    numbers = [
        tuple(search.index.postings.number(term) for term in pair) for pair in search.asked.pairs
    ]
    return {
        (first, second): (idfs.get(first, _FUNCTION_IDF) + idfs.get(second, _FUNCTION_IDF)) / 2
        for first, second in numbers
        if first is not None and second is not None
    }


def _neighbouring(search: Search, meant: set[int]) -> set[tuple[int, tuple[int, int]]]:
    """The candidates (by place) and pairs of the meant terms that stand side by side there."""
    tokens, bounds = search.tokens
    is_meant = np.zeros(len(search.index.postings.vocabulary), dtype=np.bool_)
    is_meant[list(meant)] = True
    held = is_meant[tokens]
    places = np.flatnonzero(held[:-1] & held[1:])
    owners = np.searchsorted(bounds, places, side="right") - 1
    # The last term of a line and the first of the next are no neighbours.
    within = bounds[owners + 1] > places + 1
    places, owners = places[within], owners[within]
    pairs = zip(tokens[places].tolist(), tokens[places + 1].tolist(), strict=True)
    return set(zip(owners.tolist(), pairs, strict=True))


def speaker() -> Scorer:
    """1 for what was said by the one speaker whom the question names."""

    def score(search: Search) -> Float64:
        if len(search.named_speakers) != 1:
            return np.zeros(len(search.rows))
        (named,) = search.named_speakers
        said: Float64 = (search.index.speaker[search.rows] == named).astype(np.float64)
        return said

    return score


def length() -> Scorer:
    """The logarithm of a line's length, to a bound: short turns seldom answer anything."""

    def score(search: Search) -> Float64:
        return np.minimum(np.log1p(search.play.lengths[search.rows]), _LONG) / _LONG

    return score


def feedback(lines: int = 5, added: int = 20) -> Scorer:
    """Pseudo-relevance feedback: the words of the best lines so far, asked for as well.

    A line gets the share, at most 1, that it has of what the added words weigh; one of the best
    gets nothing for what only itself brought in.
    """

    def score(search: Search) -> Float64:
        best = search.best(lines)
        told = _told(search, best)
        if not told.numbers.size:
            return np.zeros(len(search.rows))
        frequencies = search.play.frequencies[told.numbers]
        idfs = np.log1p((search.play.texts - frequencies + 0.5) / (frequencies + 0.5))
        gained = told.gains.sum(axis=0) * idfs
        chosen = _first(gained, told.numbers, search.index.postings.vocabulary)[:added]
        # Weights are shares of the best added word's: what counts is how they compare.
        unit = max(float(gained[chosen[0]]), _NO_MASS)
        weights = np.zeros(len(search.index.postings.vocabulary))
        weights[told.numbers[chosen]] = gained[chosen] / unit * idfs[chosen]
        mass = max(float(weights[told.numbers[chosen]].sum()), _NO_MASS)
        points = search.sums(weights[search.tokens[0]])
        own = told.gains[:, chosen] * idfs[chosen] ** 2 / unit
        # Else each of the best lines would confirm itself.
        points[best] -= own.sum(axis=1)
        return np.clip(points / mass, 0.0, 1.0)

    return score


def _first(gained: Float64, numbers: Int64s, vocabulary: Sequence[str]) -> Int64s:
    """The places of the terms by what they gained, then by their spelling."""
    # Not by their numbers, which tell in which order lines were stored.
    names = [vocabulary[number] for number in numbers.tolist()]
    return np.array(sorted(range(len(names)), key=lambda place: (-gained[place], names[place])))


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """The terms (t,) of the best lines, and what each line (lines, t) gives them."""

    numbers: Int64s
    gains: Float64


def _told(search: Search, best: Int64s) -> _Told:
    """What the best lines say beside the question's words, each by its total."""
    postings = search.index.postings
    tokens, bounds = postings.tokens_of(search.rows[best])
    known = [*(term.number for term in search.wanted), *map(postings.number, _NO_NEWS)]
    numbers, places = np.unique(tokens, return_inverse=True)
    counts = np.zeros((len(best), len(numbers)))
    np.add.at(counts, (np.repeat(np.arange(len(best)), np.diff(bounds)), places), 1.0)
    gains = np.maximum(search.total[best], 0.0)[:, np.newaxis] * counts / (counts + 0.8)
    news = ~np.isin(numbers, [number for number in known if number is not None])
    return _Told(numbers[news].astype(np.int64), gains[:, news])


def dense() -> Scorer:
    """Cosine of meaning, standardised over the lines in play; 0 without a model."""

    def score(search: Search) -> Float64:
        return _standardised(search)[search.rows]

    return score


def dense_window(fading: float = 0.5) -> Scorer:
    """The mean of `dense` over a line and the turns around it, which count less with distance."""

    def score(search: Search) -> Float64:
        table = np.append(_standardised(search), 0.0)
        there = np.append(search.play.rows, False)
        weights = np.repeat(fading ** np.arange(REACH + 1), [1] + [2] * REACH)
        sums, mass = np.zeros(len(search.rows)), np.zeros(len(search.rows))
        for rows, weight in zip(search.around, weights, strict=True):
            sums += weight * table[rows] * there[rows]
            mass += weight * there[rows]
        return sums / mass

    return score


def _standardised(search: Search) -> Float64:
    if search.cosines is None or not search.play.size:
        return np.zeros(search.count)
    cosines = search.cosines[search.play.rows].astype(np.float64)
    spread = float(cosines.std())
    if spread < _NO_SPREAD:
        return np.zeros(search.count)
    standardised: Float64 = (search.cosines - cosines.mean()) / spread
    return standardised


def neighbour(fading: float = 0.5) -> Scorer:
    """The better of the totals of the turns beside a line, fading with distance."""

    def score(search: Search) -> Float64:
        _, before, after, earlier, later = search.spread(np.maximum(search.total, 0.0))
        return np.maximum(before, after) + fading * np.maximum(earlier, later)

    return score


def echo(*parts: str) -> Scorer:
    """What the parts gave a line that itself asks: it has the question's words, not the answer."""

    def score(search: Search) -> Float64:
        return _given(search, parts) * _marked(search, ASKS)

    return score


def answering(*parts: str) -> Scorer:
    """What the parts gave the turn before a line, if that one asks: this may be the answer."""

    def score(search: Search) -> Float64:
        return search.spread(_given(search, parts) * _marked(search, ASKS))[1]

    return score


def _given(search: Search, parts: tuple[str, ...]) -> Float64:
    points = np.zeros(len(search.rows))
    for name in parts:
        if name not in search.given:
            raise InvalidInputError(f"no part before this one has the name {name!r}")
        points = points + search.given[name]
    return points


def _marked(search: Search, mark: int) -> Float64:
    marked: Float64 = (search.index.marks[search.rows] & mark > 0).astype(np.float64)
    return marked


def dated() -> Scorer:
    """1 for a line that speaks of a time, when the question asks for one."""

    def score(search: Search) -> Float64:
        if not _ASKS_WHEN.search(search.question):
            return np.zeros(len(search.rows))
        return _marked(search, DATED)

    return score


def entities() -> Scorer:
    """The names and numbers of the question that the line has, over the words' mass."""

    def score(search: Search) -> Float64:
        named = {
            term
            # Each once: a name may be that of tens of thousands of speakers.
            for word in set(_NAMES.findall(search.question))
            if not any(search.play.speakers_with(part) for part in folded_words(word))
            for term in terms(word)
        }
        vocabulary = search.index.postings.vocabulary
        scores = np.zeros(len(search.rows))
        for place, term in enumerate(search.wanted):
            if vocabulary[term.number] in named:
                scores += term.idf * (search.counts[place, 0] > 0)
        return scores / max(search.mass, _NO_MASS)

    return score


def newest(lines: int = 32, alike: float = 0.6) -> Scorer:
    """-1 for a line among the best so far of which a later one by the same speaker says nearly all.

    Nearly all: of the terms of both, the share `alike` is in each (Jaccard).
    """

    def score(search: Search) -> Float64:
        scores = np.zeros(len(search.rows))
        best = search.best(lines)
        # By when they were said, so that the later is behind.
        best = best[np.lexsort((search.rows[best], search.timestamps[best]))]
        tokens, bounds = search.index.postings.tokens_of(search.rows[best])
        distinct, places = np.unique(tokens, return_inverse=True)
        held = np.zeros((len(best), len(distinct)), dtype=np.float32)
        held[np.repeat(np.arange(len(best)), np.diff(bounds)), places] = 1.0
        shared = held @ held.T
        sizes = held.sum(axis=1)
        near = shared >= alike * (sizes[:, np.newaxis] + sizes - shared)
        # Two people who say the same do not replace each other.
        speakers = search.index.speaker[search.rows[best]]
        near &= speakers[:, np.newaxis] == speakers
        scores[best[np.triu(near, 1).any(axis=1)]] = -1.0
        return scores

    return score
