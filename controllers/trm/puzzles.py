"""Puzzles: what a family of them is, and the frames in which one may be met again.

A puzzle is a row of small numbers, one a cell, and so is its answer, of which there is exactly one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Cells = tuple[int, ...]
Floats = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Frame:
    """How else a puzzle may be looked at: cell i shows cell `turn[i]`, and d is `names[d]`."""

    turn: Cells
    names: Cells

    def seen(self, cells: Sequence[int]) -> Cells:
        """A puzzle, or its answer, in this frame."""
        return tuple(self.names[cells[place]] for place in self.turn)

    def back(self, cells: Sequence[int]) -> Cells:
        """The puzzle, or the answer, that looks like this in the frame."""
        named = {name: token for token, name in enumerate(self.names)}
        found = dict(zip(self.turn, cells, strict=True))
        return tuple(named[found[place]] for place in range(len(cells)))


class Family(Protocol):
    """Puzzles of one kind and size: how they are drawn, found and checked.

    Cells hold numbers below `tokens`. `turns` are the permutations of cells that make a puzzle of
    every puzzle; the first changes nothing.
    """

    @property
    def name(self) -> str:
        """What lines say that they are about."""
        ...

    @property
    def cells(self) -> int:
        """How many there are in a puzzle."""
        ...

    @property
    def tokens(self) -> int:
        """How many different numbers a cell may hold."""
        ...

    @property
    def dim(self) -> int:
        """The length of a key."""
        ...

    @property
    def turns(self) -> tuple[Cells, ...]:
        """The symmetries of the cells."""
        ...

    def key(self, puzzle: Sequence[int]) -> Floats:
        """What a puzzle is found by, (dim,): the same whatever its digits are called."""
        ...

    def names(self, puzzle: Sequence[int], answer: Sequence[int]) -> Cells | None:
        """What the numbers of a puzzle are called in an answer; None if they contradict it."""
        ...

    def check(self, puzzle: Sequence[int], answer: Sequence[int]) -> bool:
        """Whether that is an answer."""
        ...

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Tokens, Tokens]:
        """Puzzles and their answers, (count, cells) each."""
        ...

    def again(self, rng: np.random.Generator, puzzle: Sequence[int]) -> Cells:
        """The puzzle as somebody may meet it again: turned, renamed, with a little less of it."""
        ...


def turned(side: int, *, quarters: bool) -> tuple[Cells, ...]:
    """The symmetries of a square board: four, or eight with those that swap rows and columns."""
    board = np.arange(side * side).reshape(side, side)
    boards = [board, board[::-1], board[:, ::-1], board[::-1, ::-1]]
    boards += [each.T for each in boards] if quarters else []
    return tuple(tuple(each.ravel().tolist()) for each in boards)
