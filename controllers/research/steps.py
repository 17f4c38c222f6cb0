"""PLAN and REFLECT of research; the acts are in `lookups`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, cast

from pmll_async import LineErasedError, RaceOutcome
from pmll_async.text import TextMemory, words

from .. import Continue, Done, Failed, Outcome, Plan, Retry, StepContext
from .evidence import BEST, POOL, Evidence, Finding, Found, best_of, gathered, learned, ranked
from .lookups import (
    AS_ASKED,
    LEARNED,
    OWN_WORDS,
    PARTS,
    SAID_BY,
    LookUps,
    NothingFoundError,
    States,
)
from .questions import asks_several, asks_when, content_of, named_in

if TYPE_CHECKING:
    from .adviser import Adviser

# Of the texts found as it was asked, so many stay in front; a list's items are said elsewhere, too.
_KEPT_SEVERAL: Final = 5
_KEPT: Final = 8
_HINTS: Final = 5  # texts that the model sees before it names its look-ups
_TOLD: Final = 8  # words in the text of a plan
_WEIGHTS: Final = {AS_ASKED: 1.0, SAID_BY: 0.5, OWN_WORDS: 0.5, LEARNED: 0.0, PARTS: 0.5}


@dataclass(frozen=True, slots=True)
class Lesson:
    """What REFLECT hands to the next PLAN: all that was found, and what to look for next."""

    pool: tuple[Found, ...] = ()
    missing: tuple[str, ...] | None = None
    learned: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Steps:
    """PLAN and REFLECT; `k` texts are the evidence."""

    states: States
    adviser: Adviser | None
    k: int

    # --- PLAN ------------------------------------------------------------------------------------

    async def plan(self, ctx: StepContext[Any]) -> Plan[LookUps]:
        """Look-ups for the question, and later for what REFLECT has learned."""
        if ctx.cycle > 0:
            return _further(ctx.plan.data, _lesson(ctx))
        state = ctx.view.revision
        known = await self.states.known(ctx, state)
        named = named_in(ctx.goal, known.speakers)
        content = content_of(ctx.goal, named)
        queries: dict[str, tuple[str, ...]] = {AS_ASKED: ()}
        kept = POOL
        # Who asks for a time is best served by recall, which knows of times.
        if self.adviser is not None or not asks_when(ctx.goal):
            kept = _KEPT_SEVERAL if asks_several(ctx.goal) else _KEPT
            queries |= {SAID_BY: ()} if named else {}
            queries[OWN_WORDS] = (" ".join(content),) if content else ()
        if self.adviser is not None:
            hints = await known.view.recall(ctx.goal, _HINTS, where=self.states.where)
            parts = await self.adviser.parts(ctx, hints)
            queries |= {PARTS: parts} if parts else {}
        about = _said(content) if content else "the question as it stands"
        by = f"; {_said(named)} named" if named else ""
        return Plan(f"looking for {about}{by}", LookUps(state, kept, named, content, queries))

    # --- REFLECT ---------------------------------------------------------------------------------

    async def reflect(
        self, ctx: StepContext[Any], outcome: Outcome
    ) -> Continue[Lesson] | Done[Evidence] | Retry[Lesson]:
        """Gather what was found; look again with words learned from it, or be done."""
        lesson = _lesson(ctx)
        if isinstance(outcome, RaceOutcome):
            lesson = _gathered(lesson, outcome, ctx.plan.data)
        elif not _found_nothing(outcome):
            return Retry(str(outcome), lesson)
        look_ups: LookUps = ctx.plan.data
        if ctx.cycle == 0 and not ctx.budget.last_cycle and look_ups.kept < POOL:
            new = await self._learned(ctx, look_ups, lesson)
            if new:
                return Continue(f"also trying {_said(new)}", replace(lesson, learned=new))
        found = ranked(lesson.pool, AS_ASKED, look_ups.kept)[: self.k]
        evidence = Evidence(tuple(found), lesson.missing or ())
        if self.adviser is None:
            return Done(_summary(evidence), evidence)
        return await _answered(ctx, self.adviser, lesson, evidence)

    async def _learned(
        self, ctx: StepContext[Any], look_ups: LookUps, lesson: Lesson
    ) -> tuple[str, ...]:
        known = await self.states.known(ctx, look_ups.state)
        best = await findings(ctx.texts, lesson.pool[:BEST])
        names = (word for name in look_ups.named for word in words(name))
        fused = {each.anchor: each.fused for each in lesson.pool}
        scored = [(each.text, fused[each.anchor]) for each in best]
        return learned(scored, [*look_ups.content, *names], known.rarity)


async def _answered(
    ctx: StepContext[Any], adviser: Adviser, lesson: Lesson, evidence: Evidence
) -> Continue[Lesson] | Done[Evidence]:
    texts = await findings(ctx.texts, evidence.found)
    reply = await adviser.answer(ctx, texts)
    if not reply.answer and reply.look_ups and not ctx.budget.last_cycle:
        parts = tuple(reply.look_ups)
        return Continue(f"still to find: {_said(parts)}", replace(lesson, parts=parts))
    # What a model cites is believed only if it was shown.
    cited = tuple(each.anchor for each in texts if each.anchor in reply.anchors)
    return Done(reply.answer or "", replace(evidence, cited=cited))


async def findings(memory: TextMemory, found: Sequence[Found]) -> list[Finding]:
    """The texts of what was found; those erased since are left out."""
    texts = []
    for each in found:
        try:
            text = await memory.get(each.anchor)
        except LineErasedError:
            continue
        recalled = {field.name: getattr(text, field.name) for field in fields(text)}
        texts.append(Finding(**{**recalled, "score": each.score, "why": each.why}))
    return texts


def _lesson(ctx: StepContext[Any]) -> Lesson:
    before = None if ctx.previous is None else ctx.previous.data
    return before if isinstance(before, Lesson) else Lesson()


def _further(look_ups: LookUps, lesson: Lesson) -> Plan[LookUps]:
    """The plan of a later cycle, which looks for what was learned."""
    queries: dict[str, tuple[str, ...]] = {}
    if lesson.learned:
        queries[LEARNED] = (" ".join([*look_ups.content, *lesson.learned]),)
    if lesson.parts:
        queries[PARTS] = lesson.parts
    text = f"looking for {_said((*lesson.learned, *lesson.parts))}"
    return Plan(text, replace(look_ups, queries=queries))


def _gathered(lesson: Lesson, outcome: RaceOutcome, look_ups: LookUps) -> Lesson:
    """All that the raced look-ups found: who loses a race has looked, too."""
    pool, missing = lesson.pool, lesson.missing
    for context in _in_order(outcome):
        name = str(context["look_up"])
        weight = _WEIGHTS[name]
        if name == AS_ASKED and SAID_BY not in look_ups.queries:
            # Where nobody is named, it stands for both.
            weight += _WEIGHTS[SAID_BY]
        pool = gathered(pool, name, context["found"], weight)
        lacking = cast(Sequence[str], context["missing"])
        missing = tuple(word for word in lacking if missing is None or word in missing)
    return Lesson(best_of(pool), missing)


def _in_order(outcome: RaceOutcome) -> Iterator[Any]:
    """The contexts of the candidates in the order of the acts, whichever of them won."""
    contexts: dict[str, Any] = {
        str(line.context["look_up"]): line.context for line in (outcome.winner, *outcome.losers)
    }
    return (contexts[name] for name in _WEIGHTS if name in contexts)


def _found_nothing(outcome: Failed) -> bool:
    """Whether every act looked, and nothing is there."""
    if outcome.stage == "plan" or outcome.unfinished:
        return False
    return {failure.error for failure in outcome.failures} == {NothingFoundError.__name__}


def _summary(evidence: Evidence) -> str:
    if not evidence.found:
        return "nothing is found"
    missing = f"; none says {_said(evidence.missing)}" if evidence.missing else ""
    return f"{len(evidence.found)} texts may bear on it{missing}"


def _said(names: Sequence[str]) -> str:
    more = ", …" if len(names) > _TOLD else ""
    return ", ".join(names[:_TOLD]) + more
