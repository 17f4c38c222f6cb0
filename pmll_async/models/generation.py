"""Generating off the loop: `generate` for transformers' models, `sample` for any module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from pmll_async.errors import InvalidInputError
from pmll_async.models.language import check_evaluating, logits_of
from pmll_async.models.work import Stop, computed

Processor: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From ids (1, length) and scores (1, vocabulary) to other scores, as transformers has them."""


async def generate(model: Any, *args: Any, **options: Any) -> Any:
    """`model.generate(…)` in a worker thread; cancelling ends it behind the token under way."""
    criteria = list(options.pop("stopping_criteria", None) or ())

    def run(stop: Stop) -> Any:
        def criterion(ids: Tensor, *_: Any, **__: Any) -> Tensor:
            stop.check()
            return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

        return model.generate(*args, stopping_criteria=[*criteria, criterion], **options)

    return await computed(run)


async def sample(
    model: nn.Module,
    ids: Sequence[int],
    count: int,
    *,
    window: int,
    processors: Sequence[Processor] = (),
    temperature: float = 1.0,
    seed: int = 0,
) -> list[int]:
    """`count` tokens behind a text, by a module whose `forward(ids)` gives logits.

    Processors come before temperature; at 0 the likeliest token is taken. It computes in a worker
    thread, is shown the last `window` tokens, and gives the same for the same seed.
    """

    def run(stop: Stop) -> list[int]:
        text, draw = list(ids), Draw(temperature, seed)
        for _ in range(count):
            stop.check()
            text.append(draw(processed(scores_of(model, text, window), text, processors)))
        return text[len(ids) :]

    check_evaluating(model)
    return await computed(run)


class Draw:
    """Draws tokens from scores (1, vocabulary), the same ones for the same seed."""

    def __init__(self, temperature: float, seed: int) -> None:
        if not temperature >= 0:
            raise InvalidInputError(f"temperature is 0 or more, not {temperature}")
        self._temperature = temperature
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, scores: Tensor) -> int:
        """The next token."""
        if self._temperature == 0:
            return int(scores[0].argmax())
        probabilities = torch.softmax(scores[0].double() / self._temperature, dim=0)
        return int(torch.multinomial(probabilities, 1, generator=self._generator))


def scores_of(model: nn.Module, text: Sequence[int], window: int) -> Tensor:
    """The logits (1, vocabulary) of the token behind a text, on the CPU."""
    device = next(model.parameters()).device
    with torch.no_grad():
        shown = torch.tensor([text[-window:]], device=device)
        return logits_of(model(shown))[:, -1].float().cpu()


def processed(scores: Tensor, text: Sequence[int], processors: Sequence[Processor]) -> Tensor:
    """What is left of scores when all processors had their turn."""
    ids = torch.tensor([text])
    for processor in processors:
        scores = processor(ids, scores)
    return scores
