"""The language reference that every Python ships, cut into passages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import takewhile
from typing import Final

_UNDERLINE: Final = re.compile(r"([*=\-~^])\1+")
_NO_TERM: Final = re.compile(r"[*\[>]|\d+\.|.*::=")
_LEVELS: Final = {"*": 0, "=": 1, "-": 2, "~": 3, "^": 4}
# A paragraph or two: long enough to answer, short enough to be read, and for its words to matter.
_SHORTEST: Final = 200
_FULL: Final = 600
_LONGEST: Final = 1_600
_FOOTNOTES: Final = "-[ Footnotes ]-"
_POSTSCRIPTS: Final = ("Changed in", "New in", "Added in", "Deprecated", "See also", "Note:")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of one topic; `heading` says where in it, from the title inwards."""

    topic: str
    heading: tuple[str, ...]
    text: str

    @property
    def title(self) -> str:
        """The heading as one line."""
        return " > ".join(self.heading)

    @property
    def key(self) -> str:
        """The same for the same content, whatever the topic, in any version of Python."""
        return blake2b("\n".join((*self.heading, self.text)).encode(), digest_size=16).hexdigest()


def reference() -> Mapping[str, str]:
    """The topics of `help()`: name and text. Imported here because it takes a few megabytes."""
    from pydoc_data.topics import topics  # noqa: PLC0415  # a few megabytes, for the demo only

    return topics


def passages(topics: Mapping[str, str]) -> list[Passage]:
    """All passages, each text once: some topics contain others, and the smallest one is kept."""
    found: dict[str, Passage] = {}
    for topic in sorted(topics, key=lambda name: (len(topics[name]), name)):
        for passage in _cut(topic, topics[topic]):
            found.setdefault(" ".join(passage.text.split()), passage)
    return list(found.values())


def _cut(topic: str, text: str) -> Iterator[Passage]:
    """The pieces, a remainder of a line or two joined to the piece before it."""

    def belongs(last: _Piece, piece: _Piece) -> bool:
        return piece.size <= _SHORTEST and last.size + piece.size <= _LONGEST

    blocks = _blocks(text.partition(_FOOTNOTES)[0])
    whole = _joined((_Piece(heading, (block,)) for heading, block in blocks), _goes_on)
    for piece in _joined(whole, belongs):
        yield Passage(topic, piece.heading, piece.text)


@dataclass(frozen=True, slots=True)
class _Piece:
    heading: tuple[str, ...]
    blocks: tuple[str, ...]

    def __add__(self, other: _Piece) -> _Piece:
        return _Piece(_common(self.heading, other.heading), self.blocks + other.blocks)

    @property
    def size(self) -> int:
        return sum(map(len, self.blocks))

    @property
    def text(self) -> str:
        lines = "\n\n".join(self.blocks).split("\n")
        margin = min(_indent(line) for line in lines if line.strip())
        return "\n".join(line[margin:] for line in lines)


def _joined(
    pieces: Iterable[_Piece], belongs: Callable[[_Piece, _Piece], bool]
) -> Iterator[_Piece]:
    """The pieces, each together with those behind it that belong to it."""
    last: _Piece | None = None
    for piece in pieces:
        if last is not None and belongs(last, piece):
            last += piece
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last


def _goes_on(piece: _Piece, other: _Piece) -> bool:
    """Whether the piece is incomplete without the next block."""
    block = other.blocks[0].lstrip()
    if piece.size + len(block) > _LONGEST:
        return False
    if other.heading[: len(piece.heading)] != piece.heading:
        return piece.size <= _SHORTEST
    unfinished = piece.blocks[-1].endswith(":") or block.startswith(_POSTSCRIPTS)
    return piece.size <= _FULL or unfinished


def _fitting(block: str) -> Iterator[str]:
    """The block; a table or grammar too long for a passage in parts of whole lines."""
    lines: list[str] = []
    for line in block.split("\n"):
        if lines and sum(map(len, lines)) + len(line) > _LONGEST:
            yield "\n".join(lines)
            lines = []
        lines.append(line)
    yield "\n".join(lines)


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        a for a, b in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    )


def _blocks(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Paragraphs, each with the headings and defined terms that it stands under.

    A term on a line of its own comes with the first paragraph of its definition.
    """
    titles: dict[int, str] = {}
    terms: list[tuple[int, str]] = []
    held = ""
    blocks = [block.strip("\n") for block in re.split(r"\n[ \t]*\n", text) if block.strip()]
    for block, following in zip(blocks, [*blocks[1:], ""], strict=True):
        lines = block.split("\n")
        if len(lines) == 2 and _UNDERLINE.fullmatch(lines[1].strip()):
            level = _LEVELS[lines[1].strip()[0]]
            titles = {at: title for at, title in titles.items() if at < level}
            titles[level] = lines[0].strip()
            terms = []
            continue
        terms = [term for term in terms if term[0] < _indent(block)]
        if _defines(lines, following):
            terms.append((_indent(block), lines[0].strip()))
            if len(lines) == 1:
                held += f"{block}\n\n"
                continue
        for part in _fitting(block):
            yield (*titles.values(), *(name for _, name in terms)), held + part
            held = ""


def _defines(lines: list[str], following: str) -> bool:
    """Whether the first line is a term, with its definition indented below."""
    first = lines[0].strip()
    if first.endswith((":", ",", ";", ".")) or _NO_TERM.match(first):
        return False
    if len(lines) == 1:
        return _indent(following) > _indent(lines[0])
    return _indent(lines[1]) > _indent(lines[0])


def _indent(block: str) -> int:
    return len(block) - len(block.lstrip(" "))
