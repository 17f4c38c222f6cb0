"""Evidence: what look-ups found, gathered and ranked.

Weights and limits were found on the development part of LoCoMo; docs/research.md says how and what
they bring.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pmll_async.text import FUNCTION_WORDS, Recollection, stem, words

POOL: Final = 100
"""How many of the texts found are kept from cycle to cycle, and the most that can be asked for."""
BEST: Final = 8
"""Words are learned from so many of the best."""
_LEARNED: Final = 5  # words: more would lead away from the question
_FLOOR: Final = 0.01  # keeps the logarithm of a score finite
_RAREST: Final = 3  # words of a text that tell how much it says
_READ: Final = 2_000  # characters of a text that tell what it is worth
# Beside 1 for the logarithm of what the look-ups gave.
_AGAIN, _FIRST_PERSON, _RARITY, _OPENS, _LENGTH = 0.25, 0.4, 0.3, 0.45, -0.25
_I: Final = re.compile(r"\b(?:I|my|we|our|I'm|I've)\b")


@dataclass(frozen=True, slots=True)
class Found:
    """A text that bears on the question; `anchor` is its line's.

    `score` in [0, 1] is the best that a look-up gave it. `fused` adds those of the first cycle up,
    by the weights of the look-ups; `again` is that of the learned words, 0 without them. `worth` is
    how likely such a text is evidence of anything. `why` has its place, from 1, in each look-up
    that found it.
    """

    anchor: str
    score: float
    fused: float
    again: float = 0.0
    worth: float = 0.0
    why: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """What it is ranked by."""
        return math.log(self.fused + _FLOOR) + _AGAIN * math.log(self.again + _FLOOR) + self.worth


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a run found, the best first, as anchors: texts can be erased, the journal cannot.

    `missing` are the words of the question that none of the look-ups' best texts says.
    `cited` are those on which the model says that its answer rests.
    """

    found: tuple[Found, ...] = ()
    missing: tuple[str, ...] = ()
    cited: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Finding(Recollection):
    """A text that bears on the question, with the score and the reason of its `Found`."""

    why: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rarity:
    """How rare the words of a memory are: in how many of `size` texts each stem is."""

    size: int
    frequencies: Counter[str]

    @classmethod
    def of(cls, texts: Sequence[Recollection]) -> Rarity:
        """Counted in these texts."""
        frequencies: Counter[str] = Counter()
        for each in texts:
            frequencies.update(stems_of(each.text))
        return cls(len(texts), frequencies)

    def __call__(self, term: str) -> float:
        """The idf of a stem; 0 of one that no text has, which may be a slip."""
        count = self.frequencies[term]
        return self._idf(count) if count else 0.0

    def weight(self, term: str) -> float:
        """As a question sees it: what nobody says is rarest."""
        return self._idf(self.frequencies[term])

    def _idf(self, count: int) -> float:
        return math.log1p((self.size - count + 0.5) / (count + 0.5))


def stems_of(text: str) -> frozenset[str]:
    """The stems of a text's words, as far as it is read."""
    # A text may be a book: its beginning tells what it is about.
    return frozenset(map(stem, words(text[:_READ])))


def worth(each: Recollection, rarity: Rarity) -> float:
    """How likely a text is evidence: it tells of its speaker, in rare words, and to the point.

    What opens a session often says what it is about. Asks `neighbours=1` of the recall.
    """
    said = words(each.text[:_READ])
    rarest = sorted(map(rarity, set(map(stem, said))), reverse=True)[:_RAREST]
    return (
        _FIRST_PERSON * bool(_I.search(each.text[:_READ]))
        + _RARITY * sum(rarest) / max(1, len(rarest))
        + _OPENS * (each.session is not None and not each.before)
        + _LENGTH * math.log1p(len(said))
    )


def coverage(
    content: Iterable[str], texts: Iterable[str], rarity: Rarity
) -> tuple[float, tuple[str, ...]]:
    """How much of the question's words the texts say, in [0, 1], rare ones counting more.

    Also those that they do not say. Words are compared by their stems.
    """
    said = frozenset[str]().union(*map(stems_of, texts))
    weights = {word: rarity.weight(stem(word)) for word in content}
    missing = tuple(word for word in weights if stem(word) not in said)
    total = sum(weights.values())
    share = 1 - sum(weights[word] for word in missing) / total if total else 1.0
    return max(0.0, share), missing


def gathered(
    pool: Iterable[Found], look_up: str, rows: Iterable[tuple[str, float, float]], weight: float
) -> tuple[Found, ...]:
    """The pool with what one more look-up found: rows of anchor, score and worth, best first.

    Weight 0 is that of learned words, which ask again.
    """
    known = {each.anchor: each for each in pool}
    for place, (anchor, score, its_worth) in enumerate(rows, 1):
        each = known.get(anchor, Found(anchor, 0.0, 0.0, worth=its_worth))
        known[anchor] = replace(
            each,
            score=max(each.score, score),
            # Six places are journaled: a score means no more.
            fused=round(each.fused + weight * score, 6),
            again=each.again if weight else max(each.again, score),
            why={**each.why, look_up: min(place, each.why.get(look_up, place))},
        )
    return tuple(known.values())


def best_of(pool: Iterable[Found]) -> tuple[Found, ...]:
    """The pool by what the look-ups gave, and no more than is kept."""
    order = sorted(pool, key=lambda each: (-each.fused, -each.again, each.anchor))
    return tuple(order[:POOL])


def ranked(pool: Iterable[Found], look_up: str, kept: int) -> list[Found]:
    """The pool, the best first; the `kept` best of one look-up stay in front."""

    def place(each: Found) -> tuple[float, float, str]:
        first = float(each.why.get(look_up, math.inf))
        return (first, 0.0, "") if first <= kept else (math.inf, -each.total, each.anchor)

    return sorted(pool, key=place)


def learned(
    best: Iterable[tuple[str, float]], known: Iterable[str], rarity: Rarity
) -> tuple[str, ...]:
    """Words that the best texts, each with its score, have beside the `known` ones.

    By the scores of the texts and the words' rarity.
    """
    asked = frozenset(map(stem, known))
    gain: defaultdict[str, float] = defaultdict(float)
    spelled: dict[str, str] = {}
    for text, score in best:
        said = {
            stem(word): word
            for word in reversed(words(text[:_READ]))
            if word not in FUNCTION_WORDS and stem(word) not in asked
        }
        for term, word in said.items():
            spelled.setdefault(term, word)
            gain[term] += score * rarity(term)
    order = sorted(gain, key=lambda term: (-gain[term], term))
    return tuple(spelled[term] for term in order[:_LEARNED])
