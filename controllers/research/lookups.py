"""Looking up: what PLAN hands to the acts, and the acts, each a way to search the memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import JsonValue

from pmll_async import Candidate, Where
from pmll_async.text import Recollection, TextView

from .. import ActStep, Plan, StepContext
from ..calling import in_thread
from .evidence import Rarity, coverage, worth

AS_ASKED: Final = "as_asked"
SAID_BY: Final = "said_by_the_named"
OWN_WORDS: Final = "words_alone"
LEARNED: Final = "learned_words"
PARTS: Final = "parts"
LOOK_UPS: Final = (AS_ASKED, SAID_BY, OWN_WORDS, LEARNED, PARTS)
"""The ways to search: the question as it stands; only what those say whom it names; its words
without function words and names, of the same speakers; those and learned words; a model's parts."""
_BY_THE_NAMED: Final = (SAID_BY, OWN_WORDS, LEARNED)
_DEEP: Final = 128  # how far down each look-up reads
_SAMPLE: Final = 2_000  # newest texts that tell which words are rare, and who speaks
_FEW_STATES: Final = 8  # runs that go on at once search few states, and each takes memory


class NothingFoundError(LookupError):
    """A look-up came to nothing, or the plan does not ask for it."""


@dataclass(frozen=True, slots=True)
class LookUps:
    """What PLAN wants looked up: texts to recall, by the name of the act that does.

    `state` is the revision that the run searches. `named` are the speakers whom the question names,
    `content` is what it is about, and the `kept` best found as it was asked stay in front.
    """

    state: int
    kept: int
    named: tuple[str, ...] = ()
    content: tuple[str, ...] = ()
    queries: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def where(self, look_up: str, outer: Where | None) -> Where | None:
        """The filter of a look-up; `outer` is that of all."""
        if look_up not in _BY_THE_NAMED or not self.named:
            return outer
        spoken: dict[str, JsonValue] = {"pmll.speaker": {"$in": list(self.named)}}
        return spoken if outer is None else {"$and": [spoken, dict(outer)]}


@dataclass(frozen=True, slots=True)
class Known:
    """One state of the memory, and what is known of its texts."""

    view: TextView
    rarity: Rarity
    speakers: frozenset[str]


class States:
    """The states that runs search; the last few are kept ready."""

    def __init__(self, where: Where | None) -> None:
        self.where = where
        self._known: OrderedDict[int, Known] = OrderedDict()
        self._sample: tuple[tuple[str, ...], Rarity] = (), Rarity.of(())

    async def known(self, ctx: StepContext[Any], state: int) -> Known:
        """The memory at a revision."""
        known = self._known.get(state)
        if known is None:
            view = ctx.texts.at(state)
            texts = await view.recent(_SAMPLE, where=self.where)
            rarity = await self._rarity(texts)
            known = Known(view, rarity, frozenset(each.speaker or "" for each in texts) - {""})
            self._known[state] = known
            if len(self._known) > _FEW_STATES:
                self._known.popitem(last=False)
        return known

    async def _rarity(self, texts: Sequence[Recollection]) -> Rarity:
        # Runs write to the memory, but no texts: from one to the next the sample is the same.
        anchors = tuple(each.anchor for each in texts)
        if anchors != self._sample[0]:
            self._sample = anchors, await in_thread(Rarity.of, texts)
        return self._sample[1]


def acts(states: States, k: int) -> list[ActStep[Any, LookUps]]:
    """An act for each way to search; its coverage of the question by `k` texts is its confidence.

    The candidate has no text of its own, so that recall never finds it.
    """

    def act_of(name: str) -> ActStep[Any, LookUps]:
        async def act(ctx: StepContext[Any], plan: Plan[LookUps]) -> Candidate:
            return await _looked_up(ctx, plan.data, name, states, k)

        act.__name__ = act.__qualname__ = name
        return act

    return [act_of(name) for name in LOOK_UPS]


async def _looked_up(
    ctx: StepContext[Any], look_ups: LookUps, name: str, states: States, k: int
) -> Candidate:
    if name not in look_ups.queries:
        raise NothingFoundError("the plan does not ask for it")
    known = await states.known(ctx, look_ups.state)
    where = look_ups.where(name, states.where)
    rankings = [
        await known.view.recall(query, _DEEP, where=where, neighbours=1)
        # The question itself is not copied into the plan.
        for query in look_ups.queries[name] or (ctx.goal,)
    ]
    best = _merged(rankings)
    if not best:
        raise NothingFoundError("nothing is found")
    context = await in_thread(_context, look_ups.content, best, known.rarity, k)
    key = (await ctx.texts.candidate(ctx.goal)).key
    share = context["coverage"]
    assert isinstance(share, float)  # noqa: S101  # for the type checker
    return Candidate(key=key, context={"look_up": name, **context}, confidence=share)


def _merged(rankings: Sequence[Sequence[Recollection]]) -> list[Recollection]:
    """Each text once, at its best; of equal ones the earlier found first."""
    best: dict[str, Recollection] = {}
    for each in (each for ranking in rankings for each in ranking):
        if each.anchor not in best or best[each.anchor].score < each.score:
            best[each.anchor] = each
    return sorted(best.values(), key=lambda each: -each.score)[:_DEEP]


def _context(
    content: Iterable[str], best: Sequence[Recollection], rarity: Rarity, k: int
) -> Mapping[str, JsonValue]:
    share, missing = coverage(content, (each.text for each in best[:k]), rarity)
    rows: list[JsonValue] = [
        [each.anchor, round(each.score, 6), round(worth(each, rarity), 6)] for each in best
    ]
    return {"found": rows, "coverage": share, "missing": list(missing)}
