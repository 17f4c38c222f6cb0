"""The demo's memory: the language reference as lines, and what can be read back from them."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Final

from pydantic import JsonValue

from pmll_async import Candidate, Lattice, LineNotFoundError
from pmll_async.text import HashingEmbedder

from ..calling import in_thread
from .passages import Passage, passages, reference
from .relevance import Page, Vocabulary

_PAGE: Final = ("topic", "title", "text")
_EMBEDDED_AT_ONCE: Final = 64  # so that a progress bar moves and Ctrl-C is heard


@dataclass(frozen=True, slots=True)
class Library:
    """What the steps of the demo work with; `pages` by the anchor of their line."""

    embedder: HashingEmbedder
    pages: dict[str, Page]
    vocabulary: Vocabulary

    @classmethod
    async def read(cls, lattice: Lattice, embedder: HashingEmbedder) -> Library:
        """Everything that the lattice remembers of the reference."""
        pages = {
            line.anchor: Page(line.anchor, *(str(line.context[name]) for name in _PAGE))
            async for line in lattice.rewind(where={"kind": "passage"})
        }
        vocabulary = await in_thread(Vocabulary, pages.values())
        return cls(embedder, pages, vocabulary)


@dataclass(frozen=True, slots=True)
class Corpus:
    """The reference as lines to be: one for each passage, and one for each topic's headings."""

    found: Sequence[Passage]

    @classmethod
    def of_this_python(cls) -> Corpus:
        """The topics of the running interpreter."""
        return cls(passages(reference()))

    @property
    def size(self) -> int:
        """In lines."""
        return len(self.found) + len(self._headings())

    @property
    def key(self) -> str:
        """The same for the same content."""
        names = "".join(passage.key for passage in self.found)
        return f"demo-corpus-{blake2b(names.encode(), digest_size=16).hexdigest()}"

    async def is_remembered(self, lattice: Lattice) -> bool:
        """Whether all of it is on the chain already."""
        try:
            await lattice.find(self.key)
        except LineNotFoundError:
            return False
        return True

    async def remember(
        self, lattice: Lattice, embedder: HashingEmbedder, progress: Callable[[int], None]
    ) -> int:
        """Put it on the chain; returns how many lines are new. What is there is left alone."""
        new = await lattice.put_many(self._candidates(embedder), batch=128, progress=progress)
        version = ".".join(map(str, sys.version_info[:3]))
        corpus: dict[str, JsonValue] = {"kind": "corpus", "python": version, "lines": self.size}
        await lattice.note(corpus, idempotency_key=self.key)
        return new

    async def _candidates(self, embedder: HashingEmbedder) -> AsyncIterator[Candidate]:
        wanted = iter([*map(_passage_line, self.found), *self._headings()])
        while some := list(islice(wanted, _EMBEDDED_AT_ONCE)):
            keys = await in_thread(embedder.embed, [line.spoken for line in some])
            for line, key in zip(some, keys, strict=True):
                yield Candidate(key=key, context=line.context, idempotency_key=line.name)

    def _headings(self) -> list[_Line]:
        headings: dict[str, dict[str, None]] = {}
        for passage in self.found:
            headings.setdefault(passage.topic, {}).update(dict.fromkeys(passage.heading))
        return [
            _Line(f"demo-topic-{topic}", "\n".join(names), {"kind": "topic", "topic": topic})
            for topic, names in headings.items()
        ]


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    spoken: str
    context: dict[str, str]


def _passage_line(passage: Passage) -> _Line:
    context = {"kind": "passage", **{name: getattr(passage, name) for name in _PAGE}}
    return _Line(f"demo-passage-{passage.key}", f"{passage.title}\n{passage.text}", context)
