"""WordLlama's static token embeddings: the mean of a text's token vectors, looked up in a table.

Weights and tokenizer are read from the installed package `wordllama`, which is never run. It is
under the MIT License; its weights were trained from the token embeddings of Llama 2 70B and other
models, so that the Llama 2 Community License may apply to them. Nothing is ever downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.text.embedders.packages import read_data
from pmll_async.values.checks import without_surrogates
from pmll_async.values.concert import Float32
from pmll_async.values.extras import require
from pmll_async.values.vectors import refuse_one_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_DIM: Final = 256
_PACKAGE: Final = "wordllama"
_WEIGHTS: Final = "weights/l2_supercat_256.safetensors"
_WEIGHTS_SHA256: Final = "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5"
_TOKENIZER: Final = "tokenizers/l2_supercat_tokenizer_config.json"
_TOKENIZER_SHA256: Final = "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68"
_SPACE: Final = 29871  # the token of a lone space, which stands for a text without any


@dataclass(frozen=True, slots=True)
class _Model:
    tokenizer: Tokenizer
    table: NDArray[np.float16]


class WordLlamaEmbedder:
    """An `Embedder` that knows words but not their order: 256 dimensions, 14,000 texts a second.

    Sums are exact, so a text has the same bits on every machine, alone or in any batch. Vectors
    have length 1 and are never zero. The table (16 MB) is loaded with the first text. `ImportError`
    if its packages are missing. Safe to share between threads; it belongs in a worker thread.
    """

    # The model and its file: all that a vector depends on.
    id: Final = f"wordllama-l2-supercat-{_DIM}-{_WEIGHTS_SHA256[:8]}-mean-1"
    dim: Final = _DIM

    def __init__(self) -> None:
        require("wordllama", _PACKAGE, "safetensors", "tokenizers")
        self._model: _Model | None = None
        self._loading = Lock()

    def embed(self, texts: Sequence[str]) -> Float32:
        """Unit vectors (len(texts), 256)."""
        refuse_one_text(texts)
        model = self._loaded()
        vectors = np.empty((len(texts), _DIM), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = _vector(model, text)
        return vectors

    def _loaded(self) -> _Model:
        with self._loading:
            if self._model is None:
                self._model = _load()
            return self._model


def _vector(model: _Model, text: str) -> NDArray[np.float64]:
    # Half a surrogate pair cannot be told to the tokenizer.
    text = without_surrogates(text)
    tokens = model.tokenizer.encode(text, add_special_tokens=False).ids
    total = np.add.reduce(model.table[tokens or [_SPACE]], axis=0, dtype=np.float64)
    if not total.any():
        total = model.table[_SPACE].astype(np.float64)
    # The sum points where the mean does.
    unit: NDArray[np.float64] = total / np.sqrt(np.add.reduce(total * total))
    return unit


def _load() -> _Model:
    # Only who embeds pays for loading them.
    from safetensors.numpy import load
    from tokenizers import Tokenizer

    tokenizer = read_data(_PACKAGE, _TOKENIZER, _TOKENIZER_SHA256)
    weights = load(read_data(_PACKAGE, _WEIGHTS, _WEIGHTS_SHA256))
    return _Model(Tokenizer.from_str(tokenizer.decode("utf-8")), weights["embedding.weight"])
