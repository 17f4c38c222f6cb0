"""Going back over old lines: what was held to be right races what the model thinks now."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Unpack

from numpy.typing import ArrayLike
from pydantic import JsonValue

from pmll_async import (
    Candidate,
    Lattice,
    LatticeView,
    LineErasedError,
    MemoryLine,
    RaceOutcome,
)

from .. import Continue, Done, Outcome, Plan, RTMController, StepContext
from ..run.setup import Options
from .puzzles import Family
from .thoughts import Craft, NothingRecalledError, Thinker, puzzle_of, told

_REINFORCED: Final = 1.25
_DECAYED: Final = 0.5  # as what a revision replaces
_SAME: Final = 0.999  # the cosine of a key and itself, with room for rounding
_ALIKE: Final = 256  # lines of one and the same puzzle among which a line is looked for
_STANDS, _REPLACES = 4.0, 3.0
"""What right answers score: the recorded one first, then a new one, faster before slower."""
_FOREIGN: Final = 2.0  # a right answer whose (y, z) says nothing to this model


@dataclass(frozen=True, slots=True)
class Review:
    """What became of the lines of a pass: they stood, were replaced (old, new), or are in doubt."""

    stood: tuple[str, ...] = ()
    replaced: tuple[tuple[str, str], ...] = ()
    doubted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pass:
    """What PLAN hands on: the lines of the pass that are left, the first of them at hand."""

    anchors: tuple[str, ...] = ()
    strength: float = 0.0
    review: Review = field(default_factory=Review)


class ReconsiderController(RTMController[None, Pass]):
    """Goes back over solved puzzles in passes of at most `lines`, those seldom reconsidered first.

    A cycle is about one line: its recorded answer races a fresh thought, from nothing and from the
    line's own (y, z), each of up to `steps` steps. An answer that stands is reinforced; a wrong one
    is replaced by a right one, whose line `revises` it; where nothing is right the line decays.
    With ``checked=False`` confidence decides. Lines of another model whose answers are right are
    replaced as well, by this model's own. The result's `data` is a `Review`. The rest is as in
    `RTMController`: a pass that was cut off is resumed, and does no line twice.
    """

    def __init__(
        self,
        memory: Lattice,
        model: Thinker,
        family: Family,
        *,
        lines: int = 16,
        steps: int = 16,
        checked: bool = True,
        **options: Unpack[Options],
    ) -> None:
        if min(lines, steps) < 1:
            raise ValueError("lines and steps are 1 or more")
        work = _Work(Craft(model, family, checked), lines, steps)
        super().__init__(
            memory,
            plan=work.plan,
            act=[work.recorded, work.warm, work.cold],
            reflect=work.reflect,
            max_cycles=lines,
            **options,
        )

    async def review(self, *, run_id: str | None = None) -> Review:
        """One pass."""
        result = await self.run("reconsider", run_id=run_id)
        return result.data if isinstance(result.data, Review) else Review()


@dataclass(frozen=True, slots=True)
class _Work:
    craft: Craft
    lines: int
    steps: int

    async def plan(self, ctx: StepContext[Any]) -> Plan[Pass]:
        """Choose the lines of the pass; later, take the next of them."""
        before = ctx.previous
        left = Pass(await self._chosen(ctx.view)) if before is None else before.data
        while left.anchors:
            line = await self._live(ctx.view, left.anchors[0])
            if line is not None:
                return Plan(f"reconsidering {line.anchor}", replace(left, strength=line.strength))
            left = replace(left, anchors=left.anchors[1:])
        return Plan("nothing to reconsider", left)

    async def _chosen(self, view: LatticeView) -> tuple[str, ...]:
        counts, over = Counter[str](), set[str]()
        async for line in view.rewind(where={"reconsidered.family": self.craft.family.name}):
            counts[_note_of(line)["of"]] += 1
            if "trm" in line.context and told(line)["right"]:
                over.add(_note_of(line)["of"])
        found = [
            (counts[line.anchor], line.position, line.anchor)
            async for line in view.rewind(where=self._solved())
            if line.anchor not in over
        ]
        chosen: list[str] = []
        for _, _, anchor in sorted(found):
            if len(chosen) == self.lines:
                break
            if await self._live(view, anchor) is not None:
                chosen.append(anchor)
        return tuple(chosen)

    async def _live(self, view: LatticeView, anchor: str) -> MemoryLine | None:
        """A line that queries return: one that was forgotten must not come back by being solved."""
        try:
            line = await view.get(anchor)
        except LineErasedError:
            return None
        alike = await view.query(line.key, _ALIKE, where=self._solved(), min_similarity=_SAME)
        return line if anchor in {each.anchor for each in alike} else None

    def _solved(self) -> dict[str, JsonValue]:
        return {"trm.family": self.craft.family.name, "trm.right": True}

    # --- ACT -------------------------------------------------------------------------------------

    async def recorded(self, ctx: StepContext[Any], plan: Plan[Pass]) -> Candidate:
        """What the line says; where it wins, the new line tells no more than that it stands."""
        line = await self._line(ctx, plan)
        right = not self.craft.checked or self._is_right(line)
        score = _STANDS if self.craft.checked else told(line)["confidence"]
        if not self._is_own(line):
            score = _FOREIGN if self.craft.checked else 0.0
        context = self._noted(line, stands=right)
        return Candidate(key=line.key, value=line.value, context=context, confidence=score * right)

    async def warm(self, ctx: StepContext[Any], plan: Plan[Pass]) -> Candidate:
        """A fresh thought that begins with the line's own."""
        line = await self._line(ctx, plan)
        if not self._is_own(line):
            raise NothingRecalledError("the line is another model's")
        return await self._fresh(line, "warm", line.value)

    async def cold(self, ctx: StepContext[Any], plan: Plan[Pass]) -> Candidate:
        """A fresh thought that begins with nothing."""
        return await self._fresh(await self._line(ctx, plan), "cold", None)

    async def _fresh(self, line: MemoryLine, name: str, state: ArrayLike | None) -> Candidate:
        puzzle, facts = puzzle_of(line), told(line)
        thought, right = await self.craft.think(puzzle, state, steps=self.steps)
        frame = {"act": name, "turn": facts["turn"], "names": facts["names"]}
        made = self.craft.line(thought, puzzle, right=right, steps=thought.steps, **frame)
        made["context"] |= self._noted(line, stands=False)
        score = thought.confidence
        if self.craft.checked and right:
            score = _REPLACES + 1 / thought.steps
        elif self._is_own(line) and thought.answer == puzzle_of(line, "answer"):
            # It bears the recorded answer out, and need not replace it.
            score = 0.0
        # What is not right replaces nothing, even where it wins.
        return Candidate(**made, confidence=score, revises=(line.anchor,) if right else ())

    async def _line(self, ctx: StepContext[Any], plan: Plan[Pass]) -> MemoryLine:
        if not plan.data.anchors:
            raise NothingRecalledError("nothing to reconsider")
        return await ctx.memory.get(plan.data.anchors[0])

    def _is_own(self, line: MemoryLine) -> bool:
        return bool(told(line)["model"] == self.craft.model.fingerprint())

    def _is_right(self, line: MemoryLine) -> bool:
        return self.craft.family.check(puzzle_of(line), puzzle_of(line, "answer"))

    def _noted(self, line: MemoryLine, *, stands: bool) -> dict[str, Any]:
        note = {"of": line.anchor, "family": self.craft.family.name, "stands": stands}
        return {"reconsidered": note}

    # --- REFLECT ---------------------------------------------------------------------------------

    async def reflect(
        self, ctx: StepContext[Any], outcome: Outcome
    ) -> Continue[Pass] | Done[Review]:
        """Reinforce what stands, weaken what is in doubt, and go on with the next line."""
        left: Pass = ctx.plan.data
        if not left.anchors:
            return Done("nothing to reconsider", left.review)
        anchor, rest, review = left.anchors[0], left.anchors[1:], left.review
        # Of what was erased meanwhile, or revised by another, there is nothing to say.
        if isinstance(outcome, RaceOutcome):
            review = _reviewed(review, outcome, anchor)
            factor = _factor(review, anchor)
            if factor is not None:
                wanted = min(1.0, left.strength * factor)
                await ctx.once(f"strength/{anchor}", partial(_strengthen, ctx, anchor, wanted))
        if not rest:
            return Done(_summary(review), review)
        return Continue(_summary(review), Pass(rest, review=review))


async def _strengthen(ctx: StepContext[Any], anchor: str, wanted: float) -> float:
    """Give a line a strength, rather than a factor: done twice it is the same."""
    strength = (await ctx.memory.get(anchor)).strength
    if strength not in (0.0, wanted):
        await ctx.memory.decay(anchor, wanted / strength)
    return wanted


def _reviewed(review: Review, outcome: RaceOutcome, anchor: str) -> Review:
    winner = outcome.winner
    if _note_of(winner)["stands"]:
        return replace(review, stood=(*review.stood, anchor))
    if outcome.revised:
        return replace(review, replaced=(*review.replaced, (anchor, winner.anchor)))
    return replace(review, doubted=(*review.doubted, anchor))


def _factor(review: Review, anchor: str) -> float | None:
    """How a line's strength changes; that of a replaced one has changed with its replacement."""
    if anchor in review.stood:
        return _REINFORCED
    return _DECAYED if anchor in review.doubted else None


def _summary(review: Review) -> str:
    counts = (len(each) for each in (review.stood, review.replaced, review.doubted))
    return "{} stood, {} replaced, {} in doubt".format(*counts)


def _note_of(line: MemoryLine) -> Any:
    """What a line tells of what it reconsiders."""
    return line.context["reconsidered"]
