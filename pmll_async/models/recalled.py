"""From a memory to a bias: what is recalled for a prompt, or found by what a model is thinking."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from math import log
from typing import Any, Final, Literal, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pmll_async.errors import InvalidInputError, InvalidVectorError, WrongEventLoopError
from pmll_async.lattice import Lattice
from pmll_async.loop.jobs import running_loop
from pmll_async.models.bias import Bias, hidden_bias, token_bias, vocabulary_bias
from pmll_async.models.language import (
    States,
    Tokenizer,
    check_tokenizer,
    head_of,
    name_of,
    states_of,
    tensor_of,
    vocabulary_of,
    width_of,
)
from pmll_async.models.work import computed
from pmll_async.protocols import Embedder
from pmll_async.text.memory import TextMemory, TextView
from pmll_async.text.results import Recollection
from pmll_async.values.lines import Candidate
from pmll_async.views import LatticeView

Vectors: TypeAlias = Lattice | LatticeView
Texts: TypeAlias = TextMemory | TextView
Form: TypeAlias = Literal["vocabulary", "hidden"]

_LOOK_SECONDS: Final = 0.25
"""How often a generation that waits for a memory looks whether its loop is still there."""


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Of so many lines, in how many each token is."""

    lines: int
    having: Mapping[int, int]

    def idf(self, token: int) -> float:
        """How telling a token is: Robertson's weight as BM25 has it, above 0 for every token."""
        having = self.having.get(token, 0)
        return log(1 + (self.lines - having + 0.5) / (having + 0.5))


async def token_counts(memory: Texts, tokenizer: Tokenizer, *, most: int = 1000) -> TokenCounts:
    """The tokens in the newest `most` texts of a memory; made once it serves many prompts."""
    lines = await memory.recent(most)

    def count() -> TokenCounts:
        having: Counter[int] = Counter()
        for line in lines:
            having.update(set(tokenizer.encode(f" {line.text}", add_special_tokens=False)))
        return TokenCounts(len(lines), having)

    return await computed(lambda _: count())


async def bias_for(
    memory: Vectors | Texts,
    prompt: str | Sequence[str],
    tokenizer: Tokenizer,
    model: nn.Module,
    *,
    k: int = 5,
    embedder: Embedder | None = None,
    counts: TokenCounts | None = None,
    norm: nn.Module | None = None,
    window: int | None = None,
    **asked: Any,
) -> Bias:
    """The bias that a memory has for a prompt, or a row for each of several.

    A text memory is asked by `recall`, and gives the tokens of the lines it finds by score and idf
    (`counts`, by default of its newest 1000 lines). A lattice is asked by `bias_vector`, with the
    prompt's `hidden[-1]` or its vector of `embedder`; its values are as long as the vocabulary or
    as what the model's head reads (`norm` as for `hidden_bias`). Of a longer prompt the model is
    shown the last `window` tokens. `asked` are options of `recall` or `bias_vector`. Lines that
    were forgotten are not found, and so have no part in it.

    `InvalidInputError` before anything is computed if the tokenizer is another model's, or the
    values have neither size.
    """
    check_tokenizer(tokenizer, model)
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if not prompts:
        raise InvalidInputError("a bias is for one prompt or more, and there is none")
    if isinstance(memory, TextMemory | TextView):
        counts = counts or await token_counts(memory, tokenizer)
        found = [await memory.recall(each, k, **asked) for each in prompts]
        return await computed(lambda _: _of_lines(found, tokenizer, model, counts))
    if isinstance(memory, Lattice):
        _check_form(memory.value_dim, model)
    vectors = await computed(lambda _: _vectors(prompts, tokenizer, model, embedder, window))
    biases = [await memory.bias_vector(vector, k, **asked) for vector in vectors]
    return await computed(lambda _: _projected(np.stack(biases), model, norm))


def _of_lines(
    found: Sequence[Sequence[Recollection]],
    tokenizer: Tokenizer,
    model: nn.Module,
    counts: TokenCounts,
) -> Bias:
    scored = [[(line.text, line.score) for line in lines] for lines in found]
    return Bias.of([token_bias(lines, tokenizer, model, idf=counts.idf) for lines in scored])


def _vectors(
    prompts: Sequence[str],
    tokenizer: Tokenizer,
    model: nn.Module,
    embedder: Embedder | None,
    window: int | None,
) -> NDArray[np.float32]:
    if embedder is not None:
        return embedder.embed(prompts)
    encoded = [tokenizer.encode(prompt, add_special_tokens=True) for prompt in prompts]
    texts = [text if window is None else text[-window:] for text in encoded]
    states = [states_of(model, text, window=len(text)).hidden[-1] for text in texts]
    vectors: NDArray[np.float32] = torch.stack(states).numpy()
    return vectors


def _projected(values: NDArray[np.float32], model: nn.Module, norm: nn.Module | None) -> Bias:
    if _check_form(values.shape[1], model) == "vocabulary":
        return vocabulary_bias(values, model)
    return hidden_bias(values, model, norm=norm)


def _check_form(size: int | None, model: nn.Module) -> Form:
    vocabulary, width = vocabulary_of(model), width_of(model)
    if size not in (vocabulary, width):
        raise InvalidVectorError(
            "values of the memory",
            f"{size} numbers, where {name_of(model)} has {vocabulary} tokens and reads {width}",
        )
    return "vocabulary" if size == vocabulary else "hidden"


async def corrections(
    model: nn.Module,
    ids: Sequence[int],
    *,
    window: int,
    form: Form = "vocabulary",
    context: Mapping[str, Any] | None = None,
) -> list[Candidate]:
    """Lines that tell a model what came next in a text: key hidden[-1], value what was missing.

    That is 1 for the token that came, less the probabilities that the model gave: by how much
    its logits would have to change. With `form="hidden"` it is the vector that the model's head
    turns nearest to that (least squares). For `lattice.put_many`.
    """

    def compute(stop: Any) -> list[Candidate]:
        states = states_of(model, ids, window=window, stop=stop)
        missing = _missing(states, ids)
        values = missing if form == "vocabulary" else _unprojected(missing, head_of(model))
        pairs = zip(states.hidden.numpy(), values.numpy(), strict=False)
        return [Candidate(key=key, value=value, context=context or {}) for key, value in pairs]

    return await computed(compute)


def _missing(states: States, ids: Sequence[int]) -> Tensor:
    came = tensor_of(ids)[1:, None]
    missing = -torch.softmax(states.logits[:-1], dim=1)
    return missing.scatter_add(1, came, torch.ones(len(came), 1))


def _unprojected(logits: Tensor, head: nn.Module) -> Tensor:
    weight = head.weight.detach().double().cpu()
    # The normal equations: as many as the head reads, however large the vocabulary.
    vectors = torch.linalg.solve(weight.T @ weight, weight.T @ logits.double().T)
    return vectors.T.float()


class HiddenRefresh:
    """Asks a lattice anew, with `hidden[-1]` of what is being generated, every so many tokens.

    ``with HiddenRefresh(lattice, model, every=8) as refresh`` around an ``await generate(…)`` or
    ``sample(…)`` whose `LogitsBias` has it. It is entered on the loop of the lattice and answers
    in the thread that generates. The model's head is watched meanwhile by a hook. Each row gets a
    bias of its own; beams change places between tokens, so for those `every` is 1.
    """

    def __init__(
        self,
        memory: Vectors,
        model: nn.Module,
        *,
        every: int = 8,
        k: int = 5,
        norm: nn.Module | None = None,
        **asked: Any,
    ) -> None:
        if every < 1:
            raise InvalidInputError(f"every is 1 token or more, not {every}")
        if isinstance(memory, Lattice):
            _check_form(memory.value_dim, model)
        self.every = every
        self._memory, self._model, self._norm = memory, model, norm
        self._k, self._asked = k, asked
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hook: Any = None
        self._hidden: Tensor | None = None

    def __enter__(self) -> Self:
        """Watch the head."""
        self._loop = running_loop()
        self._hook = head_of(self._model).register_forward_pre_hook(self._keep)
        return self

    def __exit__(self, *_: object) -> None:
        """Watch it no more."""
        self._hook.remove()
        self._hidden = None

    def renew(self) -> Bias:
        """The bias for what the head has read last; called in the thread that generates."""
        if self._hidden is None or self._loop is None:
            raise InvalidInputError("nothing was read yet: generate within the refresh's `with`")
        states = self._hidden[:, -1].float().cpu().numpy()
        values = _answer(self._loop, self._ask(states))
        return _projected(values, self._model, self._norm)

    def _keep(self, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        self._hidden = given[0].detach()

    async def _ask(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        asking = (self._memory.bias_vector(state, self._k, **self._asked) for state in states)
        return np.stack(await asyncio.gather(*asking))


def _answer(loop: asyncio.AbstractEventLoop, asking: Any) -> NDArray[np.float32]:
    """What a coroutine gives on another thread's loop."""
    if _is_here(loop):
        asking.close()
        raise WrongEventLoopError(
            "a refresh waits for the loop, and so cannot be asked on it: await generate(…)"
        )
    answer: Future[NDArray[np.float32]] = asyncio.run_coroutine_threadsafe(asking, loop)
    while True:
        try:
            return answer.result(_LOOK_SECONDS)
        except NotYet:
            if loop.is_closed():
                raise WrongEventLoopError("the loop of the memory is closed") from None


def _is_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
