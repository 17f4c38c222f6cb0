"""A small GPT over characters, to teach and to test with: trains in a minute or two on one core.

Decoder blocks with pre-normalisation, causal attention and learned positions, as in Radford et al.,
"Language Models are Unsupervised Multitask Learners" (2019); written anew here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pydoc_data.topics import topics
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from pmll_async.errors import InvalidInputError
from pmll_async.models.descent import AdamW, pace
from pmll_async.models.language import tensor_of
from pmll_async.models.work import Stop, computed

UNKNOWN: Final = "\ufffd"
ALPHABET: Final = "\n" + "".join(map(chr, range(32, 127))) + UNKNOWN
"""The printable characters of ASCII, the end of a line, and one for all others."""

_INITIAL: Final = 0.02  # GPT-2's standard deviation of weights
_EVALUATED: Final = 64  # windows at once


class Characters:
    """A tokenizer whose tokens are characters, with the calls that others have, too."""

    name_or_path: Final = "characters"

    def __init__(self, alphabet: str = ALPHABET) -> None:
        self._alphabet = alphabet
        self._ids = {character: number for number, character in enumerate(alphabet)}

    def __len__(self) -> int:
        """The number of characters that are told apart."""
        return len(self._alphabet)

    def encode(
        self,
        text: str,
        *,
        add_special_tokens: bool = False,  # noqa: ARG002  # as others are called; here are none
    ) -> list[int]:
        """A number for each character, the last one for what is not in the alphabet."""
        last = len(self._alphabet) - 1
        return [self._ids.get(character, last) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        """The characters of these numbers."""
        return "".join(self._alphabet[number] for number in ids)


@dataclass(frozen=True, slots=True)
class NanoConfig:
    """The size of a `NanoGPT`; `window` is how many tokens it sees at once."""

    vocabulary: int = len(ALPHABET)
    dim: int = 96
    layers: int = 3
    heads: int = 4
    window: int = 64


class NanoGPT(nn.Module):
    """`forward(ids)` gives logits (batch, length, vocabulary) for ids (batch, length).

    What `head` reads, `hidden(ids)` (batch, length, dim), comes behind the final norm: the
    `hidden[-1]` that a memory is asked with. Weights depend on the seed alone.
    """

    def __init__(self, config: NanoConfig | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config = config or NanoConfig()
        self.token = nn.Embedding(config.vocabulary, config.dim)
        self.place = nn.Embedding(config.window, config.dim)
        self.blocks = nn.ModuleList(_Block(config.dim, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, config.vocabulary, bias=False)
        self._draw(torch.Generator().manual_seed(seed))
        self.eval()

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the token behind each one."""
        return self.head(self.hidden(ids))

    def hidden(self, ids: Tensor) -> Tensor:
        """The normed state at each token. `InvalidInputError` if there are more than `window`."""
        if ids.shape[-1] > self.config.window:
            raise InvalidInputError(
                f"{ids.shape[-1]} tokens, and this NanoGPT sees {self.config.window} at once"
            )
        places = torch.arange(ids.shape[-1], device=ids.device)
        state = self.token(ids) + self.place(places)
        for block in self.blocks:
            state = block(state)
        return self.norm(state)

    def get_output_embeddings(self) -> nn.Module:
        """The head, under the name that transformers has for it."""
        return self.head

    def _draw(self, generator: torch.Generator) -> None:
        for name, parameter in self.named_parameters():
            with torch.no_grad():
                if name.endswith("bias"):
                    parameter.zero_()
                elif parameter.ndim == 1:
                    parameter.fill_(1.0)
                else:
                    parameter.normal_(0.0, _INITIAL, generator=generator)


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_layer = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mixed, self.joined = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.layer = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, state: Tensor) -> Tensor:
        state = state + self._attended(self.before_attention(state))
        return state + self.layer(self.before_layer(state))

    def _attended(self, state: Tensor) -> Tensor:
        batch, length, dim = state.shape
        shape = batch, length, 3, self.heads, dim // self.heads
        query, key, value = self.mixed(state).view(shape).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.joined(seen.transpose(1, 2).reshape(batch, length, dim))


def trained(
    model: NanoGPT,
    ids: Sequence[int],
    *,
    steps: int = 800,
    batch: int = 16,
    rate: float = 4e-3,
    seed: int = 0,
    told: Callable[[int, float], None] = lambda _step, _loss: None,
    stop: Stop | None = None,
) -> NanoGPT:
    """The model itself, trained by AdamW to predict each token of a text from those before it.

    `told(step, loss)` is called behind each step with the mean NLL in nats of its batch.
    """
    stop, text = stop or Stop(), tensor_of(ids)
    least = model.config.window + 1
    if len(ids) < least:
        raise InvalidInputError(f"a text of {len(ids)} tokens, and a window needs {least}")
    generator = torch.Generator().manual_seed(seed)
    parameters = list(model.parameters())
    optimizer = AdamW(parameters)
    model.train()
    try:
        for step in range(steps):
            stop.check()
            starts = torch.randint(len(ids) - least + 1, (batch, 1), generator=generator)
            rows = text[starts + torch.arange(least)]
            loss = _loss(model, rows)
            gradients = torch.autograd.grad(loss, parameters)
            optimizer.step(gradients, rate * pace(step / steps))
            told(step, loss.item())
    finally:
        model.eval()
    return model


async def train(model: NanoGPT, ids: Sequence[int], **options: Any) -> NanoGPT:
    """`trained` in a worker thread; cancelling ends it with the step under way."""
    return await computed(lambda stop: trained(model, ids, stop=stop, **options))


def nll(model: NanoGPT, ids: Sequence[int], *, stop: Stop | None = None) -> float:
    """The mean negative log-likelihood a token in nats, over windows that do not overlap."""
    stop, window = stop or Stop(), model.config.window
    whole = tensor_of(ids[: (len(ids) - 1) // window * window + 1])
    rows = whole.unfold(0, window + 1, window)
    total = 0.0
    with torch.no_grad():
        for part in rows.split(_EVALUATED):
            stop.check()
            total += float(_loss(model, part)) * len(part)
    return total / len(rows)


def library_text() -> list[str]:
    """The topics of Python's own reference, in the order of their names: a text to train with."""
    return [topics[name] for name in sorted(topics)]


def _loss(model: NanoGPT, rows: Tensor) -> Tensor:
    logits = model(rows[:, :-1])
    return functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
