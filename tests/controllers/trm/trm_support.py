"""A model for tests: it knows the answers of a Sudoku and is as quick as its state says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import numpy as np

from controllers.trm import Cells, Sudoku
from pmll_async import Lattice
from pmll_async.stores.memory import MemoryStore

FAMILY = Sudoku(4, pool=20)
STATES = 3
"""The numbers of a state: steps taken, noise, and nothing."""


@dataclass(frozen=True)
class Stood:
    answer: Cells
    confidence: float
    state: Any
    steps: int


class Oracle:
    """Is right at its `slow`-th step from nothing, and at its first from a state that was."""

    def __init__(self, slow: int = 3, *, wrong: bool = False, name: str = "oracle") -> None:
        self.slow, self.wrong, self.name = slow, wrong, name
        self.states: list[Any] = []
        self.calls = 0

    def fingerprint(self) -> str:
        return self.name

    async def think(
        self,
        question: Sequence[int],
        *,
        state: Any = None,
        steps: int = 1,
        check: Callable[[Cells], bool] | None = None,
        noise: float = 0.0,
        seed: int = 0,
    ) -> Stood:
        await anyio.lowlevel.checkpoint()
        self.states.append(state)
        before = 0.0 if state is None else float(state[0])
        answer = tuple(next(FAMILY._answers(list(question))))
        taken = steps if self.wrong else min(steps, max(1, self.slow - int(before)))
        right = before + taken >= self.slow and not self.wrong
        said = answer if right else answer[1:] + answer[:1]
        assert check is None or check(said) == right
        drawn = noise * np.random.default_rng(seed).random()
        return Stood(said, 0.9 if right else 0.2, [before + taken, drawn, 0.0], taken)


def puzzles(count: int, seed: int = 0) -> list[Cells]:
    drawn, _ = FAMILY.draw(np.random.default_rng(seed), count)
    return [tuple(row) for row in drawn.tolist()]


@asynccontextmanager
async def memory() -> AsyncIterator[Lattice]:
    lattice = Lattice(MemoryStore(), dim=FAMILY.dim, value_dim=STATES, clock=lambda: 1_000.0)
    async with lattice as opened:
        yield opened
