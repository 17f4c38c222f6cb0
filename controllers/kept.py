"""What agents keep: results of tools and their own words, told apart from what others told them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Literal, TypeAlias, get_args

from pydantic import JsonValue

from pmll_async import Candidate, InvalidInputError, Where, stamp, thaw

from .journal.stamps import STAMP
from .steps import StepContext

Kept: TypeAlias = Literal["answer", "result"]
"""What an agent keeps of its own: what a model said, and what came of calling tools."""
Whose: TypeAlias = "Where | Callable[[StepContext[Any]], Where]"
"""Which memories are a run's to see: a filter, or a function that gives one for the step."""

KEPT_TRUST: Final = 0.5
"""Beside 1 for what the owner wrote: whoever wants better evidence asks `min_trust=0.6`."""
_KINDS: Final = get_args(Kept)
# As earlier versions left them: by a run, and of no kind.
_OLD: Final[Mapping[Kept, dict[str, JsonValue]]] = {
    "answer": {"pmll.kind": {"$exists": False}, "pmll.stage": "act"},
    "result": {"tool.run": {"$exists": True}},
}


def marked(candidate: Candidate, kind: Kept) -> Candidate:
    """The candidate as a line of that kind."""
    facts = {**thaw(candidate.context.get(STAMP, {})), "kind": kind}
    own = {name: value for name, value in candidate.context.items() if name != STAMP}
    return candidate.model_copy(update={"context": stamp(own, facts)})


def check_evidence(evidence: Collection[Kept]) -> frozenset[Kept]:
    """`InvalidInputError` for a kind that there is not."""
    if isinstance(evidence, str):
        raise InvalidInputError(f"evidence is several kinds: evidence=[{evidence!r}]")
    if unknown := sorted(map(str, frozenset(evidence).difference(_KINDS))):
        raise InvalidInputError(f"evidence is of {' and '.join(_KINDS)}, not {unknown[0]!r}")
    return frozenset(evidence)


def seen(where: Where | None, evidence: Collection[Kept], besides: str | None = None) -> Where:
    """The filter of what a model may take for evidence; nothing of the run `besides`.

    What runs have written is left out but for the kinds of `evidence`: an agent's words would be
    its own proof, and a page that a tool has read is not what the owner knows.
    """
    parts: list[JsonValue] = [] if where is None else [dict(where)]
    told: list[JsonValue] = [
        {
            "pmll.run": {"$exists": False},
            "pmll.kind": {"$exists": False},
            "tool.run": {"$exists": False},
        }
    ]
    for kind in sorted(evidence):
        told += [{"pmll.kind": kind}, _OLD[kind]]
    parts.append(told[0] if len(told) == 1 else {"$or": told})
    if besides is not None and evidence:
        parts.append({"pmll.run": {"$ne": besides}, "tool.run": {"$ne": besides}})
    return {"$and": parts}


def filter_of(where: Whose | None, ctx: StepContext[Any]) -> Where | None:
    """The filter for a step."""
    return where(ctx) if callable(where) else where


def owned_by(where: Where | None) -> dict[str, JsonValue]:
    """The context of what is kept under a filter, so that it finds it again: its plain equalities.

    ``{"user": "ann"}`` is one; what is under `pmll`, and what has operators or dots, is none.
    """
    plain = (str, int, float, bool)
    return {
        name: value
        for name, value in (where or {}).items()
        if isinstance(value, plain) and name != STAMP and not set(name) & {".", "$"}
    }
