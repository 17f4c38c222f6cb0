"""Embedders that tests can hold up, and what they share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import numpy as np

from pmll_async.text import HashingEmbedder
from pmll_async.values.concert import Float32

DIM = 16
HASHING = HashingEmbedder(DIM)
PATIENCE = 30.0


def expected(texts: Sequence[str]) -> Float32:
    return HASHING.embed(texts)


class HeldEmbedder:
    """Begins a call, tells the loop of it, and goes on when the test lets it."""

    def __init__(self, answer: Callable[[Sequence[str]], Float32] = expected) -> None:
        self.loop = asyncio.get_running_loop()
        self.answer = answer
        self.calls: list[list[str]] = []
        self.threads: set[int] = set()
        self.running = self.most_at_once = 0
        self.begun: asyncio.Queue[list[str]] = asyncio.Queue()
        self._permits = threading.Semaphore(0)

    id = "held"
    dim = DIM

    def embed(self, texts: Sequence[str]) -> Float32:
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        self.calls.append(list(texts))
        self.threads.add(threading.get_ident())
        self.loop.call_soon_threadsafe(self.begun.put_nowait, list(texts))
        try:
            assert self._permits.acquire(timeout=PATIENCE)
            return self.answer(texts)
        finally:
            self.running -= 1

    def let(self, calls: int = 1) -> None:
        self._permits.release(calls)


class FreeEmbedder(HeldEmbedder):
    """One that nothing holds up."""

    def __init__(self, answer: Callable[[Sequence[str]], Float32] = expected) -> None:
        super().__init__(answer)
        self.let(1000)


class QuickHashing(HashingEmbedder):
    """Says that one short text is quick."""

    def __init__(self) -> None:
        super().__init__(DIM)
        self.threads: list[int] = []

    def quick(self, texts: Sequence[str]) -> bool:
        return len(texts) == 1 and len(texts[0]) < 20

    def embed(self, texts: Sequence[str]) -> Float32:
        self.threads.append(threading.get_ident())
        return super().embed(texts)


class RemoteEmbedder:
    """An `AsyncEmbedder` whose answers wait for the test."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.begun: asyncio.Queue[list[str]] = asyncio.Queue()
        self._permits = asyncio.Semaphore(0)
        self.cancelled = 0
        self.error: Exception | None = None

    id = "remote"
    dim = DIM

    async def aembed(self, texts: Sequence[str]) -> Float32:
        self.calls.append(list(texts))
        self.begun.put_nowait(list(texts))
        try:
            await self._permits.acquire()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return expected(texts)

    def let(self, calls: int = 1) -> None:
        for _ in range(calls):
            self._permits.release()


async def turns(count: int = 5) -> None:
    """Let everything that can run on the loop do so."""
    for _ in range(count):
        await asyncio.sleep(0)


def same(found: Float32, texts: Sequence[str]) -> bool:
    return bool(np.array_equal(found, expected(texts))) and found.dtype == np.float32
