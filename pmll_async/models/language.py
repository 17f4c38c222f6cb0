"""What is asked of a language model: logits, what its head reads, whether a tokenizer is its own.

A model is any module whose `forward(ids)` gives logits (batch, length, vocabulary), or an object
that has them as `logits`: one of transformers, a `NanoGPT`, or one's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from pmll_async.errors import InvalidInputError
from pmll_async.models.work import Stop

_TOGETHER: Final = 32
"""Windows that go through the model at once: some milliseconds of a small one."""
_AT_ONCE: Final = 1 << 14
"""Numbers made a tensor in one call, during which no other thread has the interpreter: 1 ms."""
_HEADS: Final = "lm_head", "head"
_ENDS: Final = "eos_token_id", "bos_token_id", "pad_token_id"


class Tokenizer(Protocol):
    """What is used of a tokenizer, as transformers' have it."""

    def __len__(self) -> int:
        """How many tokens there are."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """The numbers of a text's tokens."""


def head_of(model: nn.Module, head: nn.Module | None = None) -> nn.Module:
    """The layer that turns hidden[-1] into logits. `InvalidInputError` where it is not found."""
    if head is not None:
        return head
    if hasattr(model, "get_output_embeddings"):
        head = model.get_output_embeddings()
    for name in _HEADS:
        head = getattr(model, name, None) if head is None else head
    if head is None:
        raise InvalidInputError(
            f"{name_of(model)} does not say which layer is its head: pass head="
        )
    return head


def vocabulary_of(model: nn.Module, head: nn.Module | None = None) -> int:
    """How many logits there are for each token."""
    return int(head_of(model, head).weight.shape[0])


def width_of(model: nn.Module, head: nn.Module | None = None) -> int:
    """The size of hidden[-1]."""
    return int(head_of(model, head).weight.shape[1])


def name_of(thing: object) -> str:
    """What a model or a tokenizer is called in a message."""
    places = thing, getattr(thing, "config", None)
    names = [getattr(place, "name_or_path", None) for place in places]
    return next((name for name in names if isinstance(name, str) and name), type(thing).__name__)


def check_tokenizer(tokenizer: Tokenizer, model: nn.Module) -> None:
    """`InvalidInputError`, naming both, if the tokenizer is another model's.

    That is known if it has more tokens than the model has logits, or where both name tokens that
    end a text and not one of them is the same.
    """
    pair = f"tokenizer {name_of(tokenizer)} is not that of model {name_of(model)}:"
    vocabulary = vocabulary_of(model)
    if len(tokenizer) > vocabulary:
        raise InvalidInputError(f"{pair} {len(tokenizer)} tokens, and {vocabulary} logits")
    end, ends = getattr(tokenizer, "eos_token_id", None), _ends(model)
    if end is not None and ends and end not in ends:
        raise InvalidInputError(f"{pair} a text ends with {end}, and there with {sorted(ends)}")


def _ends(model: nn.Module) -> set[int]:
    found: set[int] = set()
    for place in (getattr(model, "config", None), getattr(model, "generation_config", None)):
        for name in _ENDS:
            ids = getattr(place, name, None)
            found.update(ids if isinstance(ids, list) else () if ids is None else (ids,))
    return found


def tensor_of(ids: Sequence[int]) -> Tensor:
    """The tokens (n,) of a text of any length, made in pieces so that the event loop goes on."""
    starts = range(0, max(1, len(ids)), _AT_ONCE)
    return torch.cat(
        [torch.tensor(ids[start : start + _AT_ONCE], dtype=torch.long) for start in starts]
    )


def logits_of(output: Any) -> Tensor:
    """The logits in what a model's `forward` returns."""
    return output if isinstance(output, Tensor) else output.logits


def check_evaluating(model: nn.Module) -> None:
    """`InvalidInputError` in training mode, where dropout gives other states each time."""
    if model.training:
        raise InvalidInputError(f"{name_of(model)} is in training mode: call its eval() first")


@contextmanager
def reading(head: nn.Module, read: list[Tensor]) -> Iterator[None]:
    """Meanwhile what the head reads, hidden[-1], is appended, detached from all gradients."""

    def keep(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        read.append(given[0].detach())

    hook = head.register_forward_pre_hook(keep)
    try:
        yield
    finally:
        hook.remove()


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """For each token of a text hidden[-1], (n, width) float32, and the logits, (n, vocabulary)."""

    hidden: Tensor
    logits: Tensor


def states_of(
    model: nn.Module,
    ids: Sequence[int],
    *,
    window: int,
    head: nn.Module | None = None,
    stop: Stop | None = None,
) -> States:
    """The states of a text of any length: each token has seen half a window or more, but the first.

    `window` is how many tokens the model is shown at once.
    """
    check_evaluating(model)
    if not len(ids) or window < 1:
        raise InvalidInputError(f"a window of {window} tokens, and a text of {len(ids)}")
    stop, layer, text = stop or Stop(), head_of(model, head), tensor_of(ids)
    device = next(model.parameters()).device
    parts = list(_windows(len(ids), window))
    hidden, logits = [], []
    for start in range(0, len(parts), _TOGETHER):
        stop.check()
        together = parts[start : start + _TOGETHER]
        rows = torch.stack([text[part.start : part.end] for part in together]).to(device)
        read: list[Tensor] = []
        with torch.no_grad(), reading(layer, read):
            given = logits_of(model(rows))
        for number, part in enumerate(together):
            hidden.append(read[-1][number, part.new - part.start :].float().cpu())
            logits.append(given[number, part.new - part.start :].float().cpu())
    return States(torch.cat(hidden), torch.cat(logits))


@dataclass(frozen=True, slots=True)
class _Window:
    """Tokens from `start` to `end`; those before `new` are only looked back at."""

    start: int
    new: int
    end: int


def _windows(length: int, window: int) -> Iterator[_Window]:
    """Windows that together have each token new once; all of them are equally long."""
    yield _Window(0, 0, min(window, length))
    step = max(1, window // 2)
    for new in range(window, length, step):
        end = min(new + step, length)
        yield _Window(end - window, new, end)
