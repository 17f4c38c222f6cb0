"""LoCoMo's other texts: observations, each a fact of one sentence, and summaries of sessions.

They stand for notes and for long answers: the same questions, the same evidence, and a line counts
as evidence when it was drawn from a turn that is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter

from pmll_async.errors import InvalidInputError
from pmll_async.evaluation.datasets import checked
from pmll_async.evaluation.turns import Conversation, Turn, evidence_in


class _Drawn(NamedTuple):
    """A line, and the ids of the turns that it was drawn from."""

    line: Turn
    turns: frozenset[str]


_OBSERVED: Final = TypeAdapter(dict[str, list[tuple[str, Any]]])
_TEXT: Final = TypeAdapter(str)
_SESSION: Final = re.compile(r"session_(\d+)_(?:observation|summary)")


def of_observations(
    conversation: Conversation, observed: Mapping[str, Any], place: str
) -> Conversation:
    """The conversation with its observations as lines; each says whom it is about, not when."""
    return _asked_of(conversation, _observations(conversation, observed, place), place)


def of_summaries(
    conversation: Conversation, summaries: Mapping[str, Any], place: str
) -> Conversation:
    """The conversation with the summaries of its sessions as lines."""
    return _asked_of(conversation, _summaries(conversation, summaries, place), place)


def _observations(
    conversation: Conversation, observed: Mapping[str, Any], place: str
) -> Iterator[_Drawn]:
    for name, turns in _sessions(conversation, observed):
        by_speaker = checked(_OBSERVED, observed[name], f"{place}: {name}")
        for speaker, told in by_speaker.items():
            for number, (text, evidence) in enumerate(told):
                line = Turn(f"{name}:{speaker}:{number}", text, speaker, None, turns[0].timestamp)
                ids = evidence if isinstance(evidence, list) else [evidence]
                yield _Drawn(line, frozenset(evidence_in(map(str, ids))))


def _summaries(
    conversation: Conversation, summaries: Mapping[str, Any], place: str
) -> Iterator[_Drawn]:
    for name, turns in _sessions(conversation, summaries):
        text = checked(_TEXT, summaries[name], f"{place}: {name}")
        line = Turn(name, text, None, None, turns[0].timestamp)
        yield _Drawn(line, frozenset(turn.id for turn in turns))


def _sessions(conversation: Conversation, given: Iterable[str]) -> Iterator[tuple[str, list[Turn]]]:
    """The names of what is given for the sessions, in their order, and the turns of each."""
    turns: dict[str, list[Turn]] = {}
    for turn in conversation.turns:
        turns.setdefault(str(turn.session), []).append(turn)
    names = {found[1]: name for name in given if (found := _SESSION.fullmatch(name))}
    for session, said in turns.items():
        if session in names:
            yield names[session], said


def _asked_of(conversation: Conversation, drawn: Iterable[_Drawn], place: str) -> Conversation:
    """The questions that lines drawn from their evidence can answer."""
    every = tuple(drawn)
    if not every:
        raise InvalidInputError(f"{place} has none of these for its sessions")
    questions = []
    for question in conversation.questions:
        evidence = frozenset(each.line.id for each in every if each.turns & question.evidence)
        if evidence:
            questions.append(replace(question, evidence=evidence))
    lost = len(conversation.questions) - len(questions)
    return Conversation(
        conversation.name,
        tuple(each.line for each in every),
        tuple(questions),
        conversation.skipped + lost,
    )
