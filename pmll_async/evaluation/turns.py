"""Turns, questions and conversations, as an evaluation takes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_TURN: Final = re.compile(r"D(\d+):(\d+)")


class Of(StrEnum):
    """What of a conversation is remembered, one line each."""

    turns = "turns"
    observations = "observations"
    summaries = "summaries"


@dataclass(frozen=True, slots=True)
class Turn:
    """What somebody said; `timestamp` in seconds since the epoch."""

    id: str
    text: str
    speaker: str | None
    session: str | None
    timestamp: float


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the ids of the turns that answer it."""

    text: str
    category: str
    evidence: frozenset[str]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order, and the questions about them; `skipped` had no evidence among the turns."""

    name: str
    turns: tuple[Turn, ...]
    questions: tuple[Question, ...]
    skipped: int


def evidence_in(texts: Iterable[str]) -> Iterator[str]:
    """The turn ids in evidence strings, which may hold several, or none that can be read."""
    for text in texts:
        for session, turn in _TURN.findall(text):
            yield f"D{int(session)}:{int(turn)}"
