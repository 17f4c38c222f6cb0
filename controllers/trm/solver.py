"""Solving puzzles: a recursive model thinks in races, and begins with what it thought before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Unpack

from numpy.typing import ArrayLike
from pydantic import JsonValue

from pmll_async import Candidate, Lattice, MemoryLine, RaceOutcome

from .. import ActStep, Continue, Done, Outcome, Plan, Retry, RTMController, StepContext
from ..run.setup import Options
from .puzzles import Cells, Family, Frame
from .thoughts import Beginning, Craft, NothingRecalledError, Thinker, puzzle_of, told

_COLD: Final = "cold"
_NOISE: Final = 0.5  # standard deviations of z, whose features have about 1
_SEEDS: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Attempt:
    """What PLAN hands to the acts: the puzzle, what to begin with, and where each act stands."""

    puzzle: Cells
    beginnings: tuple[Beginning, ...] = ()
    going: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Solution:
    """The answer of a run, `right` as far as can be told; `steps` the winning `act` took for it.

    `anchor` is the winner's line, whose value is the (y, z) that was reached.
    """

    answer: Cells
    right: bool
    confidence: float
    steps: int
    act: str
    anchor: str


class PuzzleSolver(RTMController[None, Attempt]):
    """PLAN recalls similar puzzles that were solved, ACT races thoughts, REFLECT halts or goes on.

    The goal is a puzzle's text, a digit or a dot for each cell. Candidates are `cold` (from
    nothing), `noise-1` … (from nothing, with noise by the step's seeded random numbers) and
    `warm-1` … (from the (y, z) of what was recalled). Each takes up to `steps` of the model a cycle
    and goes on where it was in the next, up to `max_cycles`. The race goes to the answer that
    `family.check` finds right in the fewest steps; with ``checked=False``, and as long as none is
    right, to the model's own confidence. Every thought is a line: its key is the puzzle's, its
    value (y, z). So the lattice's `dim` is the family's, its `value_dim` the model's `state_dim`.
    """

    def __init__(
        self,
        memory: Lattice,
        model: Thinker,
        family: Family,
        *,
        warm: int = 2,
        noise: int = 1,
        steps: int = 4,
        checked: bool = True,
        max_cycles: int = 4,
        max_retries: int = 2,
        **options: Unpack[Options],
    ) -> None:
        if min(warm, noise) < 0 or steps < 1:
            raise ValueError("warm and noise are 0 or more, steps 1 or more")
        work = _Work(Craft(model, family, checked), warm, steps)
        names = [_COLD, *_numbered("warm", warm), *_numbered("noise", noise)]
        super().__init__(
            memory,
            plan=work.plan,
            act=[work.act(name) for name in names],
            reflect=work.reflect,
            max_cycles=max_cycles,
            max_retries=max_retries,
            **options,
        )

    async def solve(self, puzzle: Sequence[int], *, run_id: str | None = None) -> Solution:
        """A run about a puzzle; its best answer, right or not."""
        result = await self.run(text_of(puzzle), run_id=run_id)
        if not isinstance(result.data, Solution):
            raise NothingRecalledError(f"run {result.run_id!r} is {result.status}: {result.reason}")
        return result.data


@dataclass(frozen=True, slots=True)
class _Work:
    """The steps; those of one run share nothing but the chain."""

    craft: Craft
    warm: int
    steps: int

    async def plan(self, ctx: StepContext[Any]) -> Plan[Attempt]:
        """Recall what to begin with; in later cycles every act goes on from its own thought."""
        if ctx.previous is not None and isinstance(ctx.previous, Continue):
            return Plan("thinking on", replace(ctx.plan.data, going=ctx.previous.data))
        puzzle = puzzle_from(ctx.goal, self.craft.family)
        found = await self.craft.recalled(ctx.view, puzzle, self.warm)
        return Plan(f"beginning with {len(found)} similar ones", Attempt(puzzle, tuple(found)))

    def act(self, name: str) -> ActStep[Any, Attempt]:
        """One candidate of the race."""

        async def act(ctx: StepContext[Any], plan: Plan[Attempt]) -> Candidate:
            return await self._thought(ctx, plan.data, name)

        act.__name__ = act.__qualname__ = name
        return act

    async def _thought(self, ctx: StepContext[Any], attempt: Attempt, name: str) -> Candidate:
        frame, state, before = await self._begun(ctx, attempt, name)
        noise = _NOISE if name.startswith("noise") and not before else 0.0
        seen, seed = frame.seen(attempt.puzzle), ctx.rng.randrange(_SEEDS)
        thought, right = await self.craft.think(
            seen, state, steps=self.steps, noise=noise, seed=seed
        )
        steps = before + thought.steps
        line = self.craft.line(thought, seen, right=right, steps=steps, act=name, **_framed(frame))
        score = 1 + 1 / steps if right and self.craft.checked else thought.confidence
        return Candidate(**line, confidence=score)

    async def _begun(
        self, ctx: StepContext[Any], attempt: Attempt, name: str
    ) -> tuple[Frame, ArrayLike | None, int]:
        """In which frame, from which state and behind how many steps an act thinks."""
        if name in attempt.going:
            line = await ctx.memory.get(attempt.going[name])
            return _frame_of(line), line.value, told(line)["steps"]
        kind, _, number = name.partition("-")
        if attempt.going or (kind == "warm" and int(number) > len(attempt.beginnings)):
            raise NothingRecalledError("there is nothing to begin with")
        if kind == "warm":
            beginning = attempt.beginnings[int(number) - 1]
            return beginning.frame, (await ctx.memory.get(beginning.anchor)).value, 0
        plain = Frame(self.craft.family.turns[0], tuple(range(self.craft.family.tokens)))
        return plain, None, 0

    async def reflect(
        self, ctx: StepContext[Any], outcome: Outcome
    ) -> Continue[dict[str, str]] | Done[Solution] | Retry:
        """Halt with an answer that is right, or at the bound; else have all think on."""
        if not isinstance(outcome, RaceOutcome):
            return Retry(str(outcome))
        facts = told(outcome.winner)
        if facts["right"] or ctx.budget.last_cycle:
            found = _solution(outcome.winner)
            said = f"solved by {found.act}" if found.right else "not solved"
            return Done(f"{said} in {found.steps} steps: {text_of(found.answer)}", found)
        lines = [outcome.winner, *outcome.losers]
        return Continue("not right yet", {told(line)["act"]: line.anchor for line in lines})


def text_of(cells: Sequence[int]) -> str:
    """A digit for each cell, and a dot for a 0."""
    return "".join(map(str, cells)).replace("0", ".")


def puzzle_from(text: str, family: Family) -> Cells:
    """The cells of a text; white space is only for the eye. `ValueError` if it is none of these."""
    digits = "".join(text.split()).replace(".", "0")
    is_one = len(digits) == family.cells and digits.isascii() and digits.isdigit()
    if not is_one or max(map(int, digits)) >= family.tokens:
        raise ValueError(
            f"a {family.name} is a text of {family.cells} digits below {family.tokens}, with a dot"
            " for each 0"
        )
    return tuple(map(int, digits))


def _solution(line: MemoryLine) -> Solution:
    facts, answer = told(line), _frame_of(line).back(puzzle_of(line, "answer"))
    told_of = {name: facts[name] for name in ("right", "confidence", "steps", "act")}
    return Solution(answer, anchor=line.anchor, **told_of)


def _frame_of(line: MemoryLine) -> Frame:
    facts = told(line)
    return Frame(tuple(facts["turn"]), tuple(facts["names"]))


def _framed(frame: Frame) -> dict[str, JsonValue]:
    return {"turn": list(frame.turn), "names": list(frame.names)}


def _numbered(kind: str, count: int) -> list[str]:
    return [f"{kind}-{number}" for number in range(1, count + 1)]
