"""PrecisionMemBench: beliefs about two users, and cases that say what may be found and what not.

https://github.com/tenurehq/precisionMemBench. A folder with `beliefs.seed.json` and
`retrieval.cases.json`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter

from pmll_async.errors import InvalidInputError
from pmll_async.evaluation.datasets import checked, read_json

BELIEFS: Final = "beliefs.seed.json"
CASES: Final = "retrieval.cases.json"


class Belief(BaseModel):
    """Something believed about a user, as the data set has it."""

    id: str = Field(alias="_id")
    user_id: str
    type: str
    canonical_name: str
    aliases: list[str]
    content: str
    scope: list[str]
    pinned: bool
    last_reinforced_at: AwareDatetime
    resolved_at: AwareDatetime | None = None
    superseded_by: str | None = None
    participants: list[str] = []

    @property
    def text(self) -> str:
        """What is remembered of it: its names, and what it says."""
        names = ", ".join([self.canonical_name.replace("_", " "), *self.aliases])
        return f"{names}: {self.content}"


class CaseBudget(BaseModel):
    """How many beliefs, pinned ones included, an answer may hold."""

    max_beliefs: int = Field(alias="maxBeliefs", ge=0)


class Case(BaseModel):
    """A query, and by section what the answer must hold: rules by name, each with its operand."""

    id: str = Field(alias="caseId")
    category: str
    scope: list[str]
    query: str
    expect: dict[str, dict[str, Any]]
    user: str = Field("test-user", alias="userId")
    budget: CaseBudget = CaseBudget(maxBeliefs=20)


_BELIEFS: Final = TypeAdapter(list[Belief])
_CASES: Final = TypeAdapter(list[Case])


def read_beliefs(folder: Path) -> list[Belief]:
    """The beliefs, the least recently reinforced first, so that what supersedes comes later."""
    path = folder / BELIEFS
    beliefs = checked(_BELIEFS, read_json(path), f"{path}: beliefs")
    # Of two reinforced at one time, the first of the file counts as the newer.
    beliefs = sorted(beliefs, key=lambda belief: belief.last_reinforced_at, reverse=True)[::-1]
    places = {belief.id: place for place, belief in enumerate(beliefs)}
    for place, belief in enumerate(beliefs):
        newer = belief.superseded_by
        if newer is not None and places.get(newer, -1) <= place:
            raise InvalidInputError(f"{path}: {belief.id}: no later belief is {newer!r}")
    return beliefs


def read_cases(folder: Path) -> list[Case]:
    """The cases, in the order of the file."""
    path = folder / CASES
    return checked(_CASES, read_json(path), f"{path}: cases")
