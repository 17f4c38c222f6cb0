"""Overlays that are fitted to recalled lines by gradient descent; the base stays as it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from pmll_async.errors import InvalidInputError
from pmll_async.models.adapters import Memory, Overlay
from pmll_async.models.descent import AdamW, pace
from pmll_async.models.language import (
    Tokenizer,
    check_evaluating,
    check_tokenizer,
    logits_of,
    tensor_of,
)
from pmll_async.models.overlay import check_replay, named, record_of
from pmll_async.models.targets import targets_of
from pmll_async.models.work import Stop, computed
from pmll_async.text.results import Recollection
from pmll_async.values import checks

Told: TypeAlias = Callable[[int, float, float], None]
Factors: TypeAlias = Mapping[str, tuple[Tensor, Tensor]]

_UNSCORED: Final = -100  # what torch's cross entropy leaves out


@dataclass(frozen=True, slots=True)
class _Fit:
    """How it is fitted."""

    rank: int
    kl_weight: float
    steps: int
    batch: int
    rate: float
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """What is fitted: layers of a model to `rows` (n, window + 1), and to nothing on `replay`."""

    model: nn.Module
    layers: Mapping[str, nn.Module]
    rows: Tensor
    replay: Tensor
    window: int

    def nll(self, factors: Factors, batch: int, draw: torch.Generator) -> Tensor:
        """Of some rows, a token in nats."""
        rows = self.rows[torch.randint(len(self.rows), (batch,), generator=draw)]
        with _added(self.layers, factors):
            logits = self._logits(rows[:, :-1].clamp(min=0))
        came = rows[:, 1:].to(logits.device)
        return functional.cross_entropy(
            logits.flatten(0, 1), came.flatten(), ignore_index=_UNSCORED
        )

    def kl(self, factors: Factors, batch: int, draw: torch.Generator) -> Tensor:
        """KL(base ‖ overlaid) of some windows of the replay, a token in nats."""
        last = len(self.replay) - self.window
        starts = torch.randint(last + 1, (batch, 1), generator=draw)
        rows = self.replay[starts + torch.arange(self.window)]
        with torch.no_grad():
            base = torch.log_softmax(self._logits(rows), dim=-1)
        with _added(self.layers, factors):
            now = torch.log_softmax(self._logits(rows), dim=-1)
        return functional.kl_div(
            now.flatten(0, 1), base.flatten(0, 1), reduction="batchmean", log_target=True
        )

    def _logits(self, rows: Tensor) -> Tensor:
        return logits_of(self.model(rows.to(next(self.model.parameters()).device))).float()


async def fit_overlay(
    memory: Memory,
    lines: Sequence[Recollection],
    tokenizer: Tokenizer,
    model: nn.Module,
    *,
    replay: Sequence[int],
    window: int,
    targets: Sequence[str] | None = None,
    rank: int = 4,
    kl_weight: float = 3.0,
    steps: int = 200,
    batch: int = 8,
    rate: float = 1e-2,
    seed: int = 0,
    told: Told = lambda _step, _loss, _kl: None,
) -> Overlay:
    """An overlay fitted to recalled lines: their NLL, and KL(base ‖ overlaid) on `replay`.

    `targets` are names of layers as PEFT's `target_modules`, such as `["o_proj"]` for the output
    projections of attention; without them it is the head. `window` is how many tokens the model is
    shown. `told(step, loss, kl)` is called behind each step. The base is not changed, and may be
    used meanwhile; cancelling ends it with the step under way. The same seed gives the same
    weights.
    """
    layers = targets_of(model, targets)
    check_evaluating(model)
    check_tokenizer(tokenizer, model)
    check_replay(replay, window, kl_weight)
    for name, number in (("rank", rank), ("steps", steps), ("batch", batch)):
        checks.count(number, name, 1)
    fit = _Fit(rank, kl_weight, steps, batch, rate, seed)
    record = await record_of(
        memory, [line.anchor for line in lines], model, {"way": "fitted", **asdict(fit)}
    )

    def compute(stop: Stop) -> Overlay:
        texts = [tokenizer.encode(line.text, add_special_tokens=True) for line in lines]
        task = _Task(model, layers, _rows(texts, window), tensor_of(replay), window)
        return Overlay(_fitted(task, fit, told, stop), record, named(model))

    return await computed(compute)


def _rows(texts: Sequence[Sequence[int]], window: int) -> Tensor:
    """Windows of texts (n, window + 1), each behind its text filled with what is not scored."""
    parts = [
        text[start : start + window + 1]
        for text in texts
        for start in range(0, len(text) - 1, window)
    ]
    if not parts:
        raise InvalidInputError("lines of one token have nothing to learn: recall longer ones")
    longest = max(map(len, parts))
    return torch.tensor([[*part, *[_UNSCORED] * (longest - len(part))] for part in parts])


def _fitted(task: _Task, fit: _Fit, told: Told, stop: Stop) -> Factors:
    draw = torch.Generator().manual_seed(fit.seed)
    pairs = {name: _initial(layer, fit.rank, draw) for name, layer in task.layers.items()}
    parameters = [part.requires_grad_() for pair in pairs.values() for part in pair]
    optimizer = AdamW(parameters)
    for step in range(fit.steps):
        stop.check()
        loss, kl = task.nll(pairs, fit.batch, draw), torch.zeros(())
        if fit.kl_weight:
            stop.check()
            kl = task.kl(pairs, fit.batch, draw)
        gradients = torch.autograd.grad(loss + fit.kl_weight * kl, parameters)
        optimizer.step(gradients, fit.rate * pace(step / fit.steps))
        told(step, loss.item(), kl.item())
    return {name: (a.detach().cpu(), b.detach().cpu()) for name, (a, b) in pairs.items()}


def _initial(layer: Any, rank: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """A at random and B zero, so that nothing is added at first, as PEFT begins."""
    first = torch.randn(rank, layer.in_features, generator=draw) / layer.in_features**0.5
    second = torch.zeros(layer.out_features, rank)
    return first.to(layer.weight.device), second.to(layer.weight.device)


@contextmanager
def _added(layers: Mapping[str, nn.Module], factors: Factors) -> Iterator[None]:
    """Meanwhile the layers add what their factors make, in this thread and in no other."""
    here = threading.get_ident()

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        first, second = factors[name]

        def add(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if threading.get_ident() != here:
                return output
            return output + (given[0].to(first.dtype) @ first.T @ second.T).to(output.dtype)

        return add

    hooks = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for each in hooks:
            each.remove()
