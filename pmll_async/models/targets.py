"""The layers of a base model that an overlay adds to, and which base model that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, Final

import torch
from torch import Tensor, nn

from pmll_async.errors import InvalidInputError
from pmll_async.models.language import head_of, name_of

_SAMPLED: Final = 1024
"""Numbers of each parameter that a fingerprint takes: training one changes nearly all of them."""


def base_of(model: nn.Module) -> nn.Module:
    """The model within PEFT's wrapping, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def targets_of(model: nn.Module, names: Sequence[str] | None) -> dict[str, nn.Module]:
    """Layers by their full names: the head, or those whose names end as PEFT's `target_modules`.

    `InvalidInputError` for one that is not there, is no `nn.Linear`, or shares its weights.
    """
    modules = dict(model.named_modules())
    if any(hasattr(module, "base_layer") for module in modules.values()):
        raise InvalidInputError(
            f"{name_of(base_of(model))} has adapters already: make an overlay on the model itself, "
            "which unload() of PEFT gives back, and load several afterwards"
        )
    found = _head(model, modules) if names is None else _ending(model, modules, names)
    for name, layer in found.items():
        _check_layer(model, name, layer)
    return found


def _head(model: nn.Module, modules: dict[str, nn.Module]) -> dict[str, nn.Module]:
    head = head_of(model)
    return {name: module for name, module in modules.items() if module is head}


def _ending(
    model: nn.Module, modules: dict[str, nn.Module], names: Sequence[str]
) -> dict[str, nn.Module]:
    found = {}
    for ending in [names] if isinstance(names, str) else names:
        fits = {
            name: module
            for name, module in modules.items()
            if name == ending or name.endswith(f".{ending}")
        }
        if not fits:
            raise InvalidInputError(f"{name_of(model)} has no layer whose name ends with {ending}")
        found.update(fits)
    if not found:
        raise InvalidInputError("an overlay needs a layer: targets names none")
    return found


def _check_layer(model: nn.Module, name: str, layer: nn.Module) -> None:
    if not isinstance(layer, nn.Linear):
        kind = type(layer).__name__
        raise InvalidInputError(
            f"{name} of {name_of(model)} is a {kind}, and an overlay adds to nn.Linear"
        )
    sharing = [
        other
        for other, parameter in model.named_parameters(remove_duplicate=False)
        if parameter is layer.weight and other != f"{name}.weight"
    ]
    if sharing:
        raise InvalidInputError(
            f"{name} of {name_of(model)} shares its weights with {', '.join(sharing)}, which a "
            "merge would change as well: call untie(model) first"
        )


def untie(model: nn.Module) -> None:
    """Give a model's head weights of its own; what it says stays the same.

    Where they are its input embedding's, too, as in many small models, merging an overlay of the
    head would change what every token means.
    """
    head = head_of(base_of(model))
    head.weight = nn.Parameter(head.weight.detach().clone(), head.weight.requires_grad)
    config: Any = getattr(model, "config", None)
    if getattr(config, "tie_word_embeddings", False):
        # So that neither saving nor loading ties them again.
        config.tie_word_embeddings = False


def fingerprint_of(model: nn.Module) -> str:
    """64 hex digits of a base model's names, shapes and numbers, with adapters on it or without.

    The same in float32 and bfloat16; of each parameter up to 1024 numbers are looked at.
    """
    digest = sha256()
    for name, parameter in sorted(_own(base_of(model)), key=lambda each: each[0]):
        numbers = parameter.detach().flatten()
        some = numbers[:: max(1, len(numbers) // _SAMPLED)].to("cpu", torch.bfloat16)
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        digest.update(some.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def _own(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in model.named_parameters():
        if ".lora_" not in name:
            yield name.replace(".base_layer.", "."), parameter
