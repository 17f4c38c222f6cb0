"""Running PrecisionMemBench: beliefs as lines of a text memory, cases as questions to it.

An answer has four sections. All but `relevantBeliefs` are lookups by context. A superseded belief
is one that a later text has superseded; the participants of a relation that is found are looked up
and join it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from pmll_async.evaluation.beliefs import Belief, Case
from pmll_async.protocols import Embedder
from pmll_async.text import Preset, Recollection, TextMemory

PASSED: Final = "passed"
FAILED: Final = "failed"
NOT_EXPRESSIBLE: Final = "not expressible"
STATUSES: Final = (PASSED, FAILED, NOT_EXPRESSIBLE)
_RELEVANT: Final = "relevantBeliefs"
_EXACTLY: Final = "shouldOnlyInclude"
_UNIVERSAL: Final[dict[str, Any]] = {"scope": {"$contains": "user:universal"}}
_QUESTION: Final = "open_question"

Answer = Mapping[str, Sequence[str]]
"""By section the ids found, and the texts of the persona's beliefs."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case ended, and why it did not pass.

    `precision` and `recall` are of the relevant beliefs; None where nothing was to be found, for
    precision if nothing was found either.
    """

    case: str
    category: str
    status: str
    reasons: tuple[str, ...]
    precision: float | None
    recall: float | None


@dataclass(frozen=True, slots=True)
class Precision:
    """What a run found, with the preset, the embedder and the least score that it recalled by."""

    preset: str
    embedder: str
    min_score: float
    outcomes: tuple[Outcome, ...]

    def count(self, status: str, category: str | None = None) -> int:
        """How many cases, or those of a category, ended so."""
        return sum(
            each.status == status and category in (None, each.category) for each in self.outcomes
        )

    @property
    def categories(self) -> list[str]:
        """Every category, in order of its first case."""
        return list(dict.fromkeys(each.category for each in self.outcomes))

    @property
    def finding(self) -> list[Outcome]:
        """The cases with relevant beliefs to find: finding nothing passes none of them."""
        return [each for each in self.outcomes if each.recall is not None]

    @property
    def mean_precision(self) -> float | None:
        """Over the cases where something was found, or should have been."""
        return _mean(each.precision for each in self.outcomes)

    @property
    def mean_recall(self) -> float | None:
        """Over the cases with something to find."""
        return _mean(each.recall for each in self.outcomes)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


async def run(
    beliefs: Sequence[Belief],
    cases: Sequence[Case],
    embedder: Embedder,
    folder: Path,
    *,
    preset: Preset,
    min_score: float,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Precision:
    """Remember the beliefs in a lattice in `folder`, and put every case to it."""
    outcomes = []
    async with TextMemory.open(folder, embedder, preset=preset) as memory:
        await remember(memory, beliefs)
        for done, case in enumerate(cases, 1):
            outcomes.append(judged(case, await answer(memory, case, min_score)))
            progress(done, len(cases))
    return Precision(preset.name, embedder.id, min_score, tuple(outcomes))


async def remember(memory: TextMemory, beliefs: Iterable[Belief]) -> None:
    """Each belief as a line, superseding those that it replaced; older ones come first."""
    replaced: dict[str, list[str]] = defaultdict(list)
    for belief in beliefs:
        said: dict[str, Any] = {
            "timestamp": belief.last_reinforced_at.timestamp(),
            "context": _context(belief),
        }
        if older := replaced[belief.id]:
            anchor = (await memory.supersede(older[0], belief.text, **said)).anchor
        else:
            anchor = (await memory.remember(belief.text, **said)).anchor
        # A text supersedes one; what else it replaced leaves recall as well.
        for other in older[1:]:
            await memory.forget(other)
        if belief.superseded_by is not None:
            replaced[belief.superseded_by].append(anchor)


def _context(belief: Belief) -> dict[str, Any]:
    return {
        "id": belief.id,
        "user": belief.user_id,
        "type": belief.type,
        "scope": belief.scope,
        "pinned": belief.pinned,
        "resolved": belief.resolved_at is not None,
        "participants": belief.participants,
    }


async def answer(memory: TextMemory, case: Case, min_score: float) -> Answer:
    """The four sections for a case."""
    known: dict[str, Any] = {"user": case.user, "resolved": False}
    here = known | {"$or": [{"scope": {"$contains": scope}} for scope in case.scope]}
    facts = here | {"type": {"$ne": _QUESTION}, "$not": _UNIVERSAL}
    asked = here | {"type": _QUESTION, "pinned": True}
    most = case.budget.max_beliefs
    persona = await memory.recent(None, where=known | _UNIVERSAL)
    pinned = await memory.recent(most, where=facts | {"pinned": True})
    found = await _relevant(
        memory, case.query, most - len(pinned), facts | {"pinned": False}, min_score
    )
    return {
        "personaPrelude": [each.text for each in persona],
        "pinnedFacts": _ids(pinned),
        "openQuestions": _ids(await memory.recent(None, where=asked)),
        _RELEVANT: _ids(found),
    }


async def _relevant(
    memory: TextMemory, query: str, most: int, where: dict[str, Any], min_score: float
) -> list[Recollection]:
    found = await memory.recall(query, most, where=where, min_score=min_score)
    participants = [id_ for each in found for id_ in _participants(each)]
    missing = [id_ for id_ in participants if id_ not in _ids(found)]
    joined = await memory.recent(most - len(found), where=where | {"id": {"$in": missing}})
    return found + joined


def _participants(found: Recollection) -> Sequence[str]:
    participants: Any = found.context["participants"]
    return tuple(participants)


def _ids(found: Iterable[Recollection]) -> list[str]:
    return [str(each.context["id"]) for each in found]


def judged(case: Case, found: Answer) -> Outcome:
    """Whether the answer keeps every rule of a case."""
    reasons: list[str] = []
    unknown: list[str] = []
    checks = 0
    for section, rules in case.expect.items():
        for rule, wanted in rules.items():
            if section not in found or rule not in _RULES:
                unknown.append(f"{section} has a rule {rule!r} that is not known here")
            # An empty list forbids or demands nothing, except where it says "nothing else".
            elif wanted or rule == _EXACTLY:
                checks += 1
                if wrong := _RULES[rule](found[section], wanted):
                    reasons.append(f"{section}: {', '.join(wrong)}")
    status = FAILED if reasons else PASSED
    if unknown or not checks:
        status, reasons = NOT_EXPRESSIBLE, unknown or ["the case has no rule that could fail"]
    return Outcome(case.id, case.category, status, tuple(reasons), *_shares(case, found))


def _shares(case: Case, found: Answer) -> tuple[float | None, float | None]:
    """Precision and recall of the relevant beliefs."""
    got, due = set(found[_RELEVANT]), set(case.expect.get(_RELEVANT, {}).get(_EXACTLY, ()))
    return (
        len(got & due) / max(1, len(got)) if got or due else None,
        len(got & due) / len(due) if due else None,
    )


def _missing(found: Sequence[str], wanted: Iterable[str]) -> list[str]:
    return [f"missing {each}" for each in wanted if each not in found]


def _forbidden(found: Sequence[str], wanted: Iterable[str]) -> list[str]:
    return [f"has {each}" for each in found if each in wanted]


def _exactly(found: Sequence[str], wanted: Iterable[str]) -> list[str]:
    wanted = list(wanted)
    return _missing(found, wanted) + [f"has {each}" for each in found if each not in wanted]


def _is_empty(found: Sequence[str], _: object) -> list[str]:
    return ["not empty"] if found else []


def _is_not_empty(found: Sequence[str], _: object) -> list[str]:
    return [] if found else ["empty"]


def _contains(found: Sequence[str], words: Iterable[str]) -> list[str]:
    return [f"without {word!r}" for word in words if not any(word in text for text in found)]


def _lacks(found: Sequence[str], words: Iterable[str]) -> list[str]:
    return [f"has {word!r}" for word in words if any(word in text for text in found)]


_RULES: Final[Mapping[str, Callable[[Sequence[str], Any], list[str]]]] = {
    "mustInclude": _missing,
    "mustExclude": _forbidden,
    _EXACTLY: _exactly,
    "isNull": _is_empty,
    "nonEmpty": _is_not_empty,
    "contains": _contains,
    "mustNotContain": _lacks,
}
"""What each rule finds wrong with a section."""
