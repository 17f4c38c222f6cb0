"""Any model of Sentence Transformers that the application has loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from pmll_async.errors import InvalidInputError, InvalidVectorError
from pmll_async.values.concert import Float32
from pmll_async.values.vectors import refuse_one_text


class SentenceEncoder(Protocol):
    """What is used of a `sentence_transformers.SentenceTransformer`."""

    def encode(
        self, sentences: list[str], *, convert_to_numpy: bool, show_progress_bar: bool
    ) -> Any:
        """An array (len(sentences), dim)."""


class SentenceTransformerEmbedder:
    """An `Embedder` over a loaded `SentenceTransformer`, on that model's own device.

    `id` has to name the model, its revision and whatever else its vectors depend on; a store pins
    it. Vectors are as long as the model makes them: no normalising is added, cosines need none.
    The model reads batches, so in the last bits a vector may depend on what it is embedded with.
    """

    def __init__(self, model: SentenceEncoder, *, id: str) -> None:  # noqa: A002  # the protocol's word
        if not id:
            raise InvalidInputError("id names the model and its revision, and is not empty")
        self._model, self._id = model, id
        # Asked of the model itself: its own word on dimensions may be missing or stale.
        self._dim: int = self._encode(["dimensions"]).shape[1]

    @property
    def id(self) -> str:
        """As the caller named it."""
        return self._id

    @property
    def dim(self) -> int:
        """As many as the model has returned for a first text."""
        return self._dim

    def embed(self, texts: Sequence[str]) -> Float32:
        """Vectors (len(texts), dim)."""
        refuse_one_text(texts)
        if not texts:
            return np.empty((0, self._dim), dtype=np.float32)
        return self._encode(list(texts))

    def _encode(self, texts: list[str]) -> Float32:
        vectors = self._model.encode(texts, convert_to_numpy=True, show_progress_bar=False)
        found = np.asarray(vectors, dtype=np.float32)
        if found.ndim != 2 or len(found) != len(texts):
            raise InvalidVectorError(
                f"embedder {self._id!r}", f"{len(texts)} texts became an array {found.shape}"
            )
        return found
