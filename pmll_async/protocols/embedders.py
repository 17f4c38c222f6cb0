"""What a text memory needs of an embedder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from pmll_async.values.concert import Float32


class Embedder(Protocol):
    """Turns texts into key vectors; `id` is pinned in the store."""

    @property
    def id(self) -> str:
        """Names the model and everything that its vectors depend on."""

    @property
    def dim(self) -> int:
        """The number of dimensions."""

    def embed(self, texts: Sequence[str]) -> Float32:
        """Vectors (len(texts), dim), none of them zero."""


@runtime_checkable
class AsyncEmbedder(Protocol):
    """An embedder that waits for another machine instead of computing; runs on the loop."""

    @property
    def id(self) -> str:
        """See `Embedder.id`."""

    @property
    def dim(self) -> int:
        """See `Embedder.dim`."""

    async def aembed(self, texts: Sequence[str]) -> Float32:
        """Vectors (len(texts), dim), none of them zero; cancelling gives the request up."""


@runtime_checkable
class QuickEmbedder(Embedder, Protocol):
    """An embedder that is done with a short text before a worker thread would have begun."""

    def quick(self, texts: Sequence[str]) -> bool:
        """Whether these take 0.1 ms or less, so that the event loop may embed them itself."""
