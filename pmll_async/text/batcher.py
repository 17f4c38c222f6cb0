"""Embedding: callers who wait together share calls of the embedder, one call at a time.

No task runs here. One of the callers that wait leads: it takes texts from all of them in turn, has
them embedded, and goes on while its own are missing; then the next leads. A batch that is computed
in a worker thread brings its results back by itself, so that a leader who is cancelled is not
missed. A batch that waits for another machine is given up with its leader, and the next asks again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import numpy as np

from pmll_async.errors import InvalidVectorError, copy_error
from pmll_async.loop.batcher import tried
from pmll_async.loop.breathing import TURN, turn_budget
from pmll_async.loop.jobs import running_loop
from pmll_async.protocols import AsyncEmbedder, Embedder, QuickEmbedder
from pmll_async.values.concert import Float32
from pmll_async.values.vectors import refuse_one_text

_HERE: Final = 16
"""Texts a call in a worker thread: a question waits for no more than two such batches."""
_ELSEWHERE: Final = 128
"""Texts a request, where the way there and back costs more than the texts."""


@dataclass(slots=True, eq=False)
class _Order:
    """One call of `embed`: what it has, what it still needs, and what of that is not yet taken."""

    found: dict[bytes, Float32] = field(default_factory=dict)
    missing: dict[bytes, _Text] = field(default_factory=dict)
    queue: deque[_Text] = field(default_factory=deque)
    error: Exception | None = None
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def settled(self) -> bool:
        return self.error is not None or not self.missing

    def next(self) -> _Text | None:
        """The next text that nobody has taken."""
        while self.queue:
            text = self.queue.popleft()
            if not text.taken:
                return text
        return None


@dataclass(slots=True, eq=False)
class _Text:
    """A text that has no vector yet, and the calls that want it; `taken` once it is in a batch."""

    text: str
    key: bytes
    orders: list[_Order] = field(default_factory=list)
    taken: bool = False

    def settle(self, outcome: Float32 | Exception) -> None:
        for order in self.orders:
            del order.missing[self.key]
            if isinstance(outcome, Exception):
                order.error = outcome
            else:
                order.found[self.key] = outcome
            if order.settled:
                order.woken.set()


class EmbeddingBatcher:
    """Embeds texts for any number of callers on one loop, and remembers the last `cached` vectors.

    `run(function, *args)` has a blocking function executed in a worker thread; once begun, the
    function goes on to its end even if the waiting is cancelled, as with `Jobs.call`. A call of the
    embedder has up to `batch` texts, of all callers in turn, so that large calls let small ones
    through: by default 16, and 128 for an `AsyncEmbedder`.
    """

    def __init__(
        self,
        embedder: Embedder | AsyncEmbedder,
        run: Callable[..., Awaitable[Any]],
        *,
        cached: int = 4096,
        batch: int | None = None,
    ) -> None:
        self._embedder, self._run, self._cached = embedder, run, cached
        self._batch = batch or (_ELSEWHERE if isinstance(embedder, AsyncEmbedder) else _HERE)
        self._quick = embedder if isinstance(embedder, QuickEmbedder) else None
        self._cache: OrderedDict[bytes, Float32] = OrderedDict()
        self._pending: dict[bytes, _Text] = {}
        self._rotation: OrderedDict[_Order, None] = OrderedDict()
        self._leader: _Order | None = None
        self._busy = False

    async def embed(self, texts: Sequence[str]) -> Float32:
        """Vectors (len(texts), dim), the caller's own; equal texts are computed once.

        `InvalidVectorError` if the embedder returns something else than it must; its own errors
        reach every caller who has a text in the call that failed.
        """
        refuse_one_text(texts)
        keys = [_key(text) for text in texts]
        order = self._order(keys, texts)
        if order.missing:
            await self._fulfil(order)
        vectors = np.array([order.found[key] for key in keys], dtype=np.float32)
        return vectors.reshape(len(keys), self._embedder.dim)

    def _order(self, keys: Sequence[bytes], texts: Sequence[str]) -> _Order:
        order = _Order()
        for key, text in zip(keys, texts, strict=True):
            if key in order.found or key in order.missing:
                continue
            if (vector := self._cache.get(key)) is not None:
                self._cache.move_to_end(key)
                order.found[key] = vector
            else:
                order.missing[key] = self._pending.get(key) or _Text(text, key)
        return order

    async def _fulfil(self, order: _Order) -> None:
        if self._quick is not None and self._has_room_for(order, self._quick):
            self._embed_here(order, self._quick)
            # However quick it is, a caller that embeds in a loop lets others have their turn.
            await asyncio.sleep(0)
            return
        self._enter(order)
        try:
            while not order.settled:
                if self._leader is order and not self._busy:
                    await self._lead()
                else:
                    order.woken.clear()
                    await order.woken.wait()
        finally:
            self._leave(order)
        if order.error is not None:
            raise copy_error(order.error)

    def _has_room_for(self, order: _Order, embedder: QuickEmbedder) -> bool:
        """Whether this takes less than a hop to a thread, and nobody has used the turn yet."""
        if self._busy or self._pending:
            return False
        quick = embedder.quick([text.text for text in order.missing.values()])
        # How long it takes, only the embedder knows: one text has the turn to itself.
        return quick and turn_budget(running_loop()).take(TURN)

    def _embed_here(self, order: _Order, embedder: QuickEmbedder) -> None:
        batch = list(order.missing.values())
        for text, vector in zip(batch, _embedded(embedder, batch), strict=True):
            order.found[text.key] = self._remember(text.key, vector)

    def _enter(self, order: _Order) -> None:
        for key, text in order.missing.items():
            self._pending[key] = text
            text.orders.append(order)
            if not text.taken:
                order.queue.append(text)
        self._rotation[order] = None
        self._appoint()

    def _leave(self, order: _Order) -> None:
        for text in order.missing.values():
            text.orders.remove(order)
            self._drop_unwanted(text)
        self._rotation.pop(order, None)
        if self._leader is order:
            self._leader = None
        self._appoint()

    def _drop_unwanted(self, text: _Text) -> None:
        if not text.orders and not text.taken:
            self._pending.pop(text.key, None)

    def _appoint(self) -> None:
        """See to it that somebody leads while texts wait and none are under way."""
        if self._busy:
            return
        if self._leader is None and self._rotation:
            self._leader = next(iter(self._rotation))
        if self._leader is not None:
            self._leader.woken.set()

    async def _lead(self) -> None:
        """Have one batch embedded."""
        batch = self._take()
        self._busy = True
        try:
            if isinstance(self._embedder, AsyncEmbedder):
                await self._ask(self._embedder, batch)
            else:
                loop = running_loop()
                await self._run(self._compute, self._embedder, batch, loop)
        # Whatever went wrong, those who wait must learn it.
        except Exception as exc:  # noqa: BLE001
            self._settle(batch, exc)

    def _take(self) -> list[_Text]:
        """One text of each call in turn, until the batch is full or nothing waits."""
        batch: list[_Text] = []
        while self._rotation and len(batch) < self._batch:
            order, _ = self._rotation.popitem(last=False)
            text = order.next()
            if text is not None:
                text.taken = True
                batch.append(text)
                self._rotation[order] = None
        return batch

    async def _ask(self, embedder: AsyncEmbedder, batch: list[_Text]) -> None:
        try:
            vectors = await embedder.aembed([text.text for text in batch])
        except asyncio.CancelledError:
            self._put_back(batch)
            raise
        self._settle(batch, _checked(vectors, len(batch), embedder))

    def _put_back(self, batch: list[_Text]) -> None:
        self._busy = False
        # In front of the others and in their order, as they were first.
        for text in reversed(batch):
            text.taken = False
            self._drop_unwanted(text)
            for order in text.orders:
                order.queue.appendleft(text)
                self._rotation.setdefault(order)

    def _compute(
        self, embedder: Embedder, batch: list[_Text], loop: asyncio.AbstractEventLoop
    ) -> None:
        """In the worker thread. Nobody may be left to take the results, so they are sent."""
        outcome: Float32 | Exception = RuntimeError("the embedder was stopped")
        try:
            outcome = tried(_embedded, embedder, batch)
        finally:
            # A loop that is closed has nobody left who waits.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._settle, batch, outcome)

    def _settle(self, batch: list[_Text], outcome: Float32 | Exception) -> None:
        """Hand out a batch's vectors, or its error to every call that wanted one of them."""
        self._busy = False
        for row, text in enumerate(batch):
            self._pending.pop(text.key, None)
            if isinstance(outcome, Exception):
                text.settle(outcome)
            else:
                text.settle(self._remember(text.key, outcome[row]))
        self._appoint()

    def _remember(self, key: bytes, vector: Float32) -> Float32:
        # A row that is a view would keep its whole batch in memory.
        kept = vector.copy()
        self._cache[key] = kept
        if len(self._cache) > self._cached:
            self._cache.popitem(last=False)
        return kept


def _key(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).digest()


def _embedded(embedder: Embedder, batch: list[_Text]) -> Float32:
    return _checked(embedder.embed([text.text for text in batch]), len(batch), embedder)


def _checked(vectors: object, count: int, embedder: Embedder | AsyncEmbedder) -> Float32:
    """The vectors, if they are what they must be."""
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32:
        kind = getattr(vectors, "dtype", type(vectors).__name__)
        raise _bad(embedder, f"returned {kind}, not a numpy array of float32")
    expected = (count, embedder.dim)
    if vectors.shape != expected:
        raise _bad(embedder, f"returned vectors {vectors.shape} where {expected} are due")
    if not np.isfinite(vectors).all():
        raise _bad(embedder, "returned a vector with a component that is no finite number")
    if not vectors.any(axis=1).all():
        raise _bad(embedder, "returned a zero vector, which points nowhere")
    return vectors


def _bad(embedder: Embedder | AsyncEmbedder, reason: str) -> InvalidVectorError:
    return InvalidVectorError(f"embedder {embedder.id!r}", reason)
