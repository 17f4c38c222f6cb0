"""The hashing embedder: the same bits everywhere, never zero, and near for texts that are alike."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmll_async.errors import InvalidInputError
from pmll_async.protocols import Embedder
from pmll_async.text import FUNCTION_WORDS, HashingEmbedder, stem, words

SENTENCES = [
    "How are class attributes looked up?",
    "Ada drinks tea, and tea, and tea.",
    "naïve café — Straße 42",
    "記憶は鎖である",
    "🎉🎉",
    "",
]
GOLDEN = {
    8: "7efcdae19379e8190fc31bfab162a287",
    384: "83a5a9a1cb02f5a74fd851079fce13d2",
}

# Anything that a str can hold, lone surrogates included.
texts = st.text(st.characters(exclude_categories=()))


def digest(vectors: np.ndarray) -> str:
    return blake2b(vectors.astype("<f4").tobytes(), digest_size=16).hexdigest()


def cosine(embedder: HashingEmbedder, one: str, other: str) -> float:
    first, second = embedder.embed([one, other]).astype(np.float64)
    return float(first @ second)


@pytest.fixture(scope="module")
def embedder() -> HashingEmbedder:
    return HashingEmbedder()


@pytest.mark.parametrize("dim", sorted(GOLDEN))
def test_vectors_are_the_same_for_ever(dim: int) -> None:
    # Stores pin the id. Other bits need another id, not another golden value.
    assert HashingEmbedder(dim).id == f"pmll-hashing-1-{dim}"
    assert digest(HashingEmbedder(dim).embed(SENTENCES)) == GOLDEN[dim]


def test_vectors_do_not_depend_on_the_hash_seed() -> None:
    program = (
        "from pmll_async.text import HashingEmbedder\n"
        f"print(HashingEmbedder().embed({SENTENCES!r}).astype('<f4').tobytes().hex())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{HashingEmbedder().embed(SENTENCES).tobytes().hex()}\n".encode()}


@given(st.lists(texts, max_size=12), st.sampled_from([1, 2, 16, 384]))
def test_a_text_has_the_same_bits_alone_and_in_any_batch(batch: list[str], dim: int) -> None:
    together = HashingEmbedder(dim).embed(batch)
    embedder = HashingEmbedder(dim)
    for text, vector in zip(batch, together, strict=True):
        assert embedder.embed([text])[0].tobytes() == vector.tobytes()


def test_batches_over_one_block_are_the_same(embedder: HashingEmbedder) -> None:
    many = [f"line {number} of a long story" for number in range(700)]
    together = embedder.embed(many)
    apart = np.concatenate([embedder.embed(many[:300]), embedder.embed(many[300:])])
    assert together.tobytes() == apart.tobytes()


@given(texts, st.sampled_from([1, 2, 3, 384]))
def test_no_vector_is_zero(text: str, dim: int) -> None:
    vector = HashingEmbedder(dim).embed([text])[0]
    assert vector.dtype == np.float32
    assert vector.shape == (dim,)
    assert np.linalg.norm(vector.astype(np.float64)) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("text", ["", " \n\t", "...", "?!", "🎉", "\x00", "\ud800", "_", "a"])
def test_texts_without_words_have_a_direction(text: str, embedder: HashingEmbedder) -> None:
    assert np.linalg.norm(embedder.embed([text])) == pytest.approx(1.0, abs=1e-6)


def test_no_texts_give_no_vectors(embedder: HashingEmbedder) -> None:
    assert embedder.embed([]).shape == (0, 384)


def test_alike_texts_are_near(embedder: HashingEmbedder) -> None:
    question = "How are class attributes looked up?"
    assert cosine(embedder, question, "the lookup of an attribute of a class") > 0.4
    assert abs(cosine(embedder, question, "bake the bread for forty minutes")) < 0.15
    # Pieces of words see through spelling mistakes.
    assert cosine(embedder, "a persistent memory", "a persistant memry") > 0.25


def test_function_words_weigh_little(embedder: HashingEmbedder) -> None:
    assert cosine(embedder, "the chain of the lines", "chain lines") > 0.9
    assert cosine(embedder, "what is this about then", "what is this recursion then") < 0.5


def test_case_and_compatible_forms_do_not_matter(embedder: HashingEmbedder) -> None:
    for one, other in [("STRASSE", "straße"), ("ﬁle", "FILE"), ("ＰＭＬＬ", "pmll")]:  # noqa: RUF001  # meant
        assert embedder.embed([one]).tobytes() == embedder.embed([other]).tobytes()


def test_repetition_counts_by_its_root(embedder: HashingEmbedder) -> None:
    once, often = "tea water", "tea tea tea tea water"
    weights = cosine(embedder, "tea", once), cosine(embedder, "tea", often)
    # 1 : 1 gives 1/√2 and √4 : 1 gives 2/√5, up to what the two words share.
    assert weights == pytest.approx((0.707, 0.894), abs=0.05)


def test_threads_share_one_embedder(embedder: HashingEmbedder) -> None:
    expected = embedder.embed(SENTENCES).tobytes()
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda _: embedder.embed(SENTENCES).tobytes(), range(64))
        assert set(results) == {expected}


def test_an_endless_word_costs_no_more_than_a_long_one(embedder: HashingEmbedder) -> None:
    slots, _ = embedder._hash_word("x" * 1_000_000)
    assert len(slots) <= 2 * (2 + 64)


def test_it_is_an_embedder() -> None:
    embedder: Embedder = HashingEmbedder(16)
    assert (embedder.id, embedder.dim) == ("pmll-hashing-1-16", 16)


def test_wrong_arguments_are_refused(embedder: HashingEmbedder) -> None:
    with pytest.raises(InvalidInputError, match="dim"):
        HashingEmbedder(0)
    with pytest.raises(InvalidInputError, match=r"embed\(\[text\]\)"):
        embedder.embed("one text")


@pytest.mark.parametrize(
    ("group", "root"),
    [
        (["look", "looks", "looked", "looking"], "look"),
        (["class", "classes"], "class"),
        (["query", "queries", "queried"], "queri"),
        (["stop", "stopped", "stopping", "stops"], "stop"),
        (["decide", "decides", "decided", "deciding"], "decid"),
        (["this"], "this"),
        (["bus"], "bus"),
        (["is"], "is"),
        (["мысли"], "мысли"),
    ],
)
def test_stems(group: list[str], root: str) -> None:
    assert {stem(word) for word in group} == {root}


def test_words() -> None:
    assert words("It's __init__(), Ⅻ & naïve-ÜBER") == ["it", "s", "init", "xii", "naïve", "über"]
    assert words("日本語 и 42") == ["日本語", "и", "42"]
    assert words("?!") == []
    assert all(word in FUNCTION_WORDS for word in words("what is it about"))
