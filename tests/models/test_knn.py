"""Hidden states as a memory: gain on text it has seen, λ, silence, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from model_support import CHARACTERS, VOCABULARY, Stub, llama, taught, text_of_the_library, torch

from pmll_async import (
    Concert,
    DimensionMismatchError,
    InvalidContextError,
    InvalidInputError,
    Lattice,
)
from pmll_async.models import KnnMemory, KnnScores
from pmll_async.models.language import states_of
from pmll_async.stores.memory import MemoryStore

SECRET = CHARACTERS.encode("Zyx#7 quip: jolly vex 4711 (bog). " * 2)


def lattice(dim: int = 16, **options: Any) -> Lattice:
    return Lattice(MemoryStore(), dim=dim, value_dim=0, concert=Concert.cosine(), **options)


async def test_text_that_was_seen_becomes_likely_and_no_lambda_changes_nothing() -> None:
    model = taught()
    async with lattice() as memory:
        knn = KnnMemory(memory, model, window=16)
        assert await knn.remember(SECRET, context={"source": "secret"}) == len(SECRET) - 1
        scores = await knn.score(SECRET)
    plain = states_of(model, SECRET, window=16)
    expected = torch.log_softmax(plain.logits[:-1].double(), 1)
    expected = expected.gather(1, torch.tensor(SECRET)[1:, None]).mean()
    assert scores.nll(0.0) == pytest.approx(-float(expected))
    assert scores.nll(0.5) < scores.nll(0.0) - 1
    assert scores.best_mix() > 0.5


async def test_the_votes_are_a_softmax_of_cosines() -> None:
    model, ids = taught(), CHARACTERS.encode("abcab")
    states = states_of(model, ids, window=16).hidden.numpy()
    async with lattice() as memory:
        for key, token in ((states[-1], 41), (-states[-1], 42), (states[-1] * 2, 41)):
            await memory.put(key, context={"next": token})
        knn = KnnMemory(memory, model, window=16, k=3, mix=1.0, temperature=2.0)
        given = await knn.next_probabilities(ids)
        half = KnnMemory(memory, model, window=16, k=3, mix=0.5, temperature=2.0)
        mixed = await half.next_probabilities(ids)
    against = np.exp(-1)  # (-1 - 1) / 2
    assert given[[41, 42]] == pytest.approx([2 / (2 + against), against / (2 + against)])
    assert given.sum() == pytest.approx(1)
    own = torch.softmax(states_of(model, ids, window=16).logits[-1].double(), 0).numpy()
    assert mixed == pytest.approx((own + given) / 2)


async def test_where_nothing_is_near_the_memory_is_silent() -> None:
    model = taught()
    async with lattice() as memory:
        knn = KnnMemory(memory, model, window=16, min_similarity=0.999, mix=0.9)
        before = await knn.next_probabilities(SECRET[:5])
        scores = await knn.score(SECRET)
        assert scores.silent.all()
        assert scores.nll(0.9) == scores.nll(0.0)
        await knn.remember(SECRET)
        after = await knn.next_probabilities(SECRET[:5])
    assert after[SECRET[5]] > 0.89 > before[SECRET[5]]


async def test_forgotten_and_filtered_lines_have_no_say() -> None:
    model = taught()
    async with lattice() as memory:
        await KnnMemory(memory, model, window=16).remember(SECRET, context={"source": "secret"})
        other = KnnMemory(memory, model, window=16, where={"source": "other"})
        assert (await other.score(SECRET)).silent.all()
        revision = memory.revision
        await memory.forget_where({"source": "secret"})
        assert (await KnnMemory(memory, model, window=16).score(SECRET)).silent.all()
        past = KnnMemory(memory.at(revision), model, window=16)
        assert not (await past.score(SECRET)).silent.any()
        with pytest.raises(InvalidInputError, match="view of the past"):
            await past.remember(SECRET)


@pytest.mark.parametrize("read", [7, 16, 2048])
async def test_long_texts_are_read_in_pieces_that_know_their_past(
    read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pmll_async.models.knn._READ", read)
    ids = text_of_the_library(60)
    async with lattice() as memory:
        knn = KnnMemory(memory, taught(), window=16)
        assert await knn.remember(ids) == 59
        lines = [line async for line in memory.rewind()][::-1]
        assert [line.context["next"] for line in lines] == ids[1:]
        scores = await knn.score(ids)
    # Each token has seen half a window, so that no piece begins as if nothing had been before.
    whole = states_of(taught(), ids, window=16)
    own = torch.softmax(whole.logits[:-1].double(), 1).gather(1, torch.tensor(ids)[1:, None])
    assert np.abs(scores.model - own[:, 0].numpy()).mean() < 0.05


async def test_it_goes_on_as_the_remembered_text_does() -> None:
    async with lattice() as memory:
        knn = KnnMemory(memory, taught(), window=16, k=1, mix=0.95)
        await knn.remember(SECRET)
        got = await knn.sample(SECRET[:6], 10, temperature=0)
        drawn = [await knn.sample(SECRET[:6], 5, seed=seed) for seed in (1, 1, 2)]
    assert got == SECRET[6:16]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(("make", "dim"), [(Stub, 8), (llama, 16)], ids=["stub", "llama"])
async def test_any_module_that_gives_logits_may_have_it(make: Any, dim: int) -> None:
    async with lattice(dim) as memory:
        knn = KnnMemory(memory, make(), window=16)
        await knn.remember(SECRET)
        scores = await knn.score(SECRET)
    assert scores.nll(0.5) < scores.nll(0.0) - 0.5


def test_the_best_lambda_is_the_one_of_least_loss() -> None:
    silent = np.array([False, False])
    scores = KnnScores(np.array([0.5, 0.5]), np.array([1.0, 0.0]), silent)
    assert scores.best_mix() == 0.0
    scores = KnnScores(np.array([0.1, 0.1]), np.array([0.9, 0.4]), silent)
    assert scores.best_mix() == 0.95
    assert scores.losses(0.5) == pytest.approx(-np.log([0.5, 0.25]))


async def test_what_does_not_fit_is_refused_before_anything_is_computed() -> None:
    model = taught()
    async with lattice(dim=5) as memory:
        with pytest.raises(DimensionMismatchError, match=r"NanoGPT has 16 .* lattice has 5"):
            await KnnMemory(memory, model, window=16).remember(SECRET)
    async with lattice() as memory:
        knn = KnnMemory(memory, model, window=16)
        with pytest.raises(InvalidContextError, match="next"):
            await knn.remember(SECRET, context={"next": 1})
        await memory.put(np.ones(16), context={"next": VOCABULARY})
        with pytest.raises(InvalidInputError, match=f"{VOCABULARY} as its next token"):
            await knn.next_probabilities(SECRET)
        with pytest.raises(InvalidInputError, match="training mode"):
            await KnnMemory(memory, Stub().train(), window=16).score(SECRET)
        for wrong in ({"k": 0}, {"mix": 1.5}, {"temperature": 0.0}):
            with pytest.raises(InvalidInputError, match="temperature"):
                KnnMemory(memory, model, window=16, **wrong)
