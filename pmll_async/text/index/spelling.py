"""Spelling: the written units of a text, and the forms under which each is found.

Text is taken in Unicode's compatible form (NFKC), whatever its case. A word keeps the marks that
its script writes vowels with; marks that people leave out, such as accents and Arabic vowel signs,
are folded away, and the word as it was written is one form more. Scripts without spaces are cut
into pairs of neighbouring characters, identifiers and words with hyphens into their parts.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

import snowballstemmer

# Han, kana, Hangul, Thai, Lao, Burmese and Khmer.
UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff\U00020000-\U0003ffff]+"
)
# Han and Hangul: one character may be a word that is asked for.
_SYLLABLES: Final = re.compile("[\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")
# Hyphens that are only proposed, joiners, directions, variants of emoji, tags: nobody types them.
_UNSEEN: Final = re.compile(
    "[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]+"
)
# What stands between thousands beside points and commas; a plain space does so before a fraction
# or a currency, and two numbers elsewhere are two.
_THIN: Final = re.compile(
    "(?<=\\d)(?:[\u00a0\u2009\u202f\u2019](?=\\d{3}(?!\\d))"
    "| (?=(?:\\d{3} )*\\d{3}(?:,\\d\\d?(?!\\d)| ?(?:[€£₽₴]|\u0440\u0443\u0431|zł|kr|Kč))))"
)
_NUMBER: Final = r"\d+(?:[.,']\d+)+(?![^\W_])"
_ASCII_UNITS: Final = re.compile(f"{_NUMBER}|[^\\W_]+(?:(?:-|_+)[^\\W_]+)*", re.ASCII)
_THOUSANDS: Final = re.compile(r"(\d{1,3}(?:([.,'])\d{3}(?:\2\d{3})*|(?:,\d\d)+,\d{3}))([.,]\d+)?")
_CAMELS: Final = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^A-Za-z]+")
_JOINTS: Final = re.compile("[-_\u2010]+")
# Marks above and below Latin and Greek letters, and the two dots of Cyrillic ё, but not й's sign.
_ACCENTS: Final = re.compile(
    "(?<=[a-z\u00df-\u024f\u0370-\u03ff])[\u0300-\u036f]+|(?<=\u0435)\u0308"
)
# Hebrew points, Arabic vowel signs, hamza and the stretching stroke, Indic nuktas.
_LEFT_OUT: Final = re.compile(
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u065f\u0670\u06d6-\u06ed"
    "\u093c\u09bc\u0a3c]+"
)
# Letters that have a stroke, not a mark, and endings of Arabic and Persian that keyboards mix up.
_PLAINER: Final = str.maketrans(
    {"ø": "o", "đ": "d", "ł": "l", "\u0131": "i", "æ": "ae", "œ": "oe", "ð": "d", "ħ": "h"}
    | {"\u0649": "\u064a", "\u0629": "\u0647", "\u06a9": "\u0643", "\u06cc": "\u064a"}
)
MOST_UNITS: Final = 4096
"""So many of a question are read: eight times as many as its terms that count."""
LONGEST: Final = 64  # characters of one form; what is longer is no word, its beginning names it
_CACHED_UNITS: Final = 1 << 16  # more than a language's common words


class Spelled(NamedTuple):
    """The forms of one unit: `parts` in their order, and `others` that it is found by as well.

    `words` are the parts as they were written, whatever their case; a piece without spaces is one
    word, and its pairs are its parts. `whole` is what a unit of several words is without joints.
    """

    parts: tuple[str, ...]
    words: tuple[str, ...]
    others: tuple[str, ...] = ()
    whole: str | None = None


def units(text: str) -> list[str]:
    """The written units of a text: words, words with hyphens, identifiers and numbers."""
    return _ASCII_UNITS.findall(text) if text.isascii() else _units().findall(_compatible(text))


def spelled(unit: str) -> Spelled:
    """The forms of a unit; those of a very long one, such as a page of Chinese, are not kept."""
    return _kept(unit) if len(unit) <= LONGEST else _spelled(unit)


def folded_words(text: str) -> list[str]:
    """The words of a text without the marks that people leave out, as names are compared.

    Of one as long as a book the first `MOST_UNITS` units.
    """
    return [fold(word) for unit in units(text)[:MOST_UNITS] for word in spelled(unit).words]


def fold(word: str) -> str:
    """A word in lower case without the marks that people leave out."""
    if word.isascii():
        return word
    bare = _LEFT_OUT.sub("", _ACCENTS.sub("", unicodedata.normalize("NFD", word)))
    # A mark alone stays what it is.
    return unicodedata.normalize("NFC", bare).translate(_PLAINER) or word


def lowered(text: str) -> str:
    """Text whatever its case; Turkish capital İ is an i."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", text.casefold().replace("i\u0307", "i"))


def stemmed(word: str) -> str:
    """The Porter stem of a folded word of Latin letters; any other as it is."""
    return _porter(word[:LONGEST]) if word.isascii() else word[:LONGEST]


def pairs_in(piece: str) -> list[str]:
    """The pairs of neighbouring characters, each with its marks, of a piece without spaces."""
    found = _characters().findall(piece)
    return found if len(found) < 2 else [a + b for a, b in pairwise(found)]


def syllables_in(piece: str) -> list[str]:
    """The characters of a piece that may be words by themselves, each once."""
    return list(dict.fromkeys(_SYLLABLES.findall(piece)))


def pieces(word: str) -> Iterator[tuple[str, bool]]:
    """The pieces of a word that are written with spaces around, and those that are not."""
    place = 0
    for found in UNSPACED.finditer(word):
        if place < found.start():
            yield word[place : found.start()], False
        yield found.group(), True
        place = found.end()
    if place < len(word):
        yield word[place:], False


@lru_cache(_CACHED_UNITS)
def _porter(word: str) -> str:
    # Its state is the word: one for each, so that threads do not mix theirs.
    return str(snowballstemmer.stemmer("porter").stemWord(word)) or word


def _compatible(text: str) -> str:
    text = _THIN.sub("", _UNSEEN.sub("", text))
    text = unicodedata.normalize("NFKC", text)
    return _digits().sub(lambda found: str(unicodedata.digit(found[0])), text)


def _spelled(unit: str) -> Spelled:
    if unit[0].isdigit() and not unit.isalnum() and not _JOINTS.search(unit):
        return _number(unit)
    written = [part for word in _JOINTS.split(unit) for part in _camels(word)]
    words = [lowered(word) for word in written]
    if len(words) == 1:
        return _word(words[0])
    found = [_word(word) for word in words]
    whole = stemmed(fold("".join(words)))
    return Spelled(
        tuple(part for each in found for part in each.parts),
        tuple(word for each in found for word in each.words),
        (whole, *(other for each in found for other in each.others)),
        whole,
    )


_kept = lru_cache(_CACHED_UNITS)(_spelled)


def _camels(word: str) -> list[str]:
    """`getUserById` by its parts; one letter before a capital, as in iPhone, is no part."""
    if word.islower() or not word.isascii() or word.isupper():
        return [word]
    found: list[str] = []
    for part in _CAMELS.findall(word):
        # Digits belong to what they follow: E1234 and utf8 are one word.
        if found and (part[0].isdigit() or found[-1][-1].isdigit()):
            found[-1] += part
        else:
            found.append(part)
    return found if len(found[0]) > 1 else [word]


def _word(word: str) -> Spelled:
    if word.isascii():
        return Spelled((stemmed(word),), (word,))
    parts: list[str] = []
    others: list[str] = []
    words: list[str] = []
    for piece, is_unspaced in pieces(word):
        words.append(piece)
        if is_unspaced:
            parts += pairs_in(piece)
            others += syllables_in(piece) if len(piece) > 1 else []
            continue
        plain = fold(piece)
        parts.append(stemmed(plain))
        others += [piece[:LONGEST]] if plain != piece else []
    return Spelled(tuple(parts), tuple(words), tuple(others))


def _number(unit: str) -> Spelled:
    """A number by its whole and its fraction, without what stands between thousands."""
    grouped = _THOUSANDS.fullmatch(unit)
    if grouped:
        fraction = (grouped[3] or "")[1:]
        found = ["".join(filter(str.isdigit, grouped[1])), *([fraction] if fraction else ())]
    else:
        found = re.split("[.,']", unit)
    # Nobody asks for 1150.00 by its fraction.
    parts = tuple(found[:-1] if len(found) == 2 and found[1] == "00" else found)
    whole = ".".join(found)[:LONGEST] if len(found) > 1 else None
    return Spelled(tuple(map(stemmed, parts)), parts, (whole,) if whole else (), whole)


@cache
def _marks() -> str:
    """A character class of what belongs to the letter before it."""
    every = map(chr, range(sys.maxunicode + 1))
    found = [ord(each) for each in every if unicodedata.category(each)[0] == "M"]
    spans: list[list[int]] = []
    for code in found:
        if spans and spans[-1][1] == code - 1:
            spans[-1][1] = code
        else:
            spans.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in spans)


@cache
def _units() -> re.Pattern[str]:
    word = f"[^\\W_](?:[^\\W_]+|[{_marks()}]+)*"
    return re.compile(f"{_NUMBER}|{word}(?:(?:[-\u2010]|_+){word})*")


@cache
def _characters() -> re.Pattern[str]:
    return re.compile(f"[^{_marks()}][{_marks()}]*|[{_marks()}]+")


@cache
def _digits() -> re.Pattern[str]:
    return re.compile(r"(?![0-9])\d")
