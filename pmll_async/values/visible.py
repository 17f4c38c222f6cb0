"""Text in which nothing is hidden: what has no shape of its own is spelled out."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Final

# What turns the direction of what follows, what shows nothing, and control characters: in them a
# text can carry what its reader does not see and a model obeys. Line breaks and tabs stay.
_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# In Persian, in Indic scripts and in emoji these belong between signs, one at a time.
_JOINING: Final = re.compile("[\u200c\u200d\ufe0f]")
_JOINED: Final = frozenset("LMS")  # letters, marks and symbols, by the first letter of a category


def visible(text: str) -> str:
    """The text with what is hidden in it as JSON escapes, such as that of U+202E.

    Bidirectional controls, characters of no width, tags, variation selectors, control characters:
    a JSON string stays the same string. Joiners stay where writing needs them.
    """
    if text.isascii() and text.isprintable():
        return text
    shown = _HIDDEN.sub(_spelled, text)
    return _JOINING.sub(_joined, shown) if _JOINING.search(shown) else shown


def _spelled(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1] if found[0] != "\x7f" else "\\u007f"


def _joined(found: re.Match[str]) -> str:
    text, place = found.string, found.start()
    before, after = text[place - 1 : place], text[place + 1 : place + 2]
    if found[0] == "\ufe0f":
        # It asks for colours, of a symbol or of what becomes a key cap.
        belongs = _kind(before) == "S" or (before != "" and before in "0123456789#*")
    else:
        belongs = _kind(before) in _JOINED and _kind(after) in _JOINED
    return found[0] if belongs else _spelled(found)


def _kind(sign: str) -> str:
    return unicodedata.category(sign)[0] if sign else ""
