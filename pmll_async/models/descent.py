"""Gradient descent, as the small models here are trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

_BETAS: Final = 0.9, 0.99
_DECAY: Final = 0.1
_TINY: Final = 1e-8
_LARGEST_GRADIENT: Final = 1.0
_WARM_UP: Final = 0.05  # of all steps; then the rate falls along a cosine to a tenth


class AdamW:
    """Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019).

    Torch's own, when it is first made, loads so much that the event loop stands still for a second.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._parameters = parameters
        self._means = [torch.zeros_like(each) for each in parameters]
        self._squares = [torch.zeros_like(each) for each in parameters]
        self._steps = 0

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rate: float) -> None:
        """Go one step against the gradients, which are scaled down where they are large."""
        self._steps += 1
        length = torch.stack([gradient.norm() for gradient in gradients]).norm()
        scale = (_LARGEST_GRADIENT / length).clamp(max=1.0)
        first, second = (1 - beta**self._steps for beta in _BETAS)
        pairs = zip(self._parameters, gradients, self._means, self._squares, strict=True)
        for parameter, gradient, mean, square in pairs:
            scaled = gradient * scale
            mean.lerp_(scaled, 1 - _BETAS[0])
            square.lerp_(scaled * scaled, 1 - _BETAS[1])
            # Matrices are drawn towards zero; norms and biases are not.
            parameter.mul_(1 - rate * (_DECAY if parameter.ndim > 1 else 0.0))
            parameter.addcdiv_(mean / first, (square / second).sqrt() + _TINY, value=-rate)


def pace(done: float) -> float:
    """The share of the rate where so much of a training is done: up, then down along a cosine."""
    if done < _WARM_UP:
        return (done + 1e-3) / _WARM_UP
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP)))
