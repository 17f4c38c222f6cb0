"""Text to vectors without a model: signed feature hashing of words, stems and character n-grams.

Each word of a text gives features: itself, its stem, and the three-letter pieces of ``<word>``.
BLAKE2b sends every feature to two of the `dim` slots with a sign each (Weinberger et al., "Feature
Hashing for Large Scale Multitask Learning", 2009), and a word that occurs c times counts √c. Texts
that share words, or parts of words, get similar vectors; meaning beyond spelling is not seen.

Weights are whole numbers, so that sums are exact and their order cannot matter: a text has the same
bits on every machine, alone or in any batch.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.errors import InvalidInputError
from pmll_async.values.concert import Float32
from pmll_async.values.vectors import refuse_one_text

_LISTED_WORDS: Final = """
    a about all also am an and any are as at be been being but by can could d did do does doing
    done down for from had has have he her here him his how i if in into is it its just ll m may
    me might must my no not of off on or our out over re s shall she should so some such t than
    that the their them then there these they this those to too under up us ve very was we were
    what when where which who whom why will with would you your
"""
FUNCTION_WORDS: Final = frozenset(_LISTED_WORDS.split())
"""English words that say how a sentence is built and not what it is about."""

_WORDS: Final = re.compile(r"[^\W_]+")
_SYMBOLS: Final = re.compile(r"\S")

# In 64ths. The pieces of a word share theirs, so that long words do not outweigh short ones. Chosen
# by recall of evidence on conversations; within a factor of two the choice hardly matters.
_WORD: Final = 32
_STEM: Final = 64
_PIECES: Final = 64
_FUNCTION_WORD_DIVISOR: Final = 8
_PIECE_LENGTH: Final = 3
_LONGEST_CUT: Final = 64  # letters of one word that are cut into pieces: base64 is a word, too
_SLOTS_PER_FEATURE: Final = 2  # two features that share one slot seldom share the other
_ROOT_SCALE: Final = 16  # √c in 16ths
_BLOCK: Final = 256  # texts summed at once: 256 × 384 sums stay within the processor's cache
_CACHED_WORDS: Final = 1 << 16  # more than a language's common words
_QUICK_CHARACTERS: Final = 512  # keeps the protocol's promise of 0.1 ms

_Features = tuple[NDArray[np.int64], NDArray[np.float64]]


class HashingEmbedder:
    """An `Embedder` that needs no model, no network and no training.

    `dim`: more slots mean fewer collisions; 384 is enough for sentences and paragraphs. Vectors
    have length 1 and are never zero, whatever the text. Safe to share between threads. It works in
    the caller's thread, holding the GIL: large batches belong in a worker thread.
    """

    def __init__(self, dim: int = 384) -> None:
        if dim < 1:
            raise InvalidInputError(f"dim is at least 1, not {dim}")
        self._dim = dim
        self._features = lru_cache(_CACHED_WORDS)(self._hash_word)

    @property
    def id(self) -> str:
        """The number changes with everything that changes a vector."""
        return f"pmll-hashing-1-{self._dim}"

    @property
    def dim(self) -> int:
        """The number of dimensions."""
        return self._dim

    def embed(self, texts: Sequence[str]) -> Float32:
        """Unit vectors (len(texts), dim)."""
        refuse_one_text(texts)
        vectors = np.empty((len(texts), self._dim), dtype=np.float32)
        for start in range(0, len(texts), _BLOCK):
            block = texts[start : start + _BLOCK]
            vectors[start : start + len(block)] = _normalised(self._sums(block), block)
        return vectors

    def quick(self, texts: Sequence[str]) -> bool:
        """One short text takes less than a way to another thread and back."""
        return len(texts) == 1 and len(texts[0]) <= _QUICK_CHARACTERS

    def _sums(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Signed sums (len(texts), dim) of the features' weights: whole numbers."""
        features: list[_Features] = []
        offsets: list[int] = []
        factors: list[int] = []
        for row, text in enumerate(texts):
            for word, count in Counter(_tokens(text)).items():
                features.append(self._features_of(word))
                offsets.append(row * self._dim)
                factors.append(_ROOT_SCALE if count == 1 else _scaled_root(count))
        lengths = [len(slots) for slots, _ in features]
        slots = np.concatenate([slots for slots, _ in features]) + np.repeat(offsets, lengths)
        weights = np.concatenate([weights for _, weights in features])
        weights *= np.repeat(factors, lengths)
        size = len(texts) * self._dim
        sums = np.bincount(slots, weights, minlength=size).astype(np.float64, copy=False)
        return sums.reshape(len(texts), self._dim)

    def _features_of(self, word: str) -> _Features:
        # A word as long as a page must not stay in memory.
        return self._features(word) if len(word) <= _LONGEST_CUT else self._hash_word(word)

    def _hash_word(self, word: str) -> _Features:
        slots: list[int] = []
        weights: list[float] = []
        for feature, weight in _weighted_features(word):
            digest = blake2b(
                feature.encode("utf-8", "surrogatepass"), digest_size=8 * _SLOTS_PER_FEATURE
            ).digest()
            for start in range(0, len(digest), 8):
                number = int.from_bytes(digest[start : start + 8], "little")
                slots.append((number >> 1) % self._dim)
                weights.append(weight if number & 1 else -weight)
        return np.array(slots, dtype=np.int64), np.array(weights, dtype=np.float64)


def words(text: str) -> list[str]:
    """The runs of letters and digits of a text, case-folded, in Unicode's compatible form."""
    if text.isascii():
        return _WORDS.findall(text.lower())
    return _WORDS.findall(unicodedata.normalize("NFKC", text).casefold())


def stem(word: str) -> str:
    """The word without its commonest English endings; words of other scripts stay as they are.

    Rougher than Porter's algorithm and reliable on short words: it unites ``looked`` with
    ``looking`` and ``classes`` with ``class``, and leaves ``this`` and ``bus`` alone.
    """
    if len(word) < 4 or not word.isascii():
        return word
    word = _singular(word)
    for ending in ("ingly", "edly", "ing", "ed", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = _undoubled(word[: -len(ending)])
            break
    if word.endswith("e") and len(word) > 3:
        return word[:-1]
    return f"{word[:-1]}i" if word.endswith("y") and len(word) > 3 else word


def _singular(word: str) -> str:
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith(("ies", "ied")) and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _undoubled(word: str) -> str:
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
        return word[:-1]
    return word


def _tokens(text: str) -> Sequence[str]:
    """Words, or else symbols, or else the empty token: never nothing."""
    return words(text) or _SYMBOLS.findall(text) or ("",)


def _weighted_features(word: str) -> Iterator[tuple[str, float]]:
    divisor = _FUNCTION_WORD_DIVISOR if word in FUNCTION_WORDS else 1
    marked = f"<{word[:_LONGEST_CUT]}>"
    pieces = [
        marked[start : start + _PIECE_LENGTH]
        for start in range(max(1, len(marked) - _PIECE_LENGTH + 1))
    ]
    whole = (f"word {word}", _WORD // divisor), (f"stem {stem(word)}", _STEM // divisor)
    # Each piece gets its share of the vector's length, hence the root; rounded to stay whole.
    share = max(1, round(_PIECES / divisor / math.sqrt(len(pieces))))
    return chain(whole, ((f"piece {piece}", share) for piece in pieces))


def _scaled_root(count: int) -> int:
    return math.isqrt(count * _ROOT_SCALE * _ROOT_SCALE)


def _normalised(sums: NDArray[np.float64], texts: Sequence[str]) -> Float32:
    norms = np.sqrt(np.add.reduce(sums * sums, axis=1))
    for row in np.flatnonzero(norms == 0.0).tolist():
        sums[row] = _last_resort(texts[row], sums.shape[1])
        norms[row] = 1.0
    unit: Float32 = (sums / norms[:, np.newaxis]).astype(np.float32)
    return unit


def _last_resort(text: str, dim: int) -> NDArray[np.float64]:
    """One slot for a text whose features cancel out, which happens when `dim` is tiny."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    vector = np.zeros(dim)
    vector[int.from_bytes(digest, "little") % dim] = 1.0
    return vector
