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


class Drawn(NamedTuple):
    """A line, and the ids of the turns that it was drawn from."""

    line: Turn
    turns: frozenset[str]


_OBSERVED: Final = TypeAdapter(dict[str, list[tuple[str, Any]]])
_TEXT: Final = TypeAdapter(str)
_SESSION: Final = re.compile(r"session_(\d+)_(?:observation|summary)")


def observations(
    conversation: Conversation, observed: Mapping[str, Any], place: str
) -> Iterator[Drawn]:
    """The observations as lines; each says whom it is about, not when."""
    for name, turns in _sessions(conversation, observed):
        by_speaker = checked(_OBSERVED, observed[name], f"{place}: {name}")
        for speaker, told in by_speaker.items():
            for number, (text, evidence) in enumerate(told):
                line = Turn(f"{name}:{speaker}:{number}", text, speaker, None, turns[0].timestamp)
                # One id, or a list of them: the data set has both.
                ids = evidence if isinstance(evidence, list) else [evidence]
                yield Drawn(line, frozenset(evidence_in(map(str, ids))))


def summaries(
    conversation: Conversation, summed_up: Mapping[str, Any], place: str
) -> Iterator[Drawn]:
    """The summaries of the sessions as lines."""
    for name, turns in _sessions(conversation, summed_up):
        text = checked(_TEXT, summed_up[name], f"{place}: {name}")
        line = Turn(name, text, None, None, turns[0].timestamp)
        yield Drawn(line, frozenset(turn.id for turn in turns))


def _sessions(conversation: Conversation, given: Iterable[str]) -> Iterator[tuple[str, list[Turn]]]:
    """The names of what is given for the sessions, in their order, and the turns of each."""
    turns: dict[str, list[Turn]] = {}
    for turn in conversation.turns:
        turns.setdefault(str(turn.session), []).append(turn)
    names = {found[1]: name for name in given if (found := _SESSION.fullmatch(name))}
    for session, said in turns.items():
        if session in names:
            yield names[session], said


def asked_of(conversation: Conversation, drawn: Iterable[Drawn], place: str) -> Conversation:
    """The conversation with these lines, and the questions whose evidence they were drawn from."""
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
