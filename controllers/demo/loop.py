"""PLAN, the judge and REFLECT of the demo."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from pydantic import JsonValue

from pmll_async import Candidate, Lattice, RaceOutcome
from pmll_async.text import FUNCTION_WORDS, stem

from .. import Continue, Done, Failed, Outcome, Plan, RTMController
from .library import Library
from .relevance import QuestionWords, tokens
from .strategies import STRATEGIES, Context, LookUpPlan, Searches, embedded, near_passages

GOOD: Final = 0.8
"""The score from which an answer is good enough not to look further."""
POOR: Final = 0.45
"""The score under which an answer is only the nearest thing."""
_LEARNED_WORDS: Final = 4  # each is one more look-up in the next cycle
_NEAR: Final = 12  # passages whose common words are worth a try
_PATIENCE: Final = 2  # cycles, each reading further down, before giving up on a better answer


@dataclass(frozen=True, slots=True)
class Learned:
    """What REFLECT hands to the next PLAN: how good the answer was, and words to try."""

    score: float
    passage: str
    missing: tuple[str, ...]
    words: tuple[str, ...]


def controller(lattice: Lattice) -> RTMController[Library, Searches]:
    """The demo's controller."""
    return RTMController(
        lattice, plan=plan, act=STRATEGIES, reflect=reflect, judge=judge, max_cycles=4
    )


async def plan(ctx: Context) -> LookUpPlan:
    """Derive the look-ups: words, neighbouring words, and what the last cycle taught."""
    question = QuestionWords.of(ctx.goal, ctx.deps.vocabulary)
    said = {stem(word): word for word in tokens(ctx.goal)}
    words = tuple(said[term] for term in question.terms) or tuple(sorted(question.code))
    phrases = tuple(f"{one} {other}" for one, other in pairwise(words))
    lesson = _lesson(ctx)
    learned = () if lesson is None else lesson.words
    run, passage = await _known(ctx)
    text = f"looking for {', '.join(words)}" + (f"; then {', '.join(learned)}" if learned else "")
    return Plan(text, Searches(words or (ctx.goal,), phrases, learned, run, passage))


async def judge(ctx: Context, _: LookUpPlan, candidate: Candidate) -> float:
    """How well the proposed passage answers the question, in [0, 1]."""
    question = QuestionWords.of(ctx.goal, ctx.deps.vocabulary)
    return question.score(ctx.deps.pages[str(candidate.context["passage"])])


async def reflect(ctx: Context, outcome: Outcome) -> Continue[Learned] | Done:
    """Content with a good answer, a settled one, or one that looking again did not better."""
    if isinstance(outcome, Failed):
        return Done("nothing is remembered that could answer this")
    score = max(entry.score for entry in outcome.scores)
    page = ctx.deps.pages[str(outcome.winner.context["passage"])]
    look_ups: Searches = ctx.plan.data
    if page.anchor == look_ups.known_passage:
        return Done(f"the answer that run {look_ups.known_run[:8]} settled for stands")
    if score >= GOOD:
        return Done("this answers it")
    before = _lesson(ctx)
    if ctx.cycle >= _PATIENCE and before is not None and score <= before.score:
        return Done("looking again found nothing better")
    question = QuestionWords.of(ctx.goal, ctx.deps.vocabulary)
    missing = tuple(question.missing(page))
    words = await _learned(ctx, question, outcome)
    told = f"{', '.join(missing)} missing" if missing else "not close enough"
    return Continue(
        f"{told}; trying {', '.join(words)}", Learned(score, page.anchor, missing, words)
    )


def _lesson(ctx: Context) -> Learned | None:
    lesson = None if ctx.previous is None else ctx.previous.data
    return lesson if isinstance(lesson, Learned) else None


async def _learned(ctx: Context, question: QuestionWords, outcome: RaceOutcome) -> tuple[str, ...]:
    """Words that what was proposed and what is near share, and the question lacks."""
    near = await near_passages(ctx.view, embedded(ctx, ctx.goal), _NEAR)
    proposed = [str(line.context["passage"]) for line in (outcome.winner, *outcome.losers)]
    anchors = dict.fromkeys([*proposed, *(line.anchor for line in near)])
    pages_with: Counter[str] = Counter()
    spelled: dict[str, str] = {}
    for page in (ctx.deps.pages[anchor] for anchor in anchors):
        for token in dict.fromkeys(tokens(f"{page.title} {page.text}")):
            if len(token) > 3 and token not in FUNCTION_WORDS and token.isalpha():
                spelled.setdefault(stem(token), token)
        pages_with.update(page.places.keys() - question.terms.keys())
    rarity = ctx.deps.vocabulary.rarity
    ranked = sorted(spelled, key=lambda term: (-pages_with[term] * rarity(term), term))
    return tuple(spelled[term] for term in ranked[:_LEARNED_WORDS])


async def _known(ctx: Context) -> tuple[str, str]:
    """The newest finished run, other than this one, that answered this very question."""
    async for answer in ctx.view.rewind(where={"kind": "answer", "question": ctx.goal}):
        facts = answer.context["pmll"]
        run = str(facts["run"]) if isinstance(facts, dict) else ""
        over: dict[str, JsonValue] = {
            "pmll.run": run,
            "pmll.stage": "run",
            "pmll.status": {"$in": ["done", "exhausted"]},
        }
        passage = str(answer.context["passage"])
        if run != ctx.run_id and passage in ctx.deps.pages:
            async for _ in ctx.view.rewind(where=over, limit=1):
                return run, passage
    return "", ""
