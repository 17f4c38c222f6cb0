"""Thoughts: what is asked of a model, what a line of the memory tells of one, and finding them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from numpy.typing import ArrayLike
from pydantic import JsonValue

from pmll_async import LatticeView, MemoryLine

from .puzzles import Cells, Family, Floats, Frame

SIMILAR: Final = 0.5
"""The least cosine of two puzzles at which one's thought is a beginning for the other: of puzzles
that have nothing in common one in a hundred reaches it, of those met again nine of ten do."""
_MORE: Final = 4  # times as many lines are looked at, because the lattice ranks newer ones higher


class NothingRecalledError(LookupError):
    """An act has no thought to begin with: the memory holds no similar puzzle that was solved."""


class Thought(Protocol):
    """As `pmll_async.models.Thought`."""

    @property
    def answer(self) -> Cells: ...  # noqa: D102  # the class says it
    @property
    def confidence(self) -> float: ...  # noqa: D102  # the class says it
    @property
    def state(self) -> Floats: ...  # noqa: D102  # the class says it
    @property
    def steps(self) -> int: ...  # noqa: D102  # the class says it


class Thinker(Protocol):
    """A model that thinks about puzzles in steps, as `pmll_async.models.TRM` does."""

    def fingerprint(self) -> str:
        """Whose states these are."""
        ...

    async def think(
        self,
        question: Sequence[int],
        *,
        state: ArrayLike | None = None,
        steps: int = 1,
        check: Callable[[Cells], bool] | None = None,
        noise: float = 0.0,
        seed: int = 0,
    ) -> Thought:
        """Think on from a state until `check`, or the model itself, takes the answer for right."""
        ...


@dataclass(frozen=True, slots=True)
class Beginning:
    """A recalled thought, and the frame in which the puzzle looks most like the one it is about."""

    anchor: str
    frame: Frame
    similarity: float


@dataclass(frozen=True, slots=True)
class Craft:
    """A model and the family of puzzles it knows; `checked` lets the rules tell what is right."""

    model: Thinker
    family: Family
    checked: bool = True

    async def think(
        self, puzzle: Cells, state: ArrayLike | None = None, **options: Any
    ) -> tuple[Thought, bool]:
        """A thought, and whether its answer is right, as far as can be told."""

        def check(answer: Cells) -> bool:
            return self.family.check(puzzle, answer)

        rule = check if self.checked else None
        thought = await self.model.think(puzzle, state=state, check=rule, **options)
        if self.checked:
            return thought, check(thought.answer)
        return thought, thought.confidence > 0.5

    def line(
        self, thought: Thought, puzzle: Cells, *, right: bool, steps: int, **more: JsonValue
    ) -> dict[str, Any]:
        """Key, value and context of a thought: `put(x, y, …)`."""
        told: dict[str, JsonValue] = {
            "family": self.family.name,
            "model": self.model.fingerprint(),
            "puzzle": list(puzzle),
            "answer": list(thought.answer),
            "confidence": round(thought.confidence, 6),
            "right": right,
            "steps": steps,
        }
        context = {"trm": {**told, **more}}
        return {"key": self.family.key(puzzle), "value": thought.state, "context": context}

    async def recalled(self, view: LatticeView, puzzle: Cells, most: int) -> list[Beginning]:
        """Thoughts of this model about similar puzzles that it solved, the most similar first.

        Those whose answer contradicts no given come before others.
        """
        where: dict[str, JsonValue] = {
            "trm.family": self.family.name,
            "trm.model": self.model.fingerprint(),
            "trm.right": True,
        }
        plain = tuple(range(self.family.tokens))
        found: dict[str, tuple[bool, Beginning]] = {}
        for turn in self.family.turns if most else ():
            seen = Frame(turn, plain).seen(puzzle)
            lines = await view.query(
                self.family.key(seen),
                _MORE * most,
                where=where,
                min_similarity=SIMILAR,
                branches=False,
            )
            for line in lines:
                names = self.family.names(seen, puzzle_of(line, "answer"))
                frame = Frame(turn, plain if names is None else names)
                one = names is not None, Beginning(line.anchor, frame, line.similarity)
                if line.anchor not in found or _rank(one) < _rank(found[line.anchor]):
                    found[line.anchor] = one
        return [each for _, each in sorted(found.values(), key=_rank)[:most]]


def _rank(found: tuple[bool, Beginning]) -> tuple[bool, float, str]:
    fits, beginning = found
    return not fits, -beginning.similarity, beginning.anchor


def told(line: MemoryLine) -> Any:
    """What a line tells of its thought."""
    return line.context["trm"]


def puzzle_of(line: MemoryLine, what: str = "puzzle") -> Cells:
    """A line's puzzle, or its answer."""
    return tuple(told(line)[what])
