"""Stores, embedders and conversations of the text memory's tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from pmll_async import Candidate, Lattice, LatticeView
from pmll_async.protocols import Store
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import HashingEmbedder, TextMemory
from pmll_async.text.index.keeper import TextIndexer
from pmll_async.text.views import Recalling
from pmll_async.values.concert import Float32

DIM = 32
PATIENCE = 10.0
"""Seconds until a test that waits in vain fails; never what decides an order."""

HASHING = HashingEmbedder(DIM)

Told: TypeAlias = list[tuple[str, float, tuple[tuple[str, float], ...]]]


class NotingEmbedder(HashingEmbedder):
    """Notes the texts that it is asked about."""

    def __init__(self, dim: int = DIM) -> None:
        super().__init__(dim)
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> Float32:
        self.asked += texts
        return super().embed(texts)


class WatchedStore(MemoryStore):
    """Notes which records' contexts are read, and lets a test act, or fail, before each."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.before: Callable[[int], None] = lambda n: None

    def contexts(self, first: int, stop: int) -> Iterator[Sequence[bytes]]:
        for n in range(first, stop):
            self.before(n)
            self.asked.append(n)
            yield from super().contexts(n, n + 1)


@asynccontextmanager
async def opened(
    store: Store | None = None, *, shelf: Path | None = None, **options: Any
) -> AsyncIterator[TextMemory]:
    """A text memory over a lattice in memory."""
    async with (
        Lattice(store or MemoryStore(), dim=DIM, value_dim=0) as lattice,
        TextMemory(lattice, HashingEmbedder(DIM), shelf=shelf, **options) as memory,
    ):
        yield memory


async def put(lattice: Lattice, text: str, **facts: str) -> str:
    """A line with a text as others than text memory write it."""
    return await lattice.put(HASHING.embed([text])[0], None, {"text": text, **facts})


async def told(state: Recalling, question: str, k: int = 100, **options: Any) -> Told:
    """What recall answers: anchors, scores, and how they came about."""
    found = await state.recall(question, k, explain=True, **options)
    return [(each.anchor, each.score, tuple((each.given or {}).items())) for each in found]


async def texts(state: Recalling, question: str, k: int = 100, **options: Any) -> list[str]:
    """The texts that recall answers with, best first."""
    return [found.text for found in await state.recall(question, k, **options)]


def proposing(candidate: Candidate) -> Callable[[LatticeView], Any]:
    """A candidate function that proposes just that."""

    async def propose(view: LatticeView) -> Candidate:
        return candidate

    return propose


async def race(memory: TextMemory, *candidates: Candidate) -> list[str]:
    """The anchors of the winner and its branches; the first candidate wins."""
    ranked = [
        candidate.model_copy(update={"confidence": 1.0 / (1 + place)})
        for place, candidate in enumerate(candidates)
    ]
    outcome = await memory.lattice.race([proposing(each) for each in ranked])
    return [outcome.winner.anchor, *(loser.anchor for loser in outcome.losers)]


@dataclass(frozen=True)
class Held:
    """Catch-ups of text indexes that wait: `begun` is set by the first, `go_on` lets them go."""

    begun: asyncio.Event
    go_on: threading.Event


def hold_catch_ups(monkeypatch: pytest.MonkeyPatch) -> Held:
    """From now on every catch-up waits."""
    held = Held(asyncio.Event(), threading.Event())
    loop, follow = asyncio.get_running_loop(), TextIndexer.follow

    def slow(self: TextIndexer, *args: Any) -> Any:
        loop.call_soon_threadsafe(held.begun.set)
        assert held.go_on.wait(10)
        return follow(self, *args)

    monkeypatch.setattr(TextIndexer, "follow", slow)
    return held
