"""kNN-LM: a lattice of hidden states that says what came next where a text went on alike.

After Khandelwal et al., "Generalization through Memorization: Nearest Neighbor Language Models"
(2020), with cosines where they have distances: behind a norm both rank alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pmll_async.errors import DimensionMismatchError, InvalidContextError, InvalidInputError
from pmll_async.lattice import Lattice
from pmll_async.models.generation import Draw
from pmll_async.models.language import check_evaluating, name_of, states_of, vocabulary_of, width_of
from pmll_async.models.work import Stop, computed
from pmll_async.values.lines import Candidate, MemoryLine
from pmll_async.views import LatticeView, Where

if TYPE_CHECKING:
    from pydantic import JsonValue

Float64 = NDArray[np.float64]

NEXT: Final = "next"
"""Where a line's context has the token that came next."""

_READ: Final = 2048
"""Tokens whose states are computed in one piece: some tenths of a second of a small model."""
_ASKED: Final = 64
"""Questions that wait together, and so become one product of matrices."""


@dataclass(frozen=True, slots=True, eq=False)
class KnnScores:
    """For each token of a text but the first its probability: by the model, and by the memory.

    `silent` is where the memory found nothing, and has no say.
    """

    model: Float64
    memory: Float64
    silent: NDArray[np.bool_]

    def losses(self, mix: float) -> Float64:
        """The negative log-likelihood of each token in nats, with λ = `mix`."""
        share = np.where(self.silent, 0.0, mix)
        probability: Float64 = (1 - share) * self.model + share * self.memory
        return -np.log(np.maximum(probability, np.finfo(np.float64).tiny))

    def nll(self, mix: float) -> float:
        """The mean of `losses`; its exponential is the perplexity."""
        return float(self.losses(mix).mean())

    def best_mix(self, steps: int = 20) -> float:
        """The λ in [0, 1) of the smallest `nll`; choose it on a text that is not evaluated on."""
        return min((step / steps for step in range(steps)), key=self.nll)


class KnnMemory:
    """What a model's states were, and which token followed, in a lattice with `value_dim=0`.

    `p = (1 - λ) p_model + λ p_memory` with λ = `mix`, where p_memory sums `exp(cosine /
    temperature)` of the `k` nearest states by their next token. Nothing below `min_similarity` has
    a say. Any module whose `forward(ids)` gives logits will do; `head` is the layer that makes
    them, where the model does not say so, and `window` how many tokens it is shown. A lattice with
    `Concert.cosine()` ranks by similarity alone; a `novelty_window` keeps many lines quick to put.
    """

    def __init__(
        self,
        memory: Lattice | LatticeView,
        model: nn.Module,
        *,
        window: int,
        head: nn.Module | None = None,
        k: int = 16,
        temperature: float = 0.05,
        mix: float = 0.25,
        min_similarity: float = -1.0,
        where: Where | None = None,
    ) -> None:
        if not temperature > 0 or not 0 <= mix <= 1 or k < 1:
            raise InvalidInputError(
                f"temperature {temperature} is above 0, mix {mix} in [0, 1], and k {k} 1 or more"
            )
        self._memory, self._model, self._window, self._head = memory, model, window, head
        self._k, self._temperature, self._mix = k, temperature, mix
        self._least, self._where = min_similarity, where
        self._vocabulary = vocabulary_of(model, head)

    async def remember(
        self, ids: Sequence[int], *, context: Mapping[str, JsonValue] | None = None
    ) -> int:
        """Store the state at each token of a text with the token behind it; how many lines.

        `DimensionMismatchError` if the lattice has keys of another size than the states.
        """
        self._check()
        if not isinstance(self._memory, Lattice):
            raise InvalidInputError("a view of the past takes no lines: remember in its lattice")
        if context is not None and NEXT in context:
            raise InvalidContextError(NEXT, "is where the next token stands")
        return await self._memory.put_many(self._candidates(ids, context or {}), batch=1024)

    async def score(self, ids: Sequence[int]) -> KnnScores:
        """What model and memory give each token of a text behind the first."""
        self._check()
        model, memory, silent = [], [], []
        async for states, part in self._read(ids):
            model.append(states.given)
            for start in range(0, len(part), _ASKED):
                found = await self._ask(states.hidden[start : start + _ASKED])
                for lines, token in zip(found, part[start:], strict=False):
                    memory.append(self._votes(lines).get(token, 0.0))
                    silent.append(not lines)
        return KnnScores(np.concatenate(model), np.array(memory), np.array(silent))

    async def next_probabilities(self, ids: Sequence[int]) -> Float64:
        """The probabilities (vocabulary,) of the token behind a text."""
        self._check()
        shown = list(ids)[-self._window :]

        def compute(stop: Stop) -> tuple[NDArray[np.float32], Float64]:
            states = states_of(self._model, shown, window=self._window, head=self._head, stop=stop)
            own = torch.softmax(states.logits[-1].double(), dim=0)
            return states.hidden[-1:].numpy(), own.numpy()

        hidden, probabilities = await computed(compute)
        [lines] = await self._ask(hidden)
        if not lines:
            return probabilities
        mixed: Float64 = (1 - self._mix) * probabilities
        for token, share in self._votes(lines).items():
            mixed[token] += self._mix * share
        return mixed

    async def sample(
        self, ids: Sequence[int], count: int, *, temperature: float = 1.0, seed: int = 0
    ) -> list[int]:
        """`count` tokens behind a text, the likeliest ones at temperature 0."""
        text, draw = list(ids), Draw(temperature, seed)
        for _ in range(count):
            probabilities = await self.next_probabilities(text)
            text.append(draw(torch.from_numpy(np.log(probabilities + 1e-300))[None]))
        return text[len(ids) :]

    def _check(self) -> None:
        check_evaluating(self._model)
        width = width_of(self._model, self._head)
        if isinstance(self._memory, Lattice) and self._memory.dim != width:
            what = f"hidden[-1] of {name_of(self._model)}"
            raise DimensionMismatchError(what, self._memory.dim, width)

    async def _candidates(
        self, ids: Sequence[int], context: Mapping[str, JsonValue]
    ) -> AsyncIterator[Candidate]:
        async for states, part in self._read(ids):
            for key, token in zip(states.hidden, part, strict=True):
                yield Candidate(key=key, context={**context, NEXT: int(token)})

    async def _read(self, ids: Sequence[int]) -> AsyncIterator[tuple[_Part, list[int]]]:
        """The states of a text in pieces, each with the tokens that follow."""
        text = list(ids)
        for start in range(0, len(text) - 1, _READ):
            # What comes before a piece is shown as well, so that no state is without its past.
            before = max(0, start - self._window // 2)
            shown = text[before : start + _READ]
            part = text[start + 1 : start + _READ + 1]
            yield await computed(self._reading(shown, start - before, part)), part

    def _reading(self, shown: list[int], skip: int, part: list[int]) -> Callable[[Stop], _Part]:
        def compute(stop: Stop) -> _Part:
            states = states_of(self._model, shown, window=self._window, head=self._head, stop=stop)
            end = skip + len(part)
            own = torch.softmax(states.logits[skip:end].double(), dim=1)
            given = own.gather(1, torch.tensor(part)[:, None])[:, 0]
            return _Part(states.hidden[skip:end].numpy(), given.numpy())

        return compute

    async def _ask(self, states: NDArray[np.float32]) -> list[list[MemoryLine]]:
        asking = (
            self._memory.query(state, self._k, where=self._where, min_similarity=self._least)
            for state in states
        )
        return await asyncio.gather(*asking)

    def _votes(self, lines: Sequence[MemoryLine]) -> dict[int, float]:
        """The share of each token among the lines."""
        near = np.exp((np.array([line.similarity for line in lines]) - 1) / self._temperature)
        votes: dict[int, float] = {}
        for line, weight in zip(lines, near / near.sum(), strict=True):
            token = self._token(line)
            votes[token] = votes.get(token, 0.0) + float(weight)
        return votes

    def _token(self, line: MemoryLine) -> int:
        token = line.context.get(NEXT)
        if not isinstance(token, int) or not 0 <= token < self._vocabulary:
            raise InvalidInputError(
                f"line {line.anchor} has {token!r} as its next token, and {name_of(self._model)} "
                f"has {self._vocabulary} tokens: ask for its own lines by where="
            )
        return token


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """States (n, width) and what the model gave the token behind each, (n,)."""

    hidden: NDArray[np.float32]
    given: Float64
