"""The language reference that every Python ships, cut into passages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import takewhile
from typing import Final

_UNDERLINE: Final = re.compile(r"([*=\-~^])\1+")
_LISTED: Final = re.compile(r"[*\[]|\d+\.")
_LEVELS: Final = {"*": 0, "=": 1, "-": 2, "~": 3, "^": 4}
# A paragraph or two: long enough to answer, short enough to be read, and for its words to matter.
_SHORTEST: Final = 200
_FULL: Final = 600
_LONGEST: Final = 1_600
_POSTSCRIPTS: Final = ("Changed in version", "New in version", "Added in version", "See also")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of one topic; `heading` says where in it, from the title inwards."""

    topic: str
    heading: tuple[str, ...]
    text: str

    @property
    def title(self) -> str:
        """The heading as one line."""
        return " › ".join(self.heading)

    @property
    def key(self) -> str:
        """The same for the same content, whatever the topic, in any version of Python."""
        return blake2b("\n".join((*self.heading, self.text)).encode(), digest_size=16).hexdigest()


def reference() -> Mapping[str, str]:
    """The topics of `help()`: name and text. Imported here because it takes a few megabytes."""
    from pydoc_data.topics import topics  # noqa: PLC0415

    return topics


def passages(topics: Mapping[str, str]) -> list[Passage]:
    """All passages, each text once: some topics contain others, and the smallest one is kept."""
    found: dict[str, Passage] = {}
    for topic in sorted(topics, key=lambda name: (len(topics[name]), name)):
        for passage in _cut(topic, topics[topic]):
            found.setdefault(" ".join(passage.text.split()), passage)
    return list(found.values())


def _cut(topic: str, text: str) -> Iterator[Passage]:
    piece: list[str] = []
    heading: tuple[str, ...] = ()
    for here, block in _blocks(text):
        if _ends_before(piece, heading, here, block.lstrip()):
            yield Passage(topic, heading, _dedented(piece))
            piece = []
        heading = _common(heading, here) if piece else here
        piece.append(block)
    if piece:
        yield Passage(topic, heading, _dedented(piece))


def _ends_before(
    piece: list[str], heading: tuple[str, ...], here: tuple[str, ...], block: str
) -> bool:
    """Whether the piece is complete without the next block."""
    size = sum(map(len, piece))
    if not piece or size + len(block) > _LONGEST:
        return bool(piece)
    if here[: len(heading)] != heading:
        return size > _SHORTEST
    return size > _FULL and not piece[-1].endswith(":") and not block.startswith(_POSTSCRIPTS)


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(a for a, b in takewhile(lambda pair: pair[0] == pair[1], zip(one, other)))


def _blocks(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Paragraphs, each with the headings and defined terms that it stands under."""
    titles: dict[int, str] = {}
    terms: list[tuple[int, str]] = []
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
        yield (*titles.values(), *(name for _, name in terms)), block


def _defines(lines: list[str], following: str) -> bool:
    """Whether the first line is a term, with its definition indented below."""
    rest = lines[1] if len(lines) > 1 else following
    alone = len(lines) == 1 or _indent(lines[1]) > _indent(lines[0])
    first = lines[0].strip()
    listed = first.endswith((":", ",", ";")) or _LISTED.match(first)
    return alone and not listed and _indent(rest) > _indent(lines[0])


def _indent(block: str) -> int:
    return len(block) - len(block.lstrip(" "))


def _dedented(piece: list[str]) -> str:
    margin = min(_indent(line) for block in piece for line in block.split("\n") if line.strip())
    text = "\n\n".join(piece)
    return "\n".join(line[margin:] for line in text.split("\n"))
