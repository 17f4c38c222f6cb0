"""Fencing: other people's words in a prompt, between marks that none of them can write."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from itertools import count
from typing import Final

from pmll_async.errors import InvalidInputError
from pmll_async.values.checks import without_surrogates

_MARK_BYTES: Final = 8


def fence(texts: Iterable[str], *, name: str = "memory") -> str:
    """Each text between `<name-mark>` and `</name-mark>`, on lines of their own.

    The mark is made of all the texts together and stands in none of them, so that no text can end
    its fence or begin another. Equal texts have equal marks. A model must still be told that what
    stands between the marks is data: a fence shows where words end, not that nobody obeys them.
    """
    if isinstance(texts, str):
        raise InvalidInputError("fence takes several texts; for one: fence([text])")
    if not name.replace("_", "").isalnum():
        raise InvalidInputError(f"the name of a fence is letters, digits and _, not {name!r}")
    given = list(texts)
    for text in given:
        if not isinstance(text, str):
            raise InvalidInputError(f"a fence is around texts, not {type(text).__name__}")
    given = list(map(without_surrogates, given))
    tag = f"{name}-{_mark(given)}"
    return "\n".join(f"<{tag}>\n{text}\n</{tag}>" for text in given)


def _mark(texts: list[str]) -> str:
    for attempt in count():
        digest = blake2b(digest_size=_MARK_BYTES, salt=attempt.to_bytes(8, "little"))
        for text in texts:
            digest.update(len(text).to_bytes(8, "little") + text.encode())
        mark = digest.hexdigest()
        # Nobody finds a text that has the hash of itself in it. Should one, the next is taken.
        if not any(mark in text.lower() for text in texts):
            return mark
    raise AssertionError("unreachable")
