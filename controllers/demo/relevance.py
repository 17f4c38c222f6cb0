"""How well a passage answers a question, judged by its words alone.

The measure is one that a person can follow: how much of what the question is about (its content
words, weighted by how rare they are) the passage speaks of, how much of it in one sentence, which
neighbours stay neighbours, and whether that is what the passage is about. The shares were set by
reading the answers to some fifty questions; a third more or less of any of them changes little.
"""

from __future__ import annotations

import keyword
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final

from pmll_async.text import FUNCTION_WORDS, stem, words

# What people say around a question about a language; no passage answers by containing it.
_SMALL_TALK: Final = """
    difference between explain happen happens mean means python tell use used work works write
"""
_ASKING: Final = frozenset(_SMALL_TALK.split())
_KINDS: Final = frozenset(["statement", "clause", "loop", "keyword", "operator", "expression"])
_KEYWORDS: Final = frozenset([*keyword.kwlist, *keyword.softkwlist])
_ALSO_ENGLISH: Final = FUNCTION_WORDS | {"class", "return", "match", "case", "type", "try"}
_DUNDER: Final = re.compile(r"(__\w+?__)(?!\w)")
_QUOTED: Final = re.compile(r'"([^"\s]+)"')
_CODE_PARTS: Final = re.compile(r"__\w+__|\w+|[^\w\s.,;()?!\"'`]+")
_NAME: Final = re.compile(r"__\w+__|[=!<>+\-*/%@&|^~:]{2,}|\*")

# What people call it, and what the reference does; as stems.
_CALLED: Final[Mapping[str, tuple[str, ...]]] = {
    "argument": ("parameter",),
    "catch": ("handl", "handler", "except"),
    "chang": ("modifi", "mutabl", "immutabl"),
    "delet": ("remov", "del"),
    "dictionari": ("dict",),
    "loop": ("iterat", "iteration"),
    "modifi": ("chang", "mutabl", "immutabl"),
    "order": ("precedenc",),
}

_SENTENCE: Final = 18  # words
_NEIGHBOURS: Final = 3  # words from one to the other
_SATURATION: Final = 0.4  # a second mention adds little
_PAGE_WORDS: Final = 110  # a passage of average length
_SHARES: Final = {"coverage": 0.42, "sentence": 0.17, "phrase": 0.17, "heading": 0.16, "code": 0.08}


def tokens(text: str) -> list[str]:
    """The words of a text, case-folded; ``__class__`` is one of its own and not ``class``."""
    return [
        token
        for part in _DUNDER.split(text)
        for token in ([part] if _DUNDER.fullmatch(part) else words(part))
    ]


@dataclass(frozen=True)
class Page:
    """A passage as it is remembered: `anchor` is its line's."""

    anchor: str
    topic: str
    title: str
    text: str

    @cached_property
    def places(self) -> Mapping[str, list[int]]:
        """Where each stem stands."""
        places: dict[str, list[int]] = {}
        for place, token in enumerate(tokens(f"{self.title}\n{self.text}")):
            places.setdefault(stem(token), []).append(place)
        return places

    @cached_property
    def length(self) -> int:
        """In words."""
        return sum(map(len, self.places.values()))

    @cached_property
    def headings(self) -> tuple[frozenset[str], ...]:
        """The telling stems of each heading that it stands under."""
        return tuple(
            frozenset(stem(token) for token in tokens(heading) if token not in FUNCTION_WORDS)
            for heading in self.title.split(" > ")
        )

    @cached_property
    def code(self) -> Counter[str]:
        """Names and operators that it quotes: ``"yield"``, ``"=="``, ``object.__del__``."""
        quoted = _QUOTED.findall(f"{self.title}\n{self.text}")
        parts = [part for item in quoted for part in set(_CODE_PARTS.findall(item))]
        return Counter([*parts, *_DUNDER.findall(self.title)])


class Vocabulary:
    """How rare each word is in the pages."""

    def __init__(self, pages: Iterable[Page]) -> None:
        self._pages = 0
        self._pages_with: Counter[str] = Counter()
        for page in pages:
            self._pages += 1
            self._pages_with.update(page.places.keys())

    def __contains__(self, word: str) -> bool:
        return word in self._pages_with

    def rarity(self, word: str) -> float:
        """The inverse document frequency of a stem, as BM25 has it; highest for unknown words."""
        # The halves keep it finite for words of no page, and positive for those of every page.
        having = self._pages_with[word]
        return math.log(1 + (self._pages - having + 0.5) / (having + 0.5))


@dataclass(frozen=True)
class QuestionWords:
    """What a question asks for.

    `terms`: each content word's stem with its weight. `spellings`: the stems that count as that
    word. `code`: names, keywords and operators that it asks about.
    """

    text: str
    terms: Mapping[str, float]
    spellings: Mapping[str, tuple[str, ...]]
    code: frozenset[str]

    @classmethod
    def of(cls, text: str, vocabulary: Vocabulary) -> QuestionWords:
        """Read a question."""
        said = tokens(text)
        content = [word for word in said if word not in FUNCTION_WORDS and len(word) > 1]
        code = frozenset(_asked_code(text))
        telling = [word for word in content if word not in _ASKING]
        telling = telling or ([] if code else content)
        stems = list(dict.fromkeys(map(stem, telling)))
        return cls(
            text,
            {term: vocabulary.rarity(term) for term in stems},
            {term: _spellings(term, said, vocabulary) for term in stems},
            code,
        )

    @cached_property
    def weight(self) -> float:
        """The sum of the terms' weights."""
        return sum(self.terms.values())

    def missing(self, page: Page) -> list[str]:
        """The terms that the page does not speak of, the rarest first."""
        absent = [term for term in self.terms if not self._places(page, term)]
        return sorted(absent, key=lambda term: (-self.terms[term], term))

    def marks(self, page: Page) -> dict[str, float]:
        """How good an answer the page is, in parts, each in [0, 1]."""
        marks = {
            "coverage": self._coverage(page),
            "sentence": self._sentence(page),
            "heading": self._heading(page),
        }
        # What a question does not have lends its share to the rest.
        if len(self.terms) > 1:
            marks["phrase"] = self._phrase(page)
        if self.code:
            marks["code"] = self._code(page)
        return marks

    def score(self, page: Page) -> float:
        """How good an answer the page is, in [0, 1]."""
        marks = self.marks(page)
        full = sum(_SHARES[name] for name in marks)
        return sum(_SHARES[name] * mark for name, mark in marks.items()) / full * _fitting(page)

    def _places(self, page: Page, term: str) -> list[int]:
        return [place for form in self.spellings[term] for place in page.places.get(form, ())]

    def _coverage(self, page: Page) -> float:
        spoken = 0.0
        for term, weight in self.terms.items():
            count = len(self._places(page, term))
            spoken += weight * count / (count + _SATURATION)
        return min(1.0, spoken * (1 + _SATURATION / 2) / self.weight) if self.terms else 0.0

    def _sentence(self, page: Page) -> float:
        """How much of it is said within one sentence's length."""
        places = {term: self._places(page, term) for term in self.terms}
        mentions = sorted((place, term) for term in places for place in places[term])
        best = 0.0
        for start, (place, _) in enumerate(mentions):
            near = {term for at, term in mentions[start : start + 40] if at - place < _SENTENCE}
            best = max(best, sum(self.terms[term] for term in near))
        return best / self.weight if best else 0.0

    def _phrase(self, page: Page) -> float:
        """How many of its neighbouring words are neighbours here, too."""
        pairs = list(pairwise(self.terms))
        return sum(self._neighbours(page, *pair) for pair in pairs) / len(pairs)

    def _neighbours(self, page: Page, one: str, other: str) -> float:
        others = self._places(page, other)
        # The other way round costs a word: "lookup of attributes" is nearly "attribute lookup".
        gaps = [b - a if b > a else a - b + 1 for a in self._places(page, one) for b in others]
        gap = min(gaps, default=math.inf)
        return min(1.0, _NEIGHBOURS / gap) if gap <= 3 * _NEIGHBOURS else 0.0

    def _heading(self, page: Page) -> float:
        """For the heading that fits best: the harmonic mean of how much of each is in the other."""
        if not self.terms:
            return 0.0
        # A word of the heading counts as one of the question's, which are seldom rarer.
        mean = self.weight / len(self.terms)
        best = 0.0
        for stems in page.headings:
            shared = sum(weight for term, weight in self.terms.items() if term in stems)
            best = max(best, 2 * shared / (self.weight + mean * max(1, len(stems))))
        return best

    def _code(self, page: Page) -> float:
        return sum(min(2, page.code[name]) / 2 for name in self.code) / len(self.code)


def _fitting(page: Page) -> float:
    """Less for a page so long that it speaks of everything, or so short that it says nothing."""
    return 1.0 - 0.06 * abs(math.log(max(1, page.length) / _PAGE_WORDS))


def _spellings(term: str, said: list[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    """The stems that count as the term, itself first."""
    # "looked up" is also "lookup"; "evaluated" is also "evaluation".
    joined = [stem(stem(one) + other) for one, other in pairwise(said) if stem(one) == term]
    noun = term.removesuffix("ion") if term.endswith("ion") else f"{term}ion"
    others = [form for form in (*joined, noun) if form in vocabulary]
    return (term, *others, *_CALLED.get(term, ()))


def _asked_code(text: str) -> Iterable[str]:
    for word, following in pairwise([*re.findall(r"\w+", text), ""]):
        if word in _KEYWORDS and (word not in _ALSO_ENGLISH or following in _KINDS):
            yield word
    yield from _NAME.findall(text)
