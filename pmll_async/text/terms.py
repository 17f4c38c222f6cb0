"""Terms: what the text index counts, of a stored line and of a question.

A term is a Porter stem (M. F. Porter, "An algorithm for suffix stripping", 1980) of a word, two
neighbouring characters of a script that is written without spaces, or a symbol such as an emoji.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from typing import Final

import snowballstemmer

from pmll_async.text.hashing import FUNCTION_WORDS, words

TERMS_ID: Final = "1"
"""Changes with everything that changes the terms of a text, so that old indexes are made anew."""

_GREETINGS: Final = """
    bye cheers evening goodbye good hello hey hi morning night okay ok please sorry sure thank
    thanks yeah yes
"""
_SAYS_NOTHING: Final = FUNCTION_WORDS | frozenset(_GREETINGS.split())
# Han, kana, Hangul, Thai, Lao, Khmer and Burmese.
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff\U00020000-\U0003ffff]+"
)
_SYMBOLS: Final = re.compile("[\u2190-\u2bff\U0001f000-\U0001faff]")
_ANYTHING: Final = re.compile(r"\S")
_LONGEST_TERM: Final = 64  # what is longer is no word; its beginning names it
_CACHED_WORDS: Final = 1 << 16
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
    """The terms of a question. Any text is one; nothing in it is syntax."""
    says_nothing = _SAYS_NOTHING - {"may"} if "May" in question else _SAYS_NOTHING
    meant = [(term, word in says_nothing) for word in words(question) for term in _terms_of(word)]
    wanted = [term for term, is_empty in meant if not is_empty]
    if not question.isascii():
        wanted += _SYMBOLS.findall(question)
    pairs = [
        (first[0], second[0]) for first, second in pairwise(meant) if not (first[1] and second[1])
    ]
    return QuestionTerms(
        tuple(dict.fromkeys(wanted or terms(question))), tuple(dict.fromkeys(pairs)), not wanted
    )


@lru_cache(_CACHED_WORDS)
def _terms_of(word: str) -> tuple[str, ...]:
    if word.isascii():
        # Its state is the word: one for each, so that threads do not mix theirs.
        return (str(snowballstemmer.stemmer("porter").stemWord(word[:_LONGEST_TERM])),)
    found: list[str] = []
    for run in re.split(f"({_UNSPACED.pattern})", word):
        if _UNSPACED.fullmatch(run):
            found += [run] if len(run) == 1 else [run[i : i + 2] for i in range(len(run) - 1)]
        elif run:
            found.append(run[:_LONGEST_TERM])
    return tuple(found)
