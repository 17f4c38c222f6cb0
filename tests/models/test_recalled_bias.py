"""From a text memory or a lattice to a bias, and anew while a text is generated."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_support import CHARACTERS, TINY, VOCABULARY, Stub, llama, taught, torch

from pmll_async import Concert, InvalidInputError, InvalidVectorError, Lattice, WrongEventLoopError
from pmll_async.models import (
    Bias,
    HiddenRefresh,
    LogitsBias,
    bias_for,
    corrections,
    generate,
    hidden_bias,
    sample,
    token_counts,
)
from pmll_async.models.language import states_of
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import HashingEmbedder, TextMemory


class Words:
    """A tokenizer of whole words, which grows; ends its texts with token 0."""

    name_or_path = "words"
    eos_token_id: int | None = None

    def __init__(self) -> None:
        self.known = ["<end>"]

    def __len__(self) -> int:
        return len(self.known)

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        for word in text.split():
            if word not in self.known:
                self.known.append(word)
        return [self.known.index(word) for word in text.split()]


def lattice(value_dim: int = VOCABULARY, dim: int = 16) -> Lattice:
    return Lattice(MemoryStore(), dim=dim, value_dim=value_dim, concert=Concert.cosine())


# --- from texts ----------------------------------------------------------------------------------


async def test_words_of_recalled_lines_gain_by_how_telling_they_are(tmp_path: Path) -> None:
    words, model = Words(), llama(50)
    async with TextMemory.open(tmp_path / "memory") as memory:
        for text in ("the code is 4711", "the tea is green", "the cat is old"):
            await memory.remember(text)
        bias = await bias_for(memory, "what is the code?", words, model, k=1)
        [row] = bias.rows
        best = words.known.index("4711")
        assert row.argmax() in (best, words.known.index("code"))
        assert row[best] == 1
        assert 0 < row[words.known.index("the")] < 0.5
        assert row[words.known.index("cat")] == 0


async def test_forgotten_lines_have_no_say(tmp_path: Path) -> None:
    words, model = Words(), llama(50)
    async with TextMemory.open(tmp_path / "memory") as memory:
        stored = await memory.remember("the code is 4711")
        await memory.remember("the tea is green")
        await bias_for(memory, "the code", words, model)
        await memory.forget(stored.anchor)
        bias = await bias_for(memory, "the code", words, model)
        assert bias.rows[0, words.known.index("4711")] == 0
        past = await bias_for(memory.at(stored.anchor), "the code", words, model)
        assert past.rows[0, words.known.index("4711")] == 1


async def test_each_prompt_has_its_row(tmp_path: Path) -> None:
    words, model = Words(), llama(50)
    async with TextMemory.open(tmp_path / "memory") as memory:
        await memory.remember("the code is 4711")
        await memory.remember("the tea is green")
        counts = await token_counts(memory, words)
        prompts = ["what is the code", "what is the tea"]
        bias = await bias_for(memory, prompts, words, model, k=1, counts=counts)
        nothing = await bias_for(memory, prompts[0], words, model, where={"topic": "tax"})
    assert not nothing.rows.any()
    assert counts.lines == 2
    assert counts.idf(words.known.index("the")) < counts.idf(words.known.index("4711"))
    found = bias.rows[:, [words.known.index(word) for word in ("4711", "green")]] > 0
    assert found.tolist() == [[True, False], [False, True]]


async def test_a_tokenizer_of_another_model_is_refused_with_both_names(tmp_path: Path) -> None:
    async with TextMemory.open(tmp_path / "memory") as memory:
        with pytest.raises(
            InvalidInputError, match=r"characters is not that of model LlamaFor.*50"
        ):
            await bias_for(memory, "code", CHARACTERS, llama(50))
        words = Words()
        words.eos_token_id = 0
        with pytest.raises(InvalidInputError, match=r"words is not .* LlamaFor.* ends with 0, .*7"):
            await bias_for(memory, "code", words, llama(50, eos_token_id=7, pad_token_id=None))
        with pytest.raises(InvalidInputError, match="one prompt or more"):
            await bias_for(memory, [], words, llama(50))


# --- from a lattice ------------------------------------------------------------------------------


async def test_the_lattice_is_asked_with_what_the_model_thinks() -> None:
    model, ids = taught(), CHARACTERS.encode("open the ")
    state = states_of(model, ids, window=16).hidden[-1].numpy()
    async with lattice() as memory:
        await memory.put(state, np.eye(VOCABULARY)[41])
        await memory.put(-state, np.eye(VOCABULARY)[42])
        bias = await bias_for(memory, "open the ", CHARACTERS, model, k=1)
    assert bias.rows[0].nonzero().flatten().tolist() == [41]


async def test_values_that_the_head_reads_are_projected() -> None:
    model = llama()
    async with lattice(value_dim=16) as memory:
        await memory.put(np.ones(16), np.arange(16.0))
        bias = await bias_for(memory, "a", CHARACTERS, model, embedder=Ones())
    torch.testing.assert_close(bias.rows, hidden_bias(np.arange(16.0), model).rows)


class Ones(HashingEmbedder):
    def embed(self, texts: Any) -> Any:
        return np.ones((len(texts), 16), np.float32)


async def test_values_of_another_size_are_refused_with_all_sizes() -> None:
    async with lattice(value_dim=5) as memory:
        with pytest.raises(InvalidVectorError, match=r"5 numbers, where NanoGPT has 97 .* 16"):
            await bias_for(memory, "open", CHARACTERS, taught())
        with pytest.raises(InvalidVectorError, match="5 numbers"):
            HiddenRefresh(memory, taught())


@pytest.mark.parametrize("form", ["vocabulary", "hidden"])
async def test_corrections_make_a_text_likelier(form: Any) -> None:
    model, ids = taught(), CHARACTERS.encode("the pin is 9304")
    lines = await corrections(model, ids, window=16, form=form)
    assert len(lines) == len(ids) - 1
    states = states_of(model, ids, window=16)
    async with lattice(len(lines[0].value)) as memory:
        await memory.put_many(lines)
        row = await memory.bias_vector(states.hidden[-2].numpy(), k=1)
    make = hidden_bias if form == "hidden" else lambda row, _: SimpleRows(row)
    before = torch.log_softmax(states.logits[-2], 0)[ids[-1]]
    after = torch.log_softmax(states.logits[-2] + 3 * make(row, model).rows[0], 0)[ids[-1]]
    assert after > before + (0.05 if form == "hidden" else 0.5)


class SimpleRows:
    def __init__(self, row: Any) -> None:
        self.rows = torch.tensor(row)[None]


# --- while a text is generated -------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 2])
async def test_a_bias_is_asked_for_anew_with_what_is_being_thought(every: int) -> None:
    model = taught()
    ids = CHARACTERS.encode("the pin is 9304 ")
    async with lattice() as memory:
        await memory.put_many(await corrections(model, ids, window=16))
        prompt = CHARACTERS.encode("the pin")
        with HiddenRefresh(memory, model, every=every, k=1) as refresh:
            first = await bias_for(memory, "the pin", CHARACTERS, model, k=1)
            bias = LogitsBias(first, alpha=30, refresh=refresh)
            got = await sample(model, prompt, 8, window=16, processors=[bias], temperature=0)
        assert not model.head._forward_pre_hooks
    wanted = " is 9304"
    assert (CHARACTERS.decode(got) == wanted) == (every == 1)


async def test_each_row_of_transformers_is_asked_for() -> None:
    model = llama()
    ids = torch.tensor([[5, 6], [7, 8]])
    second = torch.tensor([[5, 6, 30], [7, 8, 30]])
    async with lattice() as memory:
        for row, token in zip(second.tolist(), (41, 42), strict=True):
            state = states_of(model, row, window=8).hidden[-1].numpy()
            await memory.put(state, np.eye(VOCABULARY)[token])
        with HiddenRefresh(memory, model, every=1, k=1) as refresh:
            bias = LogitsBias(Bias(torch.eye(VOCABULARY)[30]), alpha=1e4, refresh=refresh)
            texts = await generate(model, ids, logits_processor=[bias], max_new_tokens=2)
    assert texts[:, 2:].tolist() == [[30, 41], [30, 42]]


async def test_asking_on_the_loop_itself_is_refused() -> None:
    model = llama()
    async with lattice() as memory:
        with HiddenRefresh(memory, model, every=1) as refresh:
            with pytest.raises(InvalidInputError, match="nothing was read yet"):
                refresh.renew()
            model(torch.tensor([[5]]))
            with pytest.raises(WrongEventLoopError, match="await generate"):
                refresh.renew()
            found = await asyncio.to_thread(refresh.renew)
            assert not found.rows.any()
        with pytest.raises(InvalidInputError, match="every"):
            HiddenRefresh(memory, model, every=0)


async def test_a_stub_that_gives_logits_has_a_memory_of_its_own() -> None:
    model, ids = Stub(), CHARACTERS.encode("abc")
    async with lattice(dim=8) as memory:
        await memory.put_many(await corrections(model, ids, window=4))
        bias = await bias_for(memory, "ab", CHARACTERS, model, k=1)
    assert bias.rows.argmax() == ids[2]
    assert TINY.dim == 16
