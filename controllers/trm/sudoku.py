"""Sudoku of 4 × 4 and 6 × 6 cells, generated from a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Final

import numpy as np

from .puzzles import Cells, Floats, Frame, Tokens, turned

_POOL: Final = 300
"""Puzzles without a given too many, from which all others are made: by renaming digits, moving rows
and columns and giving more, millions of each."""
_MORE: Final = 4  # of so many cells, one at most is given beyond those that are needed
_GONE: Final = 4  # every so manieth given is not there when a puzzle is met again
_GIVEN: Final = 0.5  # the weight in a key of where the givens are, beside which of them are alike


class Sudoku:
    """A `Family`: boxes of 2 × 2 cells at side 4, of 2 × 3 at side 6; 0 is an empty cell."""

    def __init__(self, side: int, *, seed: int = 0, pool: int = _POOL) -> None:
        if side not in (4, 6):
            raise ValueError(f"a Sudoku here has a side of 4 or 6, not {side}")
        self.name, self.side = f"sudoku-{side}", side
        self.cells, self.tokens = side * side, side + 1
        self.dim = self.cells * (self.cells + 1) // 2
        self.turns = turned(side, quarters=side == 4)
        self._pairs = np.triu_indices(self.cells, 1)
        self._seed, self._size = seed, pool

    def key(self, puzzle: Sequence[int]) -> Floats:
        """Which cells are given, and which of those are alike."""
        cells = np.asarray(puzzle)
        given = cells > 0
        alike = ((cells[:, None] == cells) & np.outer(given, given))[self._pairs]
        return np.concatenate([_GIVEN * given, alike]).astype(np.float32)

    def names(self, puzzle: Sequence[int], answer: Sequence[int]) -> Cells | None:
        """Told from the givens; digits that are not given take the names that are left."""
        found = {0: 0}
        for mine, theirs in zip(puzzle, answer, strict=True):
            if mine and found.setdefault(mine, theirs) != theirs:
                return None
        if len(set(found.values())) < len(found):
            return None
        left = iter(sorted(set(range(self.tokens)) - set(found.values())))
        return tuple(found[d] if d in found else next(left) for d in range(self.tokens))

    def check(self, puzzle: Sequence[int], answer: Sequence[int]) -> bool:
        """Whether the givens are kept, and each row, column and box has each digit once."""
        if any(given not in (0, cell) for given, cell in zip(puzzle, answer, strict=True)):
            return False
        digits = set(range(1, self.tokens))
        return all({answer[cell] for cell in unit} == digits for unit in self._units)

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Tokens, Tokens]:
        """Puzzles of the pool, shuffled, with up to a quarter of the cells given in addition."""
        puzzles, answers = np.empty((2, count, self.cells), np.int64)
        for row, number in enumerate(rng.integers(self._size, size=count)):
            frame = self._shuffle(rng)
            turn, names = np.array(frame.turn), np.array(frame.names)
            puzzle, answer = (names[each[number][turn]] for each in self._pool)
            more = rng.permutation(self.cells)[: rng.integers(self.cells // _MORE + 1)]
            puzzle[more] = answer[more]
            puzzles[row], answers[row] = puzzle, answer
        return puzzles, answers

    def again(self, rng: np.random.Generator, puzzle: Sequence[int]) -> Cells:
        """Turned and renamed, and without givens that it can do without, a quarter at most."""
        turn = self.turns[rng.integers(len(self.turns))]
        seen = list(Frame(turn, (0, *(1 + rng.permutation(self.side)).tolist())).seen(puzzle))
        spare = sum(map(bool, seen)) // _GONE
        for cell in rng.permutation(self.cells).tolist():
            if seen[cell] and spare:
                less = [*seen[:cell], 0, *seen[cell + 1 :]]
                if self._has_one_answer(less):
                    seen, spare = less, spare - 1
        return tuple(seen)

    # --- making them -----------------------------------------------------------------------------

    @cached_property
    def _units(self) -> list[list[int]]:
        board = np.arange(self.cells).reshape(self.side, self.side)
        wide = self.side // 2
        boxes = board.reshape(-1, 2, 2, wide).swapaxes(1, 2).reshape(self.side, self.side)
        return [unit.tolist() for part in (board, board.T, boxes) for unit in part]

    @cached_property
    def _peers(self) -> list[list[int]]:
        around = [
            {peer for unit in self._units if cell in unit for peer in unit} - {cell}
            for cell in range(self.cells)
        ]
        return [sorted(peers) for peers in around]

    @cached_property
    def _pool(self) -> tuple[Tokens, Tokens]:
        rng = np.random.default_rng((self._seed, self.side))
        made = [self._made(rng) for _ in range(self._size)]
        puzzles, answers = zip(*made, strict=True)
        return np.array(puzzles), np.array(answers)

    def _made(self, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        """A full board, and what is left of it when no given can be spared."""
        answer = next(self._answers([0] * self.cells, rng))
        puzzle = list(answer)
        for cell in rng.permutation(self.cells).tolist():
            less = [*puzzle[:cell], 0, *puzzle[cell + 1 :]]
            if self._has_one_answer(less):
                puzzle = less
        return puzzle, answer

    def _has_one_answer(self, puzzle: list[int]) -> bool:
        answers = self._answers(puzzle)
        return next(answers, None) is not None and next(answers, None) is None

    def _answers(
        self, puzzle: list[int], rng: np.random.Generator | None = None
    ) -> Iterator[list[int]]:
        """All answers, by trying the cell with the fewest choices first."""
        choices = {cell: self._choices(puzzle, cell) for cell, d in enumerate(puzzle) if not d}
        if not choices:
            yield list(puzzle)
            return
        cell = min(choices, key=lambda cell: len(choices[cell]))
        digits = choices[cell] if rng is None else rng.permutation(choices[cell]).tolist()
        for digit in digits:
            yield from self._answers([*puzzle[:cell], digit, *puzzle[cell + 1 :]], rng)

    def _choices(self, puzzle: list[int], cell: int) -> list[int]:
        taken = {puzzle[peer] for peer in self._peers[cell]}
        return [digit for digit in range(1, self.tokens) if digit not in taken]

    def _shuffle(self, rng: np.random.Generator) -> Frame:
        """Digits renamed, rows moved within and with their bands, columns likewise."""
        rows = _moved(rng, self.side // 2, 2)
        columns = _moved(rng, 2, self.side // 2)
        turn = (rows[:, None] * self.side + columns).ravel()
        return Frame(tuple(turn.tolist()), (0, *(1 + rng.permutation(self.side)).tolist()))


def _moved(rng: np.random.Generator, bands: int, wide: int) -> Tokens:
    order = rng.permutation(bands)
    return np.concatenate([band * wide + rng.permutation(wide) for band in order])
