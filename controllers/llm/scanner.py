"""Where in a model's reply the JSON document stands, and where a truncated one ends.

Strings and comments are walked over as such, so that a bracket, a `//` or a fence inside a string
is never taken for one. Every pattern matches in one pass: time is linear in the reply.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

DEEPEST: Final = 64
"""Levels of nesting. Parsers recurse, and nobody's reply is that deep."""

_STEP: Final = re.compile(r"[\"'{}\[\]]|//|/\*|```")
_STRING: Final = {
    quote: re.compile(rf"[^{quote}\\]*+(?:\\.[^{quote}\\]*+)*+{quote}", re.DOTALL)
    for quote in "\"'"
}
_PAIRS: Final = {"}": "{", "]": "["}
# A brace in prose is seldom followed by a key; a bracket, as in [1], often by a value. So where an
# object is wanted only the bracket around one counts, and keeps its objects together.
_KEY: Final = r"\{(?=\s*+(?:[\"'}/]|[\w$]++\s*+:))"
_OBJECT: Final = re.compile(rf"(?:\[\s{{0,9}}+){{0,2}}+{_KEY}")
_VALUE: Final = re.compile(
    rf"{_KEY}|\[(?=\s*+(?:[\"'{{\[\]/+.\d-]|(?:true|false|null|NaN|Infinity)\b))"
)
_FENCE: Final = re.compile(r"^[ \t]*+```[ \t]*+([\w+.-]*+)[^\n`]*+\n", re.MULTILINE)
_OF_JSON: Final = frozenset({"", "json", "json5", "jsonc", "javascript", "js"})
_THOUGHTS: Final = "<think>"  # how models that reason open what is no reply yet
_THOUGHT: Final = re.compile(r"</think>")


class Unscannable(ValueError):  # noqa: N818  # it says what is wrong with a text, not with a call
    """No whole document: the message says why, in words for the model that wrote it."""


def document_in(text: str, *, is_object: bool = False) -> str:
    """The JSON document in a reply, from its first bracket to the one that closes it.

    A fenced block goes first, then what opens first; text around it and `<think>` before it are
    ignored. A reply without brackets is a document itself unless it must be an object.
    `Unscannable` where there is none, or where it is cut off.
    """
    opening = _OBJECT if is_object else _VALUE
    begin = len(text) - len(text.lstrip())
    if text[begin : begin + 1] in ("{", "["):
        return text[begin : _end(text, begin)]
    begin = _after_thoughts(text, begin)
    start = _fenced(text, begin, opening)
    if start is None and (found := opening.search(text, begin)) is not None:
        start = found.start()
    if start is not None:
        return text[start : _end(text, start)]
    bare = text[begin:].strip()
    if is_object or not bare:
        found_none = f"it holds no JSON document; it begins {bare[:60]!r}"
        raise Unscannable(found_none if bare else "it is empty")
    return bare


def _after_thoughts(text: str, begin: int) -> int:
    """Where a reasoning model begins to reply."""
    closed = _THOUGHT.search(text, begin)
    if text.startswith(_THOUGHTS, begin):
        if closed is None:
            raise Unscannable(f"it ends at {_place(text, len(text))} inside {_THOUGHTS}")
        return closed.end()
    # Some servers keep the opening tag, which is in their model's template, to themselves.
    if closed is not None and text[: closed.start()].rpartition("\n")[2].strip() == "":
        return closed.end()
    return begin


def _fenced(text: str, begin: int, opening: re.Pattern[str]) -> int | None:
    """Where the document in the first fence that has one begins."""
    while (fence := _FENCE.search(text, begin)) is not None:
        closing = text.find("```", fence.end())
        begin = len(text) if closing < 0 else closing + 3
        if fence[1].lower() in _OF_JSON:
            found = opening.search(text, fence.end(), begin)
            if found is not None:
                return found.start()
    return None


@dataclass(slots=True)
class _Walk:
    """A walk over one document; `open` are the places of the brackets that are still open."""

    text: str
    open: list[int] = field(default_factory=list)

    def step(self, at: int) -> int:
        """Behind the next string, comment or bracket."""
        found = _STEP.search(self.text, at)
        if found is None:
            raise self.cut_off(len(self.text), "")
        mark, start = found[0], found.start()
        if mark in _STRING:
            string = _STRING[mark].match(self.text, found.end())
            if string is None:
                raise self.cut_off(
                    len(self.text), f"inside the string from {_place(self.text, start)}, "
                )
            return string.end()
        if mark in ("//", "/*"):
            return self._comment(mark, found.end())
        if mark == "```":
            raise self.cut_off(start, "at the end of its fence, ")
        self._bracket(mark, start)
        return found.end()

    def _comment(self, mark: str, at: int) -> int:
        end = "\n" if mark == "//" else "*/"
        found = self.text.find(end, at)
        if found < 0:
            raise self.cut_off(len(self.text), "inside a comment, ")
        return found + len(end)

    def _bracket(self, mark: str, at: int) -> None:
        if mark not in _PAIRS:
            self.open.append(at)
            if len(self.open) > DEEPEST:
                raise Unscannable(
                    f"at {_place(self.text, at)} it is nested over {DEEPEST} levels deep"
                )
        elif self.text[self.open[-1]] != _PAIRS[mark]:
            raise Unscannable(
                f"{mark} at {_place(self.text, at)} closes {self._open(self.open[-1])}"
            )
        else:
            self.open.pop()

    def cut_off(self, at: int, within: str) -> Unscannable:
        """The document is not whole: nothing is guessed, because half an answer is a wrong one."""
        still = ", ".join(map(self._open, self.open[:5]))
        more = f" and {len(self.open) - 5} more" if len(self.open) > 5 else ""
        return Unscannable(
            f"it is cut off at {_place(self.text, at)}, {within}before it closes {still}{more}"
        )

    def _open(self, at: int) -> str:
        return f"{self.text[at]} from {_place(self.text, at)}"


def _end(text: str, start: int) -> int:
    """Behind the bracket that closes the one at `start`."""
    walk = _Walk(text)
    at = walk.step(start)
    while walk.open:
        at = walk.step(at)
    return at


def _place(text: str, at: int) -> str:
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    return f"{line}:{column}"
