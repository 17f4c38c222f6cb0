"""Words of many languages: lines and questions of our own making, and how recall does on them.

One memory holds short facts in 18 languages and about code. Its questions are sorted by what makes
them hard: accents left out, another case, no spaces, numbers, hyphens, identifiers, a spoken frame
around the one word that matters, other words, another language. Some ask what no line tells.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from pmll_async.protocols import Embedder
from pmll_async.text import Preset, TextMemory

UNKNOWN: Final = "unknown"
"""The kind of a question that no line answers."""
_LINES: Final = Path(__file__).with_name("words.jsonl")
_DEPTH: Final = 5
_BINS: Final = 10


@dataclass(frozen=True, slots=True)
class WordQuestion:
    """A question, and the one line that answers it, None if none does."""

    text: str
    kind: str
    language: str
    answer: str | None


@dataclass(frozen=True, slots=True)
class WordSet:
    """The lines of one memory, and the questions to it."""

    lines: tuple[str, ...]
    questions: tuple[WordQuestion, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was found for a question: texts and their scores, best first."""

    question: WordQuestion
    found: tuple[str, ...]
    scores: tuple[float, ...]

    def hit(self, k: int) -> bool:
        """Whether the answer is among the first k."""
        return self.question.answer in self.found[:k]

    def passes(self, least: float) -> bool:
        """Whether the answer is found with that score; for an unknown one, whether nothing is."""
        if self.question.answer is None:
            return not self.scores or self.scores[0] < least
        pairs = zip(self.found, self.scores, strict=True)
        return any(text == self.question.answer and score >= least for text, score in pairs)


@dataclass(frozen=True, slots=True)
class WordGroup:
    """Shares of the questions of a kind, or of a language, whose answer is found.

    `passed`: with the least score; of unknown ones, the share that finds nothing so good, and
    nothing can be hit.
    """

    name: str
    questions: int
    hit_at_1: float | None
    hit_at_5: float | None
    passed: float


@dataclass(frozen=True, slots=True)
class Bin:
    """Scores from `low` up to the next bin: how many, their mean, and how many were answers."""

    low: float
    count: int
    score: float
    answers: float


@dataclass(frozen=True, slots=True)
class WordsFound:
    """What a run found, by kind and by language, and how far scores are from shares of answers."""

    preset: str
    embedder: str
    min_score: float
    lines: int
    kinds: tuple[WordGroup, ...]
    languages: tuple[WordGroup, ...]
    reliability: tuple[Bin, ...]

    @property
    def calibration_error(self) -> float:
        """The mean distance of scores from the shares of answers among them, by bins of 0.1."""
        total = sum(each.count for each in self.reliability)
        off = sum(each.count * abs(each.score - each.answers) for each in self.reliability)
        return off / max(1, total)


@cache
def word_set() -> WordSet:
    """The set that comes with this package."""
    rows = [json.loads(line) for line in _LINES.read_text(encoding="utf-8").splitlines()]
    lines = tuple(row["text"] for row in rows if "text" in row)
    return WordSet(lines, tuple(question for row in rows for question in _questions(row)))


def _questions(row: Mapping[str, Any]) -> Iterable[WordQuestion]:
    language, answer = row["language"], row.get("text")
    kinds = {**row.get("asked", {}), UNKNOWN: row.get("unknown", ())}
    for kind, texts in kinds.items():
        for text in texts:
            yield WordQuestion(text, kind, language, None if kind == UNKNOWN else answer)


async def ask_words(
    embedder: Embedder,
    folder: Path,
    *,
    preset: Preset,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Asked]:
    """Remember the lines in a lattice in `folder`, and ask every question."""
    chosen, answers = word_set(), []
    async with TextMemory.open(folder, embedder, preset=preset) as memory:
        await memory.remember_many(chosen.lines)
        for done, question in enumerate(chosen.questions, 1):
            found = await memory.recall(question.text, _DEPTH)
            texts = tuple(each.text for each in found)
            answers.append(Asked(question, texts, tuple(each.score for each in found)))
            progress(done, len(chosen.questions))
    return answers


def summed_up(
    asked: Sequence[Asked], *, preset: str, embedder: str, min_score: float
) -> WordsFound:
    """The shares and the reliability of what was asked."""
    known = [each for each in asked if each.question.answer is not None]
    return WordsFound(
        preset,
        embedder,
        min_score,
        len(word_set().lines),
        _grouped(asked, lambda each: each.question.kind, min_score),
        _grouped(known, lambda each: each.question.language, min_score),
        reliability(asked),
    )


def _grouped(
    asked: Iterable[Asked], name: Callable[[Asked], str], least: float
) -> tuple[WordGroup, ...]:
    groups: dict[str, list[Asked]] = {}
    for each in asked:
        groups.setdefault(name(each), []).append(each)
    return tuple(_group(name, members, least) for name, members in groups.items())


def _group(name: str, members: Sequence[Asked], least: float) -> WordGroup:
    count = len(members)
    hits = [sum(each.hit(k) for each in members) / count for k in (1, _DEPTH)]
    first, fifth = (None, None) if name == UNKNOWN else hits
    return WordGroup(name, count, first, fifth, sum(each.passes(least) for each in members) / count)


def reliability(asked: Iterable[Asked]) -> tuple[Bin, ...]:
    """Of the lines found, by bins of their score: the mean score, and the share of answers."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(_BINS)]
    for each in asked:
        for text, score in zip(each.found, each.scores, strict=True):
            bins[min(int(score * _BINS), _BINS - 1)].append((score, text == each.question.answer))
    return tuple(_bin(place / _BINS, found) for place, found in enumerate(bins) if found)


def _bin(low: float, found: Sequence[tuple[float, bool]]) -> Bin:
    count = len(found)
    score, answers = sum(score for score, _ in found), sum(answers for _, answers in found)
    return Bin(low, count, score / count, answers / count)
