"""Evidence: how probable it is that the best line of a search answers its question.

By words: how much of what the question asks for the line has, by itself and with the turns around
it, and how high its total is. By meaning: how far its cosine stands out. Either suffices. The
weights were fitted to the questions of `pmll eval words`, of which a sixth has no answer, and then
rounded, looking at LoCoMo's.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from pmll_async.text.search import Search

# In logits. At half of the words, and a total in the middle of its preset's curve.
_HALF: Final = 1.0
_WORDS: Final = 5.0  # from none of the question's words to all of them
_TOTAL: Final = 0.7
# A preset of one's own may have totals of any size; words are to count beside them.
_HIGHEST: Final = 5.0
# Words that most lines have are found by chance: half of a rare one gives 0.43, one 0.89.
_RARITY: Final = 1.5
_MEANING: Final = 1.1
_NO_MEANING: Final = -4.4  # a cosine as far out as the largest of as many by chance
# The best of a hundred normal deviates is so far above the sixth, and above what is expected.
_BY_CHANCE: Final = 1.2
_RIVALS: Final = 5
_NO_SPREAD: Final = 1e-6  # cosines of float32 differ by that much when they mean the same
# A greeting, or words that only build a sentence, may find something, but near the bottom.
_EMPTY_QUESTION: Final = 0.25
_SURE: Final = 1e-6  # nothing is: keeps logits finite


def chance(search: Search, height: float) -> float:
    """The probability that the candidate with the highest total answers.

    `height` is where that total lies on the preset's curve, in logits.
    """
    # Of equal totals the later, which is also what recall gives first.
    best = len(search.total) - 1 - int(np.argmax(search.total[::-1]))
    words, meaning = _by_words(search, best, height), _by_meaning(search, best)
    either = 1.0 - (1.0 - words) * (1.0 - meaning)
    either *= _EMPTY_QUESTION if search.asked.is_empty else 1.0
    return min(max(either, _SURE), 1.0 - _SURE)


def _by_words(search: Search, best: int, height: float) -> float:
    if not search.wanted:
        return 0.0
    held = search.counts[:, :, best] > 0
    # Half for what it says itself, half for what is said around it.
    found = (search.idfs * held[:, 0]).sum() / 2 + (search.idfs * held.any(axis=1)).sum() / 2
    share = float(found) / search.mass
    logit = _HALF + _WORDS * (share - 0.5) + _TOTAL * max(-_HIGHEST, min(height, _HIGHEST))
    rarity = _RARITY * float(found) / search.rarest
    return -math.expm1(-(rarity**2)) * _logistic(logit)


def _by_meaning(search: Search, best: int) -> float:
    """Against the other lines, since each model has a range of cosines of its own.

    Both against what is expected of so many, and against the next few: a language that a model does
    not know is one crowd to it.
    """
    if search.cosines is None:
        return 0.0
    cosines = search.cosines[search.play.rows].astype(np.float64)
    spread = float(cosines.std())
    if spread < _NO_SPREAD:
        return 0.0
    count, own = len(cosines), float(search.cosines[search.rows[best]])
    rival = max(0, count - 1 - _RIVALS)
    above_rivals = (own - float(np.partition(cosines, rival)[rival])) / spread
    expected = math.sqrt(2.0 * math.log(count))
    above_expected = (own - float(cosines.mean())) / spread - expected + _BY_CHANCE
    return _logistic(_NO_MEANING + _MEANING * min(above_rivals, above_expected))


def _logistic(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))
