"""A tiny recursive model: two layers that refine an answer until they hold it to be right.

After Jolicoeur-Martineau, "Less is More: Recursive Reasoning with Tiny Networks" (2025): a question
x, an answer y and a latent z, each (cells, width). A recursion is n times z ← f(x + y + z) and then
y ← f(y + z); a step is T recursions, of which the last alone has gradients. Training supervises
every step and carries (y, z) on to the next, a head learns whether the answer is right, and the
running mean of the weights is what remains. Written anew here.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from pmll_async.errors import InvalidInputError
from pmll_async.models.descent import AdamW, pace
from pmll_async.models.work import Stop, computed

Floats = npt.NDArray[np.float32]
Draw = Callable[[np.random.Generator, int], tuple[npt.ArrayLike, npt.ArrayLike]]
"""Gives so many questions and their answers, (count, cells) each."""
Check = Callable[[tuple[int, ...]], bool]

_HALT: Final = 0.5  # of confidence: more likely right than not
_DOUBT: Final = -5.0  # the halting head's bias at first: nothing is right yet
_TINY: Final = 1e-6
_KIND: Final = "pmll-trm-1"  # of the files
_CARRIED: Final = 0.25
"""Of the questions that training begins, so many begin with another's (y, z), so that what memory
hands over is no news to the model."""


@dataclass(frozen=True, slots=True)
class TRMConfig:
    """The size of a `TRM`, and how often it recurs.

    `cells` numbers below `tokens` make a question, and an answer. A step is `recursions` times
    `latents` updates of z and one of y; training takes up to `steps` for a question. The cells
    hear all others by weights of their own, as suits Sudoku, or with `local`, on a square board,
    those around them by weights that all share, as suits mazes.
    """

    tokens: int
    cells: int
    width: int = 64
    latents: int = 4
    recursions: int = 2
    steps: int = 16
    local: bool = False

    @property
    def state_dim(self) -> int:
        """The numbers of a (y, z): the `value_dim` of a lattice that keeps them."""
        return 2 * self.cells * self.width


@dataclass(frozen=True, slots=True, eq=False)
class Thought:
    """Where the model stands: its answer, how likely it takes it to be right, and (y, z).

    `state` is float32 (2 · cells · width,), from which it can think on; `steps` it has taken.
    """

    answer: tuple[int, ...]
    confidence: float
    state: Floats
    steps: int


class TRM(nn.Module):
    """`think` about a question; `forward(x, y, z)` is one step on a batch.

    A new one's weights depend on the seed alone. Torch computes with as many threads as it is told.
    """

    def __init__(self, config: TRMConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(seed)
        self.token = nn.Embedding(config.tokens, config.width)
        self.place = nn.Embedding(config.cells, config.width)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(2))
        self.head = nn.Linear(config.width, config.tokens, bias=False)
        self.halt = nn.Linear(config.width, 1)
        self.register_buffer("start", torch.empty(2, config.width))
        self._draw(generator)
        self.eval()

    async def think(self, question: Sequence[int], **options: Any) -> Thought:
        """`thought` in a worker thread; cancelling ends it with the recursion under way."""
        return await computed(lambda stop: self.thought(question, stop=stop, **options))

    def thought(
        self,
        question: Sequence[int],
        state: npt.ArrayLike | None = None,
        *,
        steps: int = 1,
        check: Check | None = None,
        noise: float = 0.0,
        seed: int = 0,
        stop: Stop | None = None,
    ) -> Thought:
        """Think on from a state (2 · cells · width,), or from nothing, until the answer is right.

        That is for `check` to say, or else for the halting head; after so many `steps` it is over
        in any case. With `noise` the latent begins with so much of a normal draw by `seed`.
        """
        stop, config = stop or Stop(), self.config
        x = self._read(question)
        y, z = self.begun(1) if state is None else self._stated(state)
        if noise:
            generator = torch.Generator().manual_seed(seed)
            z = z + noise * torch.randn(z.shape, generator=generator)
        taken = 0
        with torch.no_grad():
            x = self.embedded(x)
            while True:
                taken += 1
                for _ in range(config.recursions):
                    stop.check()
                    y, z = self._recursion(x, y, z)
                answer = tuple(self.head(y)[0].argmax(-1).tolist())
                confidence = self._halting(y).sigmoid().item()
                is_right = confidence > _HALT if check is None else check(answer)
                if is_right or taken >= steps:
                    found: Floats = torch.stack([y[0], z[0]]).flatten().numpy()
                    return Thought(answer, confidence, found, taken)

    def fingerprint(self) -> str:
        """16 hex digits of size and weights: whose (y, z) a state is."""
        digest = blake2b(_told(self.config).encode(), digest_size=8)
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        return digest.hexdigest()

    def embedded(self, questions: Tensor) -> Tensor:
        """x (batch, cells, width) of questions (batch, cells)."""
        return self.token(questions) + self.place.weight

    def begun(self, batch: int) -> tuple[Tensor, Tensor]:
        """(y, z) where nothing was thought yet."""
        shape = 2, batch, self.config.cells, self.config.width
        y, z = self.start[:, None, None].expand(shape)
        return y, z

    def forward(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One step: logits of the answer (batch, cells, tokens), of its being right, y and z."""
        with torch.no_grad():
            for _ in range(self.config.recursions - 1):
                y, z = self._recursion(x, y, z)
        y, z = self._recursion(x, y, z)
        return self.head(y), self._halting(y), y, z

    def _halting(self, y: Tensor) -> Tensor:
        return self.halt(y.mean(dim=1))[:, 0]

    def _read(self, question: Sequence[int]) -> Tensor:
        config, tokens = self.config, torch.tensor([list(question)])
        if tokens.shape != (1, config.cells):
            raise InvalidInputError(
                f"{tokens.numel()} cells, and this TRM thinks about {config.cells}"
            )
        if not 0 <= int(tokens.min()) <= int(tokens.max()) < config.tokens:
            raise InvalidInputError(f"this TRM's cells hold numbers from 0 to {config.tokens - 1}")
        return tokens

    def _stated(self, state: npt.ArrayLike) -> tuple[Tensor, Tensor]:
        given, config = np.array(state, np.float32), self.config
        if given.shape != (config.state_dim,):
            raise InvalidInputError(
                f"a state of {given.size} numbers, and this TRM's have {config.state_dim}"
            )
        if not np.isfinite(given).all():
            raise InvalidInputError("a state holds NaN or infinity")
        y, z = torch.from_numpy(given).view(2, 1, config.cells, config.width)
        return y, z

    def _recursion(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        for _ in range(self.config.latents):
            z = self._net(x + y + z)
        return self._net(y + z), z

    def _net(self, state: Tensor) -> Tensor:
        for layer in self.layers:
            state = layer(state)
        return state

    def _draw(self, generator: torch.Generator) -> None:
        with torch.no_grad():
            for parameter in self.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0.0, parameter.shape[-1] ** -0.5, generator=generator)
            for embedding in (self.token, self.place):
                embedding.weight.normal_(0.0, 1.0, generator=generator)
            for name, parameter in self.named_parameters():
                if name.endswith("out.weight"):
                    # Near the identity at first, so that givens come through all the layers.
                    parameter.mul_(0.1)
            self.halt.weight.zero_()
            self.halt.bias.fill_(_DOUBT)
            self.start.normal_(0.0, 1.0, generator=generator)


class _Layer(nn.Module):
    """Mixes the cells, then the features of each, with the norm behind each sum."""

    def __init__(self, config: TRMConfig) -> None:
        super().__init__()
        mixing = _Neighbours if config.local else _AllCells
        self.across = mixing(config.cells, config.width)
        self.within = _SwiGLU(config.width, config.width)

    def forward(self, state: Tensor) -> Tensor:
        state = _normed(state + self.across(state))
        return _normed(state + self.within(state))


class _AllCells(nn.Module):
    """Every cell hears all others, by weights of its own; alike for all features."""

    def __init__(self, cells: int, _width: int) -> None:
        super().__init__()
        self.mix = _SwiGLU(cells, cells)

    def forward(self, state: Tensor) -> Tensor:
        return self.mix(state.mT).mT


class _Neighbours(nn.Module):
    """Every cell of a square board hears the eight around it, by weights that all cells share."""

    def __init__(self, cells: int, width: int) -> None:
        super().__init__()
        self.side = math.isqrt(cells)
        if self.side**2 != cells:
            raise InvalidInputError(f"{cells} cells are no square board")
        self.mix = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, state: Tensor) -> Tensor:
        board = state.mT.unflatten(-1, (self.side, self.side))
        return self.out(self.mix(board).flatten(-2).mT)


class _SwiGLU(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gates = nn.Linear(width, 2 * inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)

    def forward(self, state: Tensor) -> Tensor:
        gate, value = self.gates(state).chunk(2, dim=-1)
        return self.out(functional.silu(gate) * value)


def _normed(state: Tensor) -> Tensor:
    return functional.rms_norm(state, state.shape[-1:], eps=_TINY)


class _Carry:
    """The questions that training is at, and how far it has thought about each."""

    def __init__(self, model: TRM, draw: Draw, batch: int, seed: int) -> None:
        self._model, self._draw = model, draw
        self._rng = np.random.default_rng(seed)
        self._over = torch.ones(batch, dtype=torch.bool)
        self.questions = torch.zeros(batch, model.config.cells, dtype=torch.long)
        self.answers, self.taken = self.questions.clone(), torch.zeros(batch)
        self.y, self.z = (each.clone() for each in model.begun(batch))

    def renew(self) -> None:
        """New questions for those that are over."""
        rows = self._over.nonzero()[:, 0]
        drawn = self._draw(self._rng, len(rows))
        self.questions[rows], self.answers[rows] = (
            torch.as_tensor(np.asarray(each)) for each in drawn
        )
        fresh = rows[torch.from_numpy(self._rng.random(len(rows)) >= _CARRIED)]
        self.y[fresh], self.z[fresh] = self._model.begun(len(fresh))
        self.taken[rows] = 0

    def move(self, y: Tensor, z: Tensor, halted: Tensor) -> None:
        """Behind a step; a random third of those that halt think on, to learn to stay right."""
        self.y, self.z = y.detach(), z.detach()
        self.taken += 1
        on = torch.from_numpy(self._rng.random(len(halted)) < 1 / 3)
        self._over = (halted & ~on) | (self.taken >= self._model.config.steps)


def trained(
    model: TRM,
    draw: Draw,
    *,
    steps: int = 1_500,
    batch: int = 64,
    rate: float = 2e-3,
    mean: float = 0.99,
    seed: int = 0,
    told: Callable[[int, float, float], None] = lambda _step, _loss, _right: None,
    stop: Stop | None = None,
) -> TRM:
    """The model itself, with the running mean (factor `mean`) of its weights in training.

    `told(step, loss, right)` hears each step's loss and the share of answers that were right.
    """
    stop, carry = stop or Stop(), _Carry(model, draw, batch, seed)
    parameters = list(model.parameters())
    averages = [each.detach().clone() for each in parameters]
    optimizer = AdamW(parameters)
    for step in range(steps):
        stop.check()
        carry.renew()
        logits, halt, y, z = model(model.embedded(carry.questions), carry.y, carry.z)
        right = (logits.argmax(-1) == carry.answers).all(-1)
        loss = functional.cross_entropy(logits.flatten(0, 1), carry.answers.flatten())
        loss = loss + 0.5 * functional.binary_cross_entropy_with_logits(halt, right.float())
        optimizer.step(torch.autograd.grad(loss, parameters), rate * pace(step / steps))
        carry.move(y, z, halt > 0)
        with torch.no_grad():
            for average, parameter in zip(averages, parameters, strict=True):
                average.lerp_(parameter, 1 - min(mean, step / (step + 10)))
        told(step, loss.item(), right.float().mean().item())
    with torch.no_grad():
        for average, parameter in zip(averages, parameters, strict=True):
            parameter.copy_(average)
    return model


async def train_trm(model: TRM, draw: Draw, **options: Any) -> TRM:
    """`trained` in a worker thread; cancelling ends it with the step under way."""
    return await computed(lambda stop: trained(model, draw, stop=stop, **options))


async def save_trm(model: TRM, path: str | os.PathLike[str]) -> None:
    """Write size and weights to a safetensors file, as a whole or not at all."""

    def save(_: Stop) -> None:
        new = Path(f"{os.fspath(path)}.new")
        save_file(model.state_dict(), new, metadata={_KIND: _told(model.config)})
        new.replace(path)

    await computed(save)


async def load_trm(path: str | os.PathLike[str]) -> TRM:
    """What `save_trm` has written. `InvalidInputError` if it is something else."""
    return await computed(lambda _: _loaded(Path(path)))


def _loaded(path: Path) -> TRM:
    try:
        with safe_open(path, framework="pt") as file:
            model = TRM(TRMConfig(**json.loads(file.metadata()[_KIND])))
            model.load_state_dict(
                {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
            )
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as exc:
        raise InvalidInputError(f"{path} holds no TRM that save_trm has written: {exc}") from exc
    return model


def _told(config: TRMConfig) -> str:
    return json.dumps(asdict(config), sort_keys=True)
