"""Puzzles, a tiny recursive model that solves them, and a memory of how it did."""

from .mazes import Maze as Maze
from .puzzles import Cells as Cells
from .puzzles import Family as Family
from .puzzles import Frame as Frame
from .reconsider import ReconsiderController as ReconsiderController
from .reconsider import Review as Review
from .solver import PuzzleSolver as PuzzleSolver
from .solver import Solution as Solution
from .solver import puzzle_from as puzzle_from
from .solver import text_of as text_of
from .sudoku import Sudoku as Sudoku
from .thoughts import NothingRecalledError as NothingRecalledError
from .thoughts import Thinker as Thinker
from .thoughts import Thought as Thought

__all__ = [
    "Cells",
    "Family",
    "Frame",
    "Maze",
    "NothingRecalledError",
    "PuzzleSolver",
    "ReconsiderController",
    "Review",
    "Solution",
    "Sudoku",
    "Thinker",
    "Thought",
    "puzzle_from",
    "text_of",
]
