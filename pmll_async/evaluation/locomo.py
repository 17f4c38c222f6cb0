"""LoCoMo: long conversations in sessions, and questions with the turns that hold their answers.

A. Maharana et al., "Evaluating Very Long-Term Conversational Memory of LLM Agents", 2024. The data
set is a JSON array of samples, each with `sample_id`, `qa`, and under `conversation` the members
`session_1`, `session_1_date_time` and so on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, TypeAdapter

from pmll_async.errors import InvalidInputError
from pmll_async.evaluation.datasets import checked, read_json
from pmll_async.evaluation.derived import asked_of, observations, summaries
from pmll_async.evaluation.turns import Conversation, Of, Question, Turn, evidence_in

CATEGORIES: Final = {
    1: "multi-hop",
    2: "temporal",
    3: "open-domain",
    4: "single-hop",
    5: "adversarial",
}
SECONDS_A_TURN: Final = 30
"""Only sessions have a time; each of its turns is taken to be so much later than the one before."""
_SESSION: Final = re.compile(r"session_(\d+)")
_DATE_TIME: Final = "%I:%M %p on %d %B, %Y"


class _Turn(BaseModel):
    speaker: str
    dia_id: str
    text: str
    blip_caption: str | None = None


class _Question(BaseModel):
    question: str
    category: Literal[1, 2, 3, 4, 5]
    evidence: list[str] = []


class _Sample(BaseModel):
    sample_id: str
    conversation: dict[str, Any]
    qa: list[_Question]
    observation: dict[str, Any] = {}
    session_summary: dict[str, Any] = {}


_SAMPLES: Final = TypeAdapter(list[_Sample])
_TURNS: Final = TypeAdapter(list[_Turn])
_TEXT: Final = TypeAdapter(str)


def read_conversations(path: Path, of: Of = Of.turns) -> list[Conversation]:
    """The conversations of a LoCoMo file; `InvalidInputError` says what is wrong with it.

    `of` says what their lines are; questions that none of them can answer are skipped.
    """
    conversations = [
        _lines_of(of, sample, f"{path}: {sample.sample_id}")
        for sample in checked(_SAMPLES, read_json(path), f"{path}: samples")
    ]
    if not any(conversation.questions for conversation in conversations):
        raise InvalidInputError(f"{path} has no question with evidence in a conversation")
    return conversations


def first_questions(conversations: Iterable[Conversation], most: int) -> list[Conversation]:
    """The conversations of the first `most` questions, with those alone."""
    found = []
    for conversation in conversations:
        questions = conversation.questions[:most]
        most -= len(questions)
        if questions:
            found.append(replace(conversation, questions=questions))
    return found


def _lines_of(of: Of, sample: _Sample, place: str) -> Conversation:
    conversation = _conversation(sample, place)
    if of is Of.turns:
        return conversation
    if of is Of.observations:
        place = f"{place}: observation"
        return asked_of(conversation, observations(conversation, sample.observation, place), place)
    place = f"{place}: session_summary"
    return asked_of(conversation, summaries(conversation, sample.session_summary, place), place)


def _conversation(sample: _Sample, place: str) -> Conversation:
    turns = tuple(_turns(sample.conversation, place))
    known = frozenset(turn.id for turn in turns)
    questions = tuple(
        Question(asked.question, CATEGORIES[asked.category], evidence)
        for asked in sample.qa
        if (evidence := known.intersection(evidence_in(asked.evidence)))
    )
    return Conversation(sample.sample_id, turns, questions, len(sample.qa) - len(questions))


def _turns(conversation: Mapping[str, Any], place: str) -> Iterator[Turn]:
    numbers = sorted(int(found[1]) for name in conversation if (found := _SESSION.fullmatch(name)))
    if not numbers:
        raise InvalidInputError(f"{place}: conversation has no session_1, session_2, …")
    for number in numbers:
        name = f"session_{number}"
        begun = _moment(conversation, f"{name}_date_time", place)
        said = checked(_TURNS, conversation[name], f"{place}: {name}")
        for position, turn in enumerate(said):
            yield _turn(turn, str(number), begun + SECONDS_A_TURN * position, place)


def _turn(turn: _Turn, session: str, timestamp: float, place: str) -> Turn:
    # Spelled as in evidence, where "D1:03" is turn D1:3.
    ids = list(evidence_in([turn.dia_id]))
    if len(ids) != 1:
        raise InvalidInputError(f"{place}: session_{session}: no turn id: {turn.dia_id!r}")
    # A picture is part of what was said, and questions are asked about it.
    shared = f" [shares a picture: {turn.blip_caption}]" if turn.blip_caption else ""
    return Turn(ids[0], turn.text + shared, turn.speaker, session, timestamp)


def _moment(conversation: Mapping[str, Any], name: str, place: str) -> float:
    if name not in conversation:
        raise InvalidInputError(f"{place}: conversation has no {name}")
    text = checked(_TEXT, conversation[name], f"{place}: {name}")
    try:
        return datetime.strptime(text, _DATE_TIME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise InvalidInputError(
            f"{place}: {name}: {text!r} is no time such as '1:56 pm on 8 May, 2023'"
        ) from None
