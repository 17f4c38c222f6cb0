"""WordPiece as BERT's uncased English models read text: words, punctuation, longest known pieces.

After Devlin et al., "BERT" (2019), and the `tokenization.py` that came with it. The vocabulary is
that of bert-base-uncased (Google; its license lies beside it), one piece a line, numbered from 0.
Names of special pieces in a text, such as ``[SEP]``, are ordinary words here.
"""

from __future__ import annotations

import unicodedata
from functools import cached_property, lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Final

VOCABULARY: Final = Path(__file__).with_name("bert_base_uncased_vocabulary.txt")

_LONGEST_WORD: Final = 100  # as in the original, where a longer one is unknown
_CACHED_WORDS: Final = 1 << 16
_IDEOGRAPHS: Final = (
    *(range(0x4E00, 0xA000), range(0x3400, 0x4DC0), range(0xF900, 0xFB00)),
    *(range(0x20000, 0x2A6E0), range(0x2A700, 0x2CEB0), range(0x2F800, 0x2FA20)),
)
# Unassigned code points stay: most are unknown words before and after a Unicode that names them.
_DROPPED: Final = frozenset(("Cc", "Cf", "Co", "Cs"))


class WordPiece:
    """Texts to the numbers of their pieces. Safe to share between threads."""

    def __init__(self) -> None:
        self._pieces = lru_cache(_CACHED_WORDS)(self._longest_pieces)
        self._characters = _Characters()

    def pieces(self, text: str, limit: int) -> list[int]:
        """The numbers of the first `limit` pieces, without any that open or close a text."""
        words = text.translate(self._characters).split()
        return list(islice(chain.from_iterable(map(self._pieces, words)), limit))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Piece to number; a piece inside a word begins with ``##``."""
        pieces = VOCABULARY.read_text(encoding="utf-8").split("\n")
        return {piece: number for number, piece in enumerate(pieces) if piece}

    def _longest_pieces(self, word: str) -> tuple[int, ...]:
        """Greedily from the left; one unknown piece for a word that cannot be made of pieces."""
        unknown = (self.numbers["[UNK]"],)
        if len(word) > _LONGEST_WORD:
            return unknown
        pieces: list[int] = []
        rest = word
        while rest:
            lengths = range(len(rest), 2 if pieces else 0, -1)
            piece = next((rest[:end] for end in lengths if rest[:end] in self.numbers), None)
            if piece is None:
                return unknown
            pieces.append(self.numbers[piece])
            rest = f"##{rest[len(piece) :]}" if len(piece) < len(rest) else ""
        return tuple(pieces)


class _Characters(dict[int, str]):
    """A table for `str.translate`, filled as characters are met: lower case without accents.

    Punctuation and ideographs get spaces around them; what cannot be seen goes.
    """

    def __missing__(self, code: int) -> str:
        self[code] = replacement = _replacement(chr(code))
        return replacement


def _replacement(character: str) -> str:
    if character in "\t\n\r":
        return " "
    if character == "\ufffd" or unicodedata.category(character) in _DROPPED:
        return ""
    if character.isspace():
        return " "
    letters = unicodedata.normalize("NFD", character)
    # Decomposed, an accent is a mark of its own, and can be left out.
    kept = (each.lower() for each in letters if unicodedata.category(each) != "Mn")
    plain = "".join(f" {each} " if _is_punctuation(each) else each for each in kept)
    return f" {plain} " if _is_ideograph(character) else plain


def _is_punctuation(character: str) -> bool:
    symbol = character.isascii() and not character.isalnum() and not character.isspace()
    return symbol or unicodedata.category(character).startswith("P")


def _is_ideograph(character: str) -> bool:
    return any(ord(character) in block for block in _IDEOGRAPHS)
