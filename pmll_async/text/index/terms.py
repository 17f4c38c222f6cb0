"""Terms: what the text index counts, of a stored line and of a question.

A term is a Porter stem (M. F. Porter, "An algorithm for suffix stripping", 1980) of a word, two
neighbouring characters of a script that is written without spaces, a form that `spelling` adds, or
a symbol such as an emoji.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import islice, pairwise
from typing import Final, NamedTuple, TypeVar

from pmll_async.text.index.asking import cut, says_nothing
from pmll_async.text.index.spelling import (
    LONGEST,
    MOST_UNITS,
    UNSPACED,
    Spelled,
    fold,
    pairs_in,
    spelled,
    stemmed,
    syllables_in,
    units,
)

Item = TypeVar("Item")

TERMS_ID: Final = "2"
"""Changes with everything that changes the terms of a text, so that old indexes are made anew."""

# Whole sayings whose words mean something elsewhere.
_SAYINGS: Final = re.compile(
    r"\bhow(?:\W?s| is| are| was| were) (?:it|things|everything|life|all) going\b"
    r"|\b(?:nice|good|great|glad|lovely) to (?:meet|see|hear from) you\b"
    r"|\bsee you (?:later|soon|around|tomorrow)\b"
    r"|\bhave a (?:nice|good|great|lovely) (?:day|evening|weekend|time|one)\b",
    re.IGNORECASE,
)
_SYMBOLS: Final = re.compile("[\u2190-\u2bff\U0001f000-\U0001faff]")
_ANYTHING: Final = re.compile(r"\S")
_MOST_WANTED: Final = 512  # a search looks at each of them in each of its candidates
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)


def terms(text: str) -> list[str]:
    """The terms of a text, in order, and behind them the other forms of its words.

    Of a text without words or symbols, its characters.
    """
    found: list[str] = []
    others: list[str] = []
    for unit in units(text):
        forms = spelled(unit)
        found += forms.parts
        others += forms.others
    # Behind all: what stands side by side in the text must do so here.
    found += others
    if not text.isascii():
        found += _SYMBOLS.findall(text)
    return found or [term[:LONGEST] for term in _ANYTHING.findall(text)]


def date_terms(day: date) -> list[str]:
    """Day, month and year, as a question would name them."""
    return [str(day.day), *terms(_MONTHS[day.month - 1]), str(day.year)]


@dataclass(frozen=True, slots=True)
class QuestionTerms:
    """What a question asks for: distinct terms, and pairs of terms that are neighbours in it.

    `wholes` has the other form of terms that are parts of a word: a line with the form has the
    term. `confirming` are terms that only repeat others in another form, and weigh less.
    `is_empty`: all of its words only build a sentence, or greet; then they are its terms.
    """

    wanted: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    wholes: Mapping[str, str]
    confirming: frozenset[str]
    is_empty: bool


class _Meant(NamedTuple):
    """A term of a question, whether it says nothing, and the other forms of what it is of."""

    term: str
    is_empty: bool
    whole: str | None = None
    exact: str | None = None


def question_terms(question: str) -> QuestionTerms:
    """The terms of a question. Any text is one; nothing in it is syntax.

    Of a very long one only the first terms count.
    """
    meant = list(_meant(question))
    said = [each for each in meant if not each.is_empty]
    wanted = [each.term for each in said]
    if not question.isascii():
        wanted += _SYMBOLS.findall(question)
    wholes = {each.term: each.whole for each in said if each.whole}
    confirming = [form for each in said for form in (each.whole, each.exact) if form]
    pairs = [
        (first.term, second.term)
        for first, second in pairwise(meant)
        if not (first.is_empty and second.is_empty)
    ]
    return QuestionTerms(
        _distinct([*wanted, *confirming] or terms(question)),
        _distinct(pairs),
        wholes,
        frozenset(confirming).difference(wanted),
        is_empty=not wanted,
    )


def _meant(question: str) -> Iterator[_Meant]:
    """The first terms of a question, by what they mean in it."""
    found = [spelled(unit) for unit in units(_SAYINGS.sub(" ", question))[:MOST_UNITS]]
    nothing = says_nothing([word for forms in found for word in forms.words])
    if "May" in question:
        # Written so, it is the month.
        nothing -= {"may"}
    wanted: set[str] = set()
    for forms in found:
        for each in _meant_by(forms, nothing):
            yield each
            if not each.is_empty:
                wanted.add(each.term)
        if len(wanted) >= _MOST_WANTED:
            return


def _meant_by(forms: Spelled, nothing: frozenset[str]) -> Iterator[_Meant]:
    for word in forms.words:
        if word not in nothing and UNSPACED.fullmatch(word):
            yield from _cut(word)
            continue
        plain = fold(word)
        exact = None if plain == word else word[:LONGEST]
        yield _Meant(stemmed(plain), word in nothing, forms.whole, exact)


def _cut(piece: str) -> Iterator[_Meant]:
    """The pairs of a piece without spaces, but for words of asking, which are one term each."""
    parts = cut(piece)
    for part, is_empty in parts:
        found = [part[:LONGEST]] if is_empty else pairs_in(part)
        # A line has a character by itself only where it may be a word.
        lost = len(found) == 1 < len(parts) and len(part) == 1 and not syllables_in(part)
        for term in found:
            yield _Meant(term, is_empty or lost)


def _distinct(found: Iterable[Item]) -> tuple[Item, ...]:
    return tuple(islice(dict.fromkeys(found), _MOST_WANTED))
