"""Running methods on conversations: every turn is remembered, and every question asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from pmll_async.evaluation.locomo import CATEGORIES
from pmll_async.evaluation.measures import DEPTH, MEASURES, Estimate, estimates, measure
from pmll_async.evaluation.methods import TURN, Method, Setting
from pmll_async.evaluation.turns import Conversation, Question, Turn
from pmll_async.protocols import Embedder
from pmll_async.text import TextMemory, Utterance

DAY: Final = 86400.0
ALL: Final = "all"


@dataclass(frozen=True, slots=True)
class Group:
    """The questions of one category, or all, and how a method did on them."""

    name: str
    questions: int
    measures: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Result:
    """How one method did on each category and last on all, and its milliseconds for a question."""

    method: str
    groups: tuple[Group, ...]
    p50_ms: float
    p95_ms: float

    @property
    def over_all(self) -> Group:
        """All questions."""
        return self.groups[-1]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a run found; `seconds` is how long remembering all lines took, embedding included.

    `skipped` questions had no evidence in their conversation, and were not asked.
    """

    embedder: str
    seed: int
    now_after: float
    conversations: int
    questions: int
    skipped: int
    lines: int
    seconds: float
    results: tuple[Result, ...]

    @property
    def lines_per_second(self) -> float:
        """How many lines became durable in a second."""
        return self.lines / self.seconds


@dataclass(slots=True)
class _Answers:
    """What one method gave, question by question."""

    values: list[tuple[float, ...]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Steps:
    """How much is done of how much there is."""

    tell: Callable[[int, int], None]
    total: int
    done: int = 0

    def add(self, count: int = 1) -> None:
        self.done += count
        self.tell(self.done, self.total)


async def evaluate(
    conversations: Sequence[Conversation],
    methods: Mapping[str, Method],
    embedder: Embedder,
    folder: Path,
    *,
    now_after: float = DAY,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Evaluation:
    """Ask every method every question; each conversation is a lattice of its own in `folder`.

    Questions are asked one after another, `now_after` seconds after the conversation's last turn.
    """
    asked = [question for each in conversations for question in each.questions]
    lines = sum(len(each.turns) for each in conversations)
    steps = _Steps(progress, lines + len(asked) * len(methods))
    answers = {name: _Answers() for name in methods}
    seconds = 0.0
    for number, conversation in enumerate(conversations):
        place = folder / str(number)
        seconds += await _remember(conversation.turns, embedder, place, steps)
        # The time of a conversation is long past: "now" goes with it, or recency would be 0.
        last = max((turn.timestamp for turn in conversation.turns), default=0.0)
        setting = Setting(place, embedder, last + now_after)
        for name, method in methods.items():
            await _ask(conversation.questions, method, setting, answers[name], steps)
    categories = [question.category for question in asked]
    return Evaluation(
        embedder=embedder.id,
        seed=seed,
        now_after=now_after,
        conversations=len(conversations),
        questions=len(asked),
        skipped=sum(each.skipped for each in conversations),
        lines=lines,
        seconds=seconds,
        results=tuple(_result(name, given, categories, seed) for name, given in answers.items()),
    )


async def _remember(
    turns: Sequence[Turn], embedder: Embedder, folder: Path, steps: _Steps
) -> float:
    """How many seconds until all turns were durable."""
    begun = steps.done
    async with TextMemory.open(folder, embedder) as memory:
        start = time.perf_counter()
        await memory.remember_many(
            (
                Utterance(
                    text=turn.text,
                    speaker=turn.speaker,
                    session=turn.session,
                    timestamp=turn.timestamp,
                    context={TURN: turn.id},
                )
                for turn in turns
            ),
            progress=lambda stored: steps.add(begun + stored - steps.done),
        )
        return time.perf_counter() - start


async def _ask(
    questions: Sequence[Question],
    method: Method,
    setting: Setting,
    answers: _Answers,
    steps: _Steps,
) -> None:
    async with method(setting) as ask:
        for question in questions:
            # One after another: what is measured is a question, not a queue.
            start = time.perf_counter()
            found = await ask(question.text, DEPTH)
            answers.seconds.append(time.perf_counter() - start)
            answers.values.append(measure(found, question.evidence))
            steps.add()


def _result(name: str, answers: _Answers, categories: Sequence[str], seed: int) -> Result:
    values, labels = np.array(answers.values), np.array(categories)
    groups = []
    for group in (*CATEGORIES.values(), ALL):
        chosen = values if group == ALL else values[labels == group]
        if len(chosen):
            means = dict(zip(MEASURES, estimates(chosen, seed), strict=True))
            groups.append(Group(group, len(chosen), means))
    p50, p95 = 1000 * np.percentile(answers.seconds, [50, 95])
    return Result(name, tuple(groups), float(p50), float(p95))
