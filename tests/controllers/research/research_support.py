"""Two people's talks to be searched, and what the tests of research share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from controllers import RunResult
from controllers.research import Evidence
from pmll_async import Lattice
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import HashingEmbedder, TextMemory, Utterance

SESSIONS = [
    [
        ("Ann", "Hi Ben! I have finished reading Middlemarch, it took me the whole winter."),
        ("Ben", "Well done. My bees survived the frost."),
        ("Ann", "Lovely! Do you sell their honey?"),
        ("Ben", "I sell it on the market in Trondheim every Saturday."),
    ],
    [
        ("Ben", "My daughter gave me a book about bees."),
        ("Ann", "I borrowed a novel by Sigrid Undset from the library, Kristin Lavransdatter."),
        ("Ben", "Did you like it?"),
        ("Ann", "I could not put the novel down."),
    ],
    [
        ("Ann", "My sister Judith plays the cello in Leipzig."),
        ("Ben", "I tried the violin once, in school."),
    ],
]
BOOKS = "What books has Ann been reading?"


class Meaning:
    """An embedder of which recall does not know that it only knows spelling; may fail."""

    id = "meaning"
    dim = 64

    def __init__(self) -> None:
        self.failures = 0
        self._inner = HashingEmbedder(dim=64)

    def embed(self, texts: Sequence[str]) -> Any:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no model")
        return self._inner.embed(texts)


async def remember(memory: TextMemory) -> None:
    await memory.remember_many(
        Utterance(text=text, speaker=speaker, session=str(session), timestamp=1000.0 * session)
        for session, turns in enumerate(SESSIONS)
        for speaker, text in turns
    )


@asynccontextmanager
async def opened(embedder: HashingEmbedder | Meaning) -> AsyncIterator[TextMemory]:
    async with (
        Lattice(MemoryStore(), dim=64) as lattice,
        TextMemory(lattice, embedder) as memory,
    ):
        yield memory


def evidence_of(result: RunResult) -> Evidence:
    assert isinstance(result.data, Evidence)
    return result.data
