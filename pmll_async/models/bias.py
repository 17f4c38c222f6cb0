"""A bias from memory, added to a model's logits: `logits += α · b`.

Three ways to make one, by what a memory has as its values: `vocabulary_bias` of a number for each
token, `hidden_bias` of a vector as the model's head reads it, and `token_bias` of the words in
lines that were recalled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from pmll_async.errors import InvalidInputError, InvalidVectorError
from pmll_async.models.language import Tokenizer, head_of, name_of, vocabulary_of, width_of

try:
    from transformers import LogitsProcessor
except ImportError as exc:
    raise ImportError(
        "transformers missing: pip install 'pmll-async[models]'", name="transformers"
    ) from exc

Alpha: TypeAlias = float | Callable[[int], float]
"""How strong a bias is: a number, or a function of how many tokens were generated before."""


class Refresh(Protocol):
    """Gives another bias while a text is generated."""

    every: int

    def renew(self) -> Bias:
        """The bias from now on, one row for each row that is generated."""


@dataclass(frozen=True, slots=True, eq=False)
class Bias:
    """What is added to logits: a row (vocabulary,) for each sequence, float32 and finite.

    `source` is what it was made of, for messages. A single vector is one row.
    `InvalidVectorError` if it has another shape, or is not finite somewhere.
    """

    rows: Tensor
    source: str = "a bias"

    def __post_init__(self) -> None:
        """Check the rows; they are copied, so that nobody else changes them."""
        rows = torch.as_tensor(self.rows).detach().to("cpu", torch.float32, copy=True)
        rows = rows[None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or not rows.numel():
            raise InvalidVectorError(self.source, f"rows of a vocabulary, not {tuple(rows.shape)}")
        wrong = (~torch.isfinite(rows)).nonzero()
        if len(wrong):
            row, token = wrong[0].tolist()
            raise InvalidVectorError(
                self.source, f"{rows[row, token]} for token {token}, and numbers must be finite"
            )
        object.__setattr__(self, "rows", rows)

    @property
    def vocabulary(self) -> int:
        """How many tokens it has a number for."""
        return int(self.rows.shape[1])

    @classmethod
    def of(cls, biases: Sequence[Bias]) -> Bias:
        """The biases of several sequences, one below the other."""
        return cls(torch.cat([bias.rows for bias in biases]), biases[0].source)


def vocabulary_bias(vector: ArrayLike, model: nn.Module) -> Bias:
    """A bias of the model's vocabulary, as it is: a row (vocabulary,), or one for each sequence."""
    bias = Bias(torch.as_tensor(vector), f"a bias for {name_of(model)}")
    check_size(bias, vocabulary_of(model), name_of(model))
    return bias


def hidden_bias(
    vector: ArrayLike,
    model: nn.Module,
    *,
    norm: nn.Module | None = None,
    head: nn.Module | None = None,
) -> Bias:
    """What the model's own head says to a vector (width,), or to one for each sequence.

    The vector is meant as `hidden[-1]`, which the head reads: behind the final norm, and so what
    transformers has last in `hidden_states`. For a state from before it, pass the model's final
    `norm`. Each row is moved to a mean of 0, which changes no probability, so that a clip cuts it
    evenly; what a model does to logits behind its head, such as a cap, is not done.
    """
    layer, width = head_of(model, head), width_of(model, head)
    state = torch.atleast_2d(torch.as_tensor(vector))
    what = f"a vector for the head of {name_of(model)}"
    if state.ndim != 2 or state.shape[1] != width:
        raise InvalidVectorError(what, f"shape {tuple(state.shape)} where the head reads {width}")
    if not bool(torch.isfinite(state).all()):
        raise InvalidVectorError(what, "a component that is no finite number")
    with torch.no_grad():
        state = state.to(layer.weight)
        logits = layer(state if norm is None else norm(state)).float()
    return Bias(logits - logits.mean(dim=1, keepdim=True), what)


def token_bias(
    lines: Iterable[tuple[str, float]],
    tokenizer: Tokenizer,
    model: nn.Module,
    *,
    idf: Callable[[int], float] = lambda _: 1.0,
) -> Bias:
    """The tokens of texts, each with its `idf` times the scores of the texts that have it.

    Texts come with their scores. A text is read as it would go on a sentence, behind a space. The
    largest number is 1, so that α is what the likeliest token gains, in nats; no lines give zeros.
    """
    row = torch.zeros(vocabulary_of(model))
    for text, score in lines:
        for token in set(tokenizer.encode(f" {text}", add_special_tokens=False)):
            row[token] += score * idf(token)
    largest = float(row.max())
    return Bias(row / largest if largest > 0 else row, f"tokens of {name_of(tokenizer)}")


class LogitsBias(LogitsProcessor):
    """Adds α · b to a model's scores, for `generate(logits_processor=[LogitsBias(…)])`.

    A bias of one row is everybody's. One of more has a row a sequence, in the order of the prompts,
    and beams or `num_return_sequences` share their sequence's. Transformers applies it before
    temperature, top-k and top-p. `clip` bounds what is added to a token, in nats, on both sides.
    `alpha=0` leaves every bit of the scores as it is.

    With `model` the sizes are compared here, before anything is computed, and otherwise at the
    first token. A schedule for `alpha` and `refresh` count tokens, so that such an object is good
    for one call of `generate`.
    """

    def __init__(
        self,
        bias: Bias,
        *,
        alpha: Alpha = 1.0,
        clip: float | None = None,
        model: nn.Module | None = None,
        refresh: Refresh | None = None,
    ) -> None:
        if model is not None:
            check_size(bias, vocabulary_of(model), name_of(model))
        if clip is not None and not clip >= 0:
            raise InvalidInputError(f"clip is 0 or more, not {clip}")
        self._alpha = alpha if callable(alpha) else _finite(alpha)
        self._bias, self._clip, self._refresh = bias, clip, refresh
        self._first: int | None = None
        self._last = 0
        self._made: tuple[tuple[object, ...], Tensor] | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores (rows, vocabulary) with the bias, in their dtype and on their device."""
        step = self._step(input_ids.shape[-1])
        if self._refresh is not None and step and step % self._refresh.every == 0:
            self._bias = self._refresh.renew()
        check_size(self._bias, scores.shape[-1], "the scores")
        alpha = _finite(self._alpha(step)) if callable(self._alpha) else self._alpha
        return scores if alpha == 0 else scores + self._added(scores, alpha)

    def _added(self, scores: Tensor, alpha: float) -> Tensor:
        """α · b for these scores; made once as long as nothing of it changes."""
        wanted = self._bias, alpha, len(scores), scores.dtype, scores.device
        if self._made is None or self._made[0] != wanted:
            # However large α is, a sum is a number of the scores' kind; what is forbidden stays so.
            most = torch.finfo(scores.dtype).max / 4
            most = most if self._clip is None else min(self._clip, most)
            rows = self._rows(len(scores)).double() * alpha
            self._made = wanted, rows.clamp(-most, most).to(scores)
        return self._made[1]

    def _step(self, length: int) -> int:
        """How many tokens were generated before this one."""
        if not callable(self._alpha) and self._refresh is None:
            return 0
        if self._first is None:
            self._first = self._last = length
        elif length != self._last + 1:
            raise InvalidInputError(
                "a LogitsBias that counts tokens is for one generation: make another"
            )
        self._last = length
        return length - self._first

    def _rows(self, count: int) -> Tensor:
        sequences = len(self._bias.rows)
        if count % sequences:
            raise InvalidInputError(
                f"{self._bias.source} has {sequences} rows, and {count} rows are generated"
            )
        return self._bias.rows.repeat_interleave(count // sequences, dim=0)


def check_size(bias: Bias, vocabulary: int, whose: str) -> None:
    """`InvalidInputError`, naming both, if the bias is not of so many tokens."""
    if bias.vocabulary != vocabulary:
        raise InvalidInputError(
            f"{bias.source} has {bias.vocabulary} numbers where {whose} has {vocabulary} tokens"
        )


def _finite(alpha: float) -> float:
    if not math.isfinite(alpha):
        raise InvalidInputError(f"alpha is a finite number, not {alpha}")
    return float(alpha)
