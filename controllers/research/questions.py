"""Reading a question, without a model: what it is about, whom it names, what answer it wants.

The rules are for English. A question that none of them fits is asked all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from pmll_async.text import FUNCTION_WORDS, words

MOST_WORDS: Final = 64
"""So many different words of a question are looked for by themselves."""
_LONGEST_WORD: Final = 64  # what is longer is no word, and would go into every plan
_SAY_NOTHING: Final = FUNCTION_WORDS | {"kind", "kinds", "thing", "things", "type", "types"}
_ASKS_WHEN: Final = re.compile(
    r"\W*(?:in which|when|how long|since when|(?:what|which) (?:date|day|month|year|time))\b",
    re.IGNORECASE,
)
_ASKS_MANY: Final = re.compile(
    r"how (?:many|often)\b|(?:who|where|what|which)\W{0,2}\s(?:has|have|are|were)\b", re.IGNORECASE
)
_ASKS_WHAT: Final = re.compile(
    r"(?:(?:in|on|at|for|with|from|to|of) )?(?:what|which|whose)\b(.*)", re.IGNORECASE | re.DOTALL
)
_ASKS_BOTH: Final = re.compile(r"\bboth\b|\beach\b|\bin common\b", re.IGNORECASE)
_WORD: Final = re.compile(r"[A-Za-z'\u2019]+")
_AUXILIARIES: Final = re.compile(
    r"is|was|did|does|do|has|had|have|are|were|can|could|will|would|might|may|should"
)
_NO_PLURAL: Final = re.compile(r"(?:ss|us|is|ous|news|['\u2019]s)$")
_NOUN_WITHIN: Final = 4  # words of what, as in "what two kinds of books"


def asks_when(question: str) -> bool:
    """Whether the answer is a time: "When did …", "In which month …"."""
    return _ASKS_WHEN.match(question) is not None


def asks_several(question: str) -> bool:
    """Whether the answer is likely a list: "What books has …", "How many …", "Where have …"."""
    if _ASKS_MANY.match(question) or _ASKS_BOTH.search(question):
        return True
    asked = _ASKS_WHAT.match(question)
    return asked is not None and _begins_with_plural(asked[1])


def _begins_with_plural(text: str) -> bool:
    """Whether a plural comes before the verb."""
    for found, _ in zip(_WORD.finditer(text.lower()), range(_NOUN_WITHIN), strict=False):
        word = found[0]
        if _AUXILIARIES.fullmatch(word):
            return False
        if len(word) > 3 and word.endswith("s") and not _NO_PLURAL.search(word):
            return True
    return False


def named_in(question: str, speakers: Iterable[str]) -> tuple[str, ...]:
    """The speakers whose first name the question says, sorted."""
    said = frozenset(words(question))
    return tuple(sorted(name for name in speakers if (words(name) or [""])[0] in said))


def content_of(question: str, named: Iterable[str]) -> tuple[str, ...]:
    """What the question is about: its words but for function words and the names."""
    names = {word for name in named for word in words(name)}
    said = dict.fromkeys(words(question))
    content = (word for word in said if word not in _SAY_NOTHING and word not in names)
    return tuple(word for word in content if len(word) <= _LONGEST_WORD)[:MOST_WORDS]
