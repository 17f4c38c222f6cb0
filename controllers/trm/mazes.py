"""Mazes of 8 × 8 cells with exactly one shortest way, generated from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Final

import numpy as np

from .puzzles import Cells, Floats, Frame, Tokens, turned

OPEN, WALL, START, GOAL, WAY = range(5)

_POOL: Final = 2_000  # mazes; turned, eight times as many
_WALLS: Final = 0.35  # of the cells: most such mazes have a way, and few have many
_SHORTEST: Final = 8  # steps: what can be seen at a glance is no puzzle
_LESS: Final = 3  # open cells beside the way that are walls when a maze is met again
_ENDS: Final = 3.0  # the weight in a key of start and goal, on which all depends, beside a wall's


class Maze:
    """A `Family`: the answer is the maze with the cells of the shortest way marked."""

    def __init__(self, side: int = 8, *, seed: int = 0, pool: int = _POOL) -> None:
        self.name, self.side = f"maze-{side}", side
        self.cells, self.tokens = side * side, 5
        self.dim = 3 * self.cells
        self.turns = turned(side, quarters=True)
        self._seed, self._size = seed, pool

    def key(self, puzzle: Sequence[int]) -> Floats:
        """Where walls, start and goal are."""
        cells = np.asarray(puzzle)
        parts = [cells == WALL, _ENDS * (cells == START), _ENDS * (cells == GOAL)]
        return np.concatenate(parts).astype(np.float32)

    def names(self, puzzle: Sequence[int], answer: Sequence[int]) -> Cells | None:  # noqa: ARG002  # a maze has no names
        """Walls are walls everywhere, and another maze's way may still be of use."""
        return tuple(range(self.tokens))

    def check(self, puzzle: Sequence[int], answer: Sequence[int]) -> bool:
        """Whether the marked cells are the way, and the rest is as it was."""
        return tuple(answer) == self._answer(puzzle)

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Tokens, Tokens]:
        """Mazes of the pool, turned."""
        numbers = rng.integers(self._size, size=count)
        turns = np.array(self.turns)[rng.integers(len(self.turns), size=count)]
        puzzles, answers = (np.take_along_axis(each[numbers], turns, axis=1) for each in self._pool)
        return puzzles, answers

    def again(self, rng: np.random.Generator, puzzle: Sequence[int]) -> Cells:
        """Turned, and with walls where they do not change the way."""
        turn = self.turns[rng.integers(len(self.turns))]
        seen = np.array(Frame(turn, tuple(range(self.tokens))).seen(puzzle))
        answer = np.array(self._answer(seen.tolist()))
        seen[rng.permutation(np.flatnonzero(answer == OPEN))[:_LESS]] = WALL
        return tuple(seen.tolist())

    # --- making them -----------------------------------------------------------------------------

    @cached_property
    def _pool(self) -> tuple[Tokens, Tokens]:
        rng = np.random.default_rng((self._seed, self.side))
        made = [self._made(rng) for _ in range(self._size)]
        puzzles, answers = zip(*made, strict=True)
        return np.array(puzzles), np.array(answers)

    def _made(self, rng: np.random.Generator) -> tuple[Cells, Cells]:
        while True:
            cells = np.where(rng.random(self.cells) < _WALLS, WALL, OPEN)
            start, goal = rng.choice(self.cells, 2, replace=False)
            cells[start], cells[goal] = START, GOAL
            puzzle = tuple(cells.tolist())
            answer = self._answer(puzzle)
            if answer is not None and answer.count(WAY) >= _SHORTEST - 1:
                return puzzle, answer

    def _answer(self, puzzle: Sequence[int]) -> Cells | None:
        """The maze with its way marked; None if there is none, or more than one shortest."""
        start, goal = puzzle.index(START), puzzle.index(GOAL)
        ways, before, edge = {start: 1}, {start: start}, [start]
        while edge and goal not in ways:
            reached: dict[int, int] = {}
            for cell in edge:
                for other in self._beside[cell]:
                    if puzzle[other] != WALL and other not in ways:
                        reached[other] = reached.get(other, 0) + ways[cell]
                        before[other] = cell
            ways |= reached
            edge = list(reached)
        return _marked(puzzle, before, goal) if ways.get(goal) == 1 else None

    @cached_property
    def _beside(self) -> list[list[int]]:
        side = self.side
        steps = [(-1, 0), (1, 0), (0, -1), (0, 1)]
        places = [(row, column) for row in range(side) for column in range(side)]
        return [
            [
                (row + down) * side + column + right
                for down, right in steps
                if 0 <= row + down < side and 0 <= column + right < side
            ]
            for row, column in places
        ]


def _marked(puzzle: Sequence[int], before: dict[int, int], goal: int) -> Cells:
    marked, cell = list(puzzle), before[goal]
    while puzzle[cell] != START:
        marked[cell], cell = WAY, before[cell]
    return tuple(marked)
