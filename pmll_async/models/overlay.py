"""Overlays in closed form: `W_eff = W + β · low_rank(δ)`, where δ is a bias from memory.

Weights that were changed for some lines change what a model says everywhere. Overlays therefore
take a replay text, on which the model is to go on as before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from pmll_async.errors import InvalidInputError, InvalidVectorError
from pmll_async.models.adapters import AdapterRecord, Memory, Overlay, check_standing, lattice_of
from pmll_async.models.bias import Bias, check_size
from pmll_async.models.language import (
    check_evaluating,
    name_of,
    states_of,
    vocabulary_of,
    width_of,
)
from pmll_async.models.standing import fallen
from pmll_async.models.targets import fingerprint_of, targets_of
from pmll_async.models.work import Stop, computed
from pmll_async.values import checks

_RIDGE: Final = 1e-3
"""Of the mean square of what the head reads: it decides only where nothing else does."""
_TOKENS_AT_ONCE: Final = 8192
"""Columns of a product, between which is looked whether anybody waits: some tenths of a second."""


async def overlay_from_bias(
    memory: Memory,
    anchors: Sequence[str],
    states: ArrayLike,
    bias: Bias,
    model: nn.Module,
    *,
    replay: Sequence[int],
    window: int,
    alpha: float = 1.0,
    rank: int = 4,
    replay_weight: float = 1.0,
) -> Overlay:
    """An overlay of the head that adds α · b where the model thinks what it thought then.

    `states` are `hidden[-1]` (n, width), `bias` has a row for each, and `anchors` are the lines
    that it came from. Of all ΔW of this rank it is off by the least squares: from α · b on the
    states, and from nothing on those of `replay`, which the model reads `window` tokens at a time.
    Nothing is trained.
    """
    [name] = targets_of(model, None)
    check_replay(replay, window, replay_weight)
    checks.count(rank, "rank", 1)
    checks.number(alpha, "alpha")
    keys = _keys(states, bias, model)
    made = {"way": "closed form", "alpha": alpha, "rank": rank, "replay_weight": replay_weight}
    record = await record_of(memory, anchors, model, made)

    def compute(stop: Stop) -> Overlay:
        kept = torch.zeros(1, keys.shape[1])
        if replay_weight:
            kept = states_of(model, replay, window=window, stop=stop).hidden
        pair = _least_squares(keys, alpha * bias.rows, kept, replay_weight, rank, stop)
        return Overlay({name: pair}, record, named(model))

    return await computed(compute)


async def record_of(
    memory: Memory, anchors: Sequence[str], model: nn.Module, made: Mapping[str, Any]
) -> AdapterRecord:
    """Where an adapter of these lines comes from; `InvalidInputError` if one stands no more."""
    lattice = lattice_of(memory)
    names = checks.anchors(dict.fromkeys(anchors), "anchors")
    if not names:
        raise InvalidInputError("an overlay is made of lines, and there is none: recall some")
    head, revision, digest = lattice.head, lattice.revision, lattice.digest
    check_standing(await fallen(lattice, names))
    fingerprint = await computed(lambda _: fingerprint_of(model))
    return AdapterRecord(name_of(model), fingerprint, names, head, revision, digest, made)


def check_replay(replay: Sequence[int], window: int, weight: float) -> None:
    """`InvalidInputError` without a replay text, unless it shall have no weight."""
    if checks.number(weight, "the weight of replay") < 0:
        raise InvalidInputError(f"the weight of replay is 0 or more, not {weight}")
    if weight and len(replay) <= window:
        raise InvalidInputError(
            f"replay has {len(replay)} tokens, and a window {window}: without a text that the "
            "model is to go on with as before, an overlay spoils all it says; a weight of 0 does "
            "without"
        )


def named(model: Any) -> Mapping[str, str | None]:
    """What PEFT's configuration says of a base: by its task it gives some their own `generate`."""
    path = getattr(model, "name_or_path", None) or None
    task = "CAUSAL_LM" if hasattr(model, "prepare_inputs_for_generation") else None
    # A name that is no path or repository would be looked for in the network.
    return {"base_model_name_or_path": path, "task_type": task}


def _keys(states: ArrayLike, bias: Bias, model: nn.Module) -> Tensor:
    check_evaluating(model)
    check_size(bias, vocabulary_of(model), name_of(model))
    keys = torch.atleast_2d(torch.as_tensor(np.asarray(states), dtype=torch.float32))
    what, width = f"states of {name_of(model)}", width_of(model)
    if keys.shape != (len(bias.rows), width):
        raise InvalidVectorError(
            what,
            f"shape {tuple(keys.shape)} where the head reads {width} and {bias.source} has "
            f"{len(bias.rows)} rows",
        )
    if not bool(torch.isfinite(keys).all()):
        raise InvalidVectorError(what, "a component that is no finite number")
    return keys


def _least_squares(
    keys: Tensor, wanted: Tensor, kept: Tensor, weight: float, rank: int, stop: Stop
) -> tuple[Tensor, Tensor]:
    """A (rank, width) and B (vocabulary, rank) of reduced-rank regression, Izenman 1975."""
    keys, kept = keys.double(), kept.double()
    metric = keys.T @ keys / len(keys) + weight * kept.T @ kept / len(kept)
    metric += _RIDGE * metric.diagonal().mean() * torch.eye(len(metric), dtype=torch.double)
    pull = []
    for part in wanted.split(_TOKENS_AT_ONCE, dim=1):
        stop.check()
        pull.append(keys.T @ part.double() / len(keys))
    # The change of full rank is pull.T / metric; kept are the outputs in which it is largest.
    factor = torch.linalg.cholesky(metric)
    inner = torch.zeros_like(metric)
    for part in pull:
        stop.check()
        inner += part @ part.T
    inner = torch.linalg.solve_triangular(factor, inner, upper=False)
    inner = torch.linalg.solve_triangular(factor, inner.T, upper=False)
    sizes, directions = torch.linalg.eigh((inner + inner.T) / 2)
    most = min(rank, len(keys), len(metric))
    lengths = sizes[-most:].clamp(min=torch.finfo(torch.double).tiny).sqrt()
    inputs = torch.linalg.solve_triangular(factor.T, directions[:, -most:], upper=True)
    second = torch.cat([part.T @ inputs for part in pull]) / lengths
    # Each output is as long as 1; how much it takes of what is read is in A.
    return (inputs * lengths).T.float(), second.float()
