"""Terms: what the text index counts, of a stored line and of a question.

A term is a Porter stem (M. F. Porter, "An algorithm for suffix stripping", 1980) of a word, two
neighbouring characters of a script that is written without spaces, or a symbol such as an emoji.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice, pairwise
from typing import Final, TypeVar

import snowballstemmer

from pmll_async.text.embedders.hashing import FUNCTION_WORDS, words

Item = TypeVar("Item")

TERMS_ID: Final = "1"
"""Changes with everything that changes the terms of a text, so that old indexes are made anew."""

_GREETINGS: Final = """
    bye cheers evening goodbye good hello hey hi morning night okay ok please sorry sure thank
    thanks yeah yes
"""
# Whole sayings whose words mean something elsewhere.
_SAYINGS: Final = re.compile(
    r"\bhow(?:\W?s| is| are| was| were) (?:it|things|everything|life|all) going\b"
    r"|\b(?:nice|good|great|glad|lovely) to (?:meet|see|hear from) you\b"
    r"|\bsee you (?:later|soon|around|tomorrow)\b"
    r"|\bhave a (?:nice|good|great|lovely) (?:day|evening|weekend|time|one)\b",
    re.IGNORECASE,
)
# Asked for together with anything else, these would only find small talk.
_SAYS_NOTHING: Final = FUNCTION_WORDS | frozenset(_GREETINGS.split())
# Han, kana, Hangul, Thai, Lao, Khmer and Burmese.
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff\U00020000-\U0003ffff]+"
)
_SYMBOLS: Final = re.compile("[\u2190-\u2bff\U0001f000-\U0001faff]")
_ANYTHING: Final = re.compile(r"\S")
_LONGEST_TERM: Final = 64  # what is longer is no word; its beginning names it
_MOST_WANTED: Final = 512  # a search looks at each of them in each of its candidates
_CACHED_WORDS: Final = 1 << 16  # more than a language's common words
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)


def terms(text: str) -> list[str]:
    """The terms of a text, in order; of a text without words or symbols, its characters."""
    found = [term for word in words(text) for term in _terms_of(word)]
    if not text.isascii():
        found += _SYMBOLS.findall(text)
    return found or _ANYTHING.findall(text)


def date_terms(timestamp: float) -> list[str]:
    """Day, month and year (UTC) of a time, as a question would name them; [] beyond the years."""
    try:
        day = datetime.fromtimestamp(timestamp, UTC)
    except (OverflowError, ValueError, OSError):
        return []
    return [str(day.day), *_terms_of(_MONTHS[day.month - 1]), str(day.year)]


@dataclass(frozen=True, slots=True)
class QuestionTerms:
    """What a question asks for: distinct terms, and pairs of terms that are neighbours in it.

    `is_empty`: all of its words only build a sentence, or greet; then they are its terms.
    """

    wanted: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    is_empty: bool


def question_terms(question: str) -> QuestionTerms:
    """The terms of a question. Any text is one; nothing in it is syntax.

    Of a very long one only the first terms count.
    """
    meant = list(_meant(question))
    wanted = [term for term, is_empty in meant if not is_empty]
    if not question.isascii():
        wanted += _SYMBOLS.findall(question)
    pairs = [
        (first[0], second[0]) for first, second in pairwise(meant) if not (first[1] and second[1])
    ]
    return QuestionTerms(
        _distinct(wanted or terms(question)), _distinct(pairs), is_empty=not wanted
    )


def _meant(question: str) -> Iterator[tuple[str, bool]]:
    """The first terms of a question, and whether each says nothing."""
    # Written so, it is the month.
    says_nothing = _SAYS_NOTHING - {"may"} if "May" in question else _SAYS_NOTHING
    wanted: set[str] = set()
    for word in words(_SAYINGS.sub(" ", question)):
        is_empty = word in says_nothing
        for term in _terms_of(word):
            yield term, is_empty
            if not is_empty:
                wanted.add(term)
        if len(wanted) >= _MOST_WANTED:
            return


def _distinct(found: list[Item]) -> tuple[Item, ...]:
    return tuple(islice(dict.fromkeys(found), _MOST_WANTED))


def _terms_of(word: str) -> tuple[str, ...]:
    """The terms of a word; those of a very long one, such as a page of Chinese, are not kept."""
    return _kept_terms_of(word) if len(word) <= _LONGEST_TERM else _new_terms_of(word)


def _new_terms_of(word: str) -> tuple[str, ...]:
    if word.isascii():
        # Its state is the word: one for each, so that threads do not mix theirs.
        return (str(snowballstemmer.stemmer("porter").stemWord(word[:_LONGEST_TERM])) or word,)
    found: list[str] = []
    for run in re.split(f"({_UNSPACED.pattern})", word):
        if _UNSPACED.fullmatch(run):
            found += [run] if len(run) == 1 else [run[i : i + 2] for i in range(len(run) - 1)]
        elif run:
            found.append(run[:_LONGEST_TERM])
    return tuple(found)


_kept_terms_of = lru_cache(_CACHED_WORDS)(_new_terms_of)
