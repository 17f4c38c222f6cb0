"""ACT: different ways to find a passage, raced against each other.

Each looks in its own way, reads the few passages that it found, and proposes the best of them as
the answer. An answer is a line whose key is the question and whose value is the passage, so that
the same question, or a similar one, finds it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from pmll_async import Candidate, LatticeView, MemoryLine

from .. import Plan, StepContext
from .library import Library
from .relevance import Page, QuestionWords

_DEEPER: Final = 8  # times as many passages are read in each further cycle; one in the first
_NEAR: Final = 8  # passages whose bias bends the question
_ALIKE: Final = 0.72  # the cosine from which two questions are taken for one


@dataclass(frozen=True, slots=True)
class Searches:
    """What PLAN hands over.

    `words` and `phrases` of the question, `learned` words from the cycle before, and, if the very
    question was settled by an earlier run, that run and the `passage` that it settled for.
    """

    words: tuple[str, ...]
    phrases: tuple[str, ...] = ()
    learned: tuple[str, ...] = ()
    known_run: str = ""
    known_passage: str = ""


Context = StepContext[Library]
Vector = NDArray[np.float32]
LookUpPlan = Plan[Searches]


async def remembered(ctx: Context, plan: LookUpPlan) -> Candidate:
    """The answer that an earlier cycle, run or similar question got."""
    answers = await ctx.view.query(
        embedded(ctx, ctx.goal),
        k=4,
        where={"kind": "answer", "passage": {"$in": list(ctx.deps.pages)}},
        min_similarity=_ALIKE,
        branches=False,
    )
    if not answers:
        raise LookupError("no similar question was asked before")
    known = [line for line in answers if line.context["passage"] == plan.data.known_passage]
    return await _proposal(ctx, [_page(ctx, line) for line in known or answers])


async def whole_question(ctx: Context, _: LookUpPlan) -> Candidate:
    """The passages nearest to the question as it stands."""
    return await _nearest(ctx, embedded(ctx, ctx.goal))


async def word_votes(ctx: Context, plan: LookUpPlan) -> Candidate:
    """One look-up for each word and phrase; a passage wins by many good places."""
    votes: dict[str, float] = {}
    for look_up in (*plan.data.words, *plan.data.phrases, *plan.data.learned):
        terms = QuestionWords.of(look_up, ctx.deps.vocabulary).terms or (look_up,)
        rarity = max(map(ctx.deps.vocabulary.rarity, terms))
        # A learned word is a guess, so it has half a voice.
        voice = rarity / 2 if look_up in plan.data.learned else rarity
        for line in await near_passages(ctx.view, embedded(ctx, look_up), 24):
            votes[line.anchor] = votes.get(line.anchor, 0.0) + voice * line.similarity
    ranked = sorted(votes, key=lambda anchor: (-votes[anchor], anchor))
    return await _proposal(ctx, [ctx.deps.pages[anchor] for anchor in ranked[: _to_read(ctx)]])


async def topic_first(ctx: Context, plan: LookUpPlan) -> Candidate:
    """The topics whose headings fit, then the passages within them."""
    question = embedded(ctx, " ".join((*plan.data.words, *plan.data.learned)))
    topics = await ctx.view.query(question, k=3, where={"kind": "topic"}, min_similarity=-1.0)
    names = [str(line.context["topic"]) for line in topics]
    return await _nearest(ctx, question, topics=names)


async def feedback(ctx: Context, plan: LookUpPlan) -> Candidate:
    """The question bent towards the bias of what it finds (Rocchio's relevance feedback)."""
    # The bias is a weighted mean of the passages nearby: what they call things comes into it.
    question = embedded(ctx, ctx.goal)
    bias = await ctx.view.bias_vector(question, k=_NEAR, where={"kind": "passage"})
    learned = embedded(ctx, " ".join(plan.data.learned)) if plan.data.learned else bias
    return await _nearest(ctx, question + 0.5 * bias + 0.25 * learned)


STRATEGIES: Final = (remembered, whole_question, word_votes, topic_first, feedback)


async def _nearest(ctx: Context, vector: Vector, topics: list[str] | None = None) -> Candidate:
    lines = await near_passages(ctx.view, vector, _to_read(ctx), topics)
    return await _proposal(ctx, [ctx.deps.pages[line.anchor] for line in lines])


async def near_passages(
    view: LatticeView, vector: Vector, k: int, topics: list[str] | None = None
) -> list[MemoryLine]:
    """The passages nearest to a vector, of all topics or of some."""
    where: dict[str, JsonValue] = {"kind": "passage"}
    if topics is not None:
        where["topic"] = {"$in": list(topics)}
    return await view.query(vector, k, where=where, min_similarity=-1.0)


async def _proposal(ctx: Context, shortlist: Iterable[Page]) -> Candidate:
    """Read the shortlist and propose the best page; it replaces earlier answers."""
    question = QuestionWords.of(ctx.goal, ctx.deps.vocabulary)
    page = max(shortlist, key=lambda page: (question.score(page), page.anchor))
    key = embedded(ctx, ctx.goal)
    earlier = await ctx.view.query(
        key, k=8, where={"kind": "answer", "question": ctx.goal}, branches=False
    )
    return Candidate(
        key=key,
        value=(await ctx.view.get(page.anchor)).key,
        context={
            "kind": "answer",
            "question": ctx.goal,
            "passage": page.anchor,
            "topic": page.topic,
            "title": page.title,
        },
        # One that was replaced already has lost half of its strength.
        revises=tuple(line.anchor for line in earlier if line.strength == 1.0),
    )


def _to_read(ctx: Context) -> int:
    return int(_DEEPER**ctx.cycle)


def _page(ctx: Context, answer: MemoryLine) -> Page:
    return ctx.deps.pages[str(answer.context["passage"])]


def embedded(ctx: Context, text: str) -> Vector:
    """The text as a vector."""
    vector: Vector = ctx.deps.embedder.embed([text])[0]
    return vector
