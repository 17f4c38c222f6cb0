"""Embeddings over HTTP from OpenAI, or from any server that speaks its protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from pmll_async.errors import InvalidInputError, InvalidVectorError
from pmll_async.values.checks import without_surrogates
from pmll_async.values.concert import Float32
from pmll_async.values.extras import require
from pmll_async.values.vectors import refuse_one_text

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types import CreateEmbeddingResponse

OPENAI_URL: Final = "https://api.openai.com/v1"


class OpenAIEmbedder:
    """An `AsyncEmbedder` that asks for up to `batch` texts in one request, one after another.

    Pass the `api_key`, and the `base_url` of another server, or a `client` of your own with its
    retries and time limits; only a client that was made here is closed by `aclose`. `dim` is what
    the model returns. The client's errors come through (`openai.APIError`); an answer that is not
    one vector of `dim` dimensions a text is an `InvalidVectorError`. No `openai`: `ImportError`.
    """

    def __init__(
        self,
        model: str,
        *,
        dim: int,
        client: AsyncOpenAI | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        batch: int = 128,
    ) -> None:
        if dim < 1 or batch < 1:
            raise InvalidInputError(f"dim and batch are at least 1, not {dim} and {batch}")
        self._model, self._dim, self._batch = model, dim, batch
        self._owns_client = client is None
        self._client = client or _new_client(base_url, api_key)

    @property
    def id(self) -> str:
        """The model's name, wherever it is served."""
        return f"openai-{self._model}-{self._dim}"

    @property
    def dim(self) -> int:
        """The number of dimensions."""
        return self._dim

    async def aembed(self, texts: Sequence[str]) -> Float32:
        """Vectors (len(texts), dim)."""
        refuse_one_text(texts, "aembed")
        vectors = np.empty((len(texts), self._dim), dtype=np.float32)
        for start in range(0, len(texts), self._batch):
            batch = [_sendable(text) for text in texts[start : start + self._batch]]
            answer = await self._client.embeddings.create(input=batch, model=self._model)
            vectors[start : start + len(batch)] = self._read(answer, len(batch))
        return vectors

    async def aclose(self) -> None:
        """Close the client, unless it was handed in."""
        if self._owns_client:
            await self._client.close()

    def _read(self, answer: CreateEmbeddingResponse, count: int) -> Float32:
        """The vectors of an answer, in the order of the texts."""
        # Servers may answer in any order; the index says whose a vector is.
        rows = sorted(answer.data, key=lambda row: row.index)
        if [row.index for row in rows] != list(range(count)):
            raise self._bad(
                f"{count} texts were answered with {len(rows)} vectors or wrong indices"
            )
        dims = {len(row.embedding) for row in rows}
        if dims != {self._dim}:
            raise self._bad(f"vectors have {sorted(dims)} dimensions where {self._dim} are due")
        vectors = np.array([row.embedding for row in rows], dtype=np.float32)
        if not np.isfinite(vectors).all():
            raise self._bad("a vector has a component that is no finite number")
        return vectors

    def _bad(self, reason: str) -> InvalidVectorError:
        return InvalidVectorError(f"embedder {self.id!r}", reason)


def _new_client(base_url: str | None, api_key: str | None) -> AsyncOpenAI:
    if api_key is None:
        raise InvalidInputError("pass api_key=... or a client; no variable is looked up for it")
    require("openai", "openai")
    # Who hands in a client has loaded it already.
    from openai import AsyncOpenAI

    return AsyncOpenAI(api_key=api_key, base_url=base_url or OPENAI_URL)


def _sendable(text: str) -> str:
    """Servers refuse empty texts, and JSON half a surrogate pair."""
    return without_surrogates(text) or " "
