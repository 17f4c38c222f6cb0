"""What a memory does to a model's answers: recalled lines in its prompt, as a bias, or as both.

Each question is put under all `CONDITIONS`, with random lines as the control. How strong the bias
is (α) is chosen on questions about other people than those whose answers are reported.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from statistics import fmean
from typing import Final, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pmll_async.evaluation.measures import Estimate, estimates
from pmll_async.evaluation.smollm import Reader
from pmll_async.evaluation.village import Conversation, Question
from pmll_async.models.bias import Bias, LogitsBias, token_bias
from pmll_async.models.language import vocabulary_of
from pmll_async.models.nano import library_text
from pmll_async.models.recalled import TokenCounts, bias_for, token_counts
from pmll_async.models.work import Stop, computed
from pmll_async.text import TextMemory, Utterance
from pmll_async.values.concert import Float64

K: Final = 5
ALPHAS: Final = (0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0)
_MOST: Final = 12
"""Tokens of an answer: what is longer is none of these."""
_PASSAGE: Final = 64
"""Tokens of a text that has nothing to do with the memory."""
_SHOTS: Final = (
    "Zoe: Our old cat sleeps all day long, dear Minka.\n\n"
    "Question: What is the name of Zoe's cat?\nAnswer: Minka\n\n"
    "Zoe: Two years ago I moved to Upper Street 9.\n\n"
    "Question: Where does Zoe live?\nAnswer: Upper Street 9\n\n"
)
"""Shows how questions are answered here, under every condition."""

Of: TypeAlias = Literal["none", "recalled", "random"]
Progress: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Condition:
    """Which lines are in the prompt, and of which lines the bias is."""

    name: str
    lines: Of
    bias: Of


CONDITIONS: Final = (
    Condition("no memory", "none", "none"),
    Condition("bias", "none", "recalled"),
    Condition("prompt", "recalled", "none"),
    Condition("both", "recalled", "recalled"),
    Condition("random lines", "random", "none"),
    Condition("random bias", "none", "random"),
)
_COMPARED: Final = (
    ("bias", "no memory"),
    ("bias", "random bias"),
    ("prompt", "random lines"),
    ("both", "prompt"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """NLL in nats a token of the answer, and the share of answers that are exactly right."""

    name: str
    nll: Estimate
    exact: Estimate


@dataclass(frozen=True, slots=True)
class Strength:
    """What an α does: to the mean NLL of the answers it is chosen on, as `bias` and as `both`.

    `harm` is by how much the NLL a token of text that has nothing to do with the memory rises.
    """

    alpha: float
    bias: float
    both: float
    harm: Estimate


@dataclass(frozen=True, slots=True)
class Answers:
    """What came out. `found` is the share of questions whose line is among the k recalled.

    `alphas` are by the condition whose NLL they make least on the `chosen_on` questions, which are
    none of `questions`; `differences` are paired by question.
    """

    lines: int
    k: int
    seed: int
    chosen_on: int
    questions: int
    found: float
    alphas: Mapping[str, float]
    conditions: tuple[Measured, ...]
    differences: tuple[Measured, ...]
    strengths: tuple[Strength, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A question with its lines and biases, by which lines they are of; `found` its own line."""

    question: Question
    lines: Mapping[Of, Sequence[str]]
    biases: Mapping[Of, Bias]
    found: bool


class Examiner:
    """Puts questions to a model whose memory is of a conversation."""

    def __init__(
        self, reader: Reader, memory: TextMemory, counts: TokenCounts, told: Conversation, seed: int
    ) -> None:
        self.reader, self._memory, self._counts, self._told = reader, memory, counts, told
        self._seed = seed
        self._shots = reader.encode(_SHOTS)

    @classmethod
    async def of(
        cls, reader: Reader, memory: TextMemory, told: Conversation, seed: int
    ) -> Examiner:
        """Over a memory that the conversation was remembered in."""
        return cls(reader, memory, await token_counts(memory, reader.tokenizer), told, seed)

    async def asked(self, question: Question) -> Asked:
        """Recall for a question, and draw the random lines."""
        model, tokenizer = self.reader.model, self.reader.tokenizer
        found = await self._memory.recall(question.text, K)
        recalled = [spoken(Utterance(text=each.text, speaker=each.speaker)) for each in found]
        bias = await bias_for(
            self._memory, question.text, tokenizer, model, k=K, counts=self._counts
        )
        own = spoken(self._told.lines[question.line])
        others = [line for line in self._told.lines if spoken(line) not in {own, *recalled}]
        random = Random(f"{self._seed} {question.text}")  # noqa: S311  # nothing is secret here
        drawn = random.sample(others, min(K, len(others)))
        other = token_bias(
            [(line.text, 1.0) for line in drawn], tokenizer, model, idf=self._counts.idf
        )
        nothing = Bias(torch.zeros(vocabulary_of(model)), "no bias")
        lines: dict[Of, Sequence[str]] = {
            "none": [],
            "recalled": recalled,
            "random": [spoken(line) for line in drawn],
        }
        biases: dict[Of, Bias] = {"none": nothing, "recalled": bias, "random": other}
        return Asked(question, lines, biases, own in recalled)

    def prompt(self, lines: Sequence[int], question: Question) -> list[int]:
        """The tokens of what the model is shown, which has read these lines."""
        asked = self.reader.encode(f"Question: {question.text}\nAnswer:")
        return [*self._shots, *lines, *asked]

    def encoded(self, lines: Iterable[str]) -> list[int]:
        """The tokens of lines, as they stand in a prompt."""
        shown = "\n".join(lines)
        return self.reader.encode(f"{shown}\n\n") if shown else []

    def losses(
        self, lines: Sequence[int], question: Question, biases: Sequence[Tensor], stop: Stop
    ) -> list[float]:
        """The NLL a token of the answer under each of several rows that are added to logits."""
        answer = self.reader.encode(f" {question.answer}")
        scores = self.reader.scores(self.prompt(lines, question), answer, stop)
        return [float(cross_entropy(scores + row, torch.tensor(answer))) for row in biases]

    def is_exact(self, lines: Sequence[int], asked: Asked, bias: LogitsBias, stop: Stop) -> bool:
        """Whether the model's own answer is the right one, but for case and punctuation."""
        said = self.reader.answer(self.prompt(lines, asked.question), bias, _MOST, stop)
        return normalised(said) == normalised(asked.question.answer)


def spoken(line: Utterance) -> str:
    """A line as a prompt has it."""
    return f"{line.speaker}: {line.text}"


def normalised(answer: str) -> str:
    """Without case, punctuation, articles and space too much, as SQuAD compares answers."""
    kept = answer.lower().translate(str.maketrans("", "", string.punctuation)).split()
    return " ".join(word for word in kept if word not in {"a", "an", "the"})


async def answers(
    examiner: Examiner,
    told: Conversation,
    *,
    seed: int = 0,
    progress: Progress = lambda _done, _total: None,
) -> Answers:
    """Choose α on one half of the questions and measure on the other."""
    total, swept = len(told.chosen_on) + len(told.reported), []
    for done, question in enumerate(told.chosen_on):
        progress(done, total)
        asked = await examiner.asked(question)
        swept.append(await computed(partial(_swept, examiner, asked)))
    alphas = _best(np.array(swept))
    passages = await computed(lambda _: _passages(examiner.reader, len(told.reported)))
    found, measured, harmed = [], [], []
    for done, (question, passage) in enumerate(
        zip(told.reported, passages, strict=True), len(swept)
    ):
        progress(done, total)
        asked = await examiner.asked(question)
        found.append(asked.found)
        measured.append(await computed(partial(_measured, examiner, asked, alphas)))
        harmed.append(await computed(partial(_harmed, examiner.reader, passage, asked)))
    return Answers(
        lines=len(told.lines),
        k=K,
        seed=seed,
        chosen_on=len(told.chosen_on),
        questions=len(told.reported),
        found=fmean(found),
        alphas=alphas,
        conditions=_conditions(np.array(measured), seed),
        differences=_differences(np.array(measured), seed),
        strengths=_strengths(np.array(swept), np.array(harmed), seed),
    )


# --- α, on questions that are not reported -------------------------------------------------------

_CHOSEN_FOR: Final[Mapping[str, Of]] = {"bias": "none", "both": "recalled"}
"""The conditions with an α of their own, and the lines in their prompts."""


def _swept(examiner: Examiner, asked: Asked, stop: Stop) -> list[list[float]]:
    """The NLL of a question's answer: (conditions, ALPHAS)."""
    rows = [alpha * asked.biases["recalled"].rows for alpha in ALPHAS]
    return [
        examiner.losses(examiner.encoded(asked.lines[lines]), asked.question, rows, stop)
        for lines in _CHOSEN_FOR.values()
    ]


def _best(losses: Float64) -> dict[str, float]:
    """The α with the least mean of losses (questions, conditions, ALPHAS)."""
    best = losses.mean(axis=0).argmin(axis=1)
    return {name: ALPHAS[each] for name, each in zip(_CHOSEN_FOR, best, strict=True)}


# --- measuring -----------------------------------------------------------------------------------


def _measured(
    examiner: Examiner, asked: Asked, alphas: Mapping[str, float], stop: Stop
) -> list[tuple[float, float]]:
    """NLL and exactness of a question's answer: (CONDITIONS, 2)."""
    measured = []
    for condition in CONDITIONS:
        # A random bias is as strong as the one that it is the control of.
        alpha = alphas.get(condition.name, alphas["bias"])
        bias, lines = asked.biases[condition.bias], examiner.encoded(asked.lines[condition.lines])
        (loss,) = examiner.losses(lines, asked.question, [alpha * bias.rows], stop)
        processor = LogitsBias(bias, alpha=alpha)
        measured.append((loss, float(examiner.is_exact(lines, asked, processor, stop))))
    return measured


def _harmed(reader: Reader, passage: Sequence[int], asked: Asked, stop: Stop) -> list[float]:
    """By how much the NLL a token of another text rises: (ALPHAS,)."""
    scores, came = reader.scores(passage[:1], passage[1:], stop), torch.tensor(passage[1:])
    row, before = asked.biases["recalled"].rows, float(cross_entropy(scores, came))
    return [float(cross_entropy(scores + alpha * row, came)) - before for alpha in ALPHAS]


def _passages(reader: Reader, count: int) -> list[list[int]]:
    """Beginnings of topics of Python's reference, from all over it."""
    topics = [topic for topic in library_text() if len(topic) > 8 * _PASSAGE]
    chosen = (topics[number * len(topics) // count] for number in range(count))
    return [reader.encode(topic[: 8 * _PASSAGE])[:_PASSAGE] for topic in chosen]


# --- means and intervals -------------------------------------------------------------------------


def _conditions(values: Float64, seed: int) -> tuple[Measured, ...]:
    """From values (questions, CONDITIONS, 2)."""
    return tuple(
        Measured(condition.name, *estimates(values[:, number], seed))
        for number, condition in enumerate(CONDITIONS)
    )


def _differences(values: Float64, seed: int) -> tuple[Measured, ...]:
    place = {condition.name: number for number, condition in enumerate(CONDITIONS)}
    return tuple(
        Measured(
            f"{one} − {other}", *estimates(values[:, place[one]] - values[:, place[other]], seed)
        )
        for one, other in _COMPARED
    )


def _strengths(swept: Float64, harmed: Float64, seed: int) -> tuple[Strength, ...]:
    """From the losses of `_swept` and the changes of `_harmed`, question by question."""
    means, harm = swept.mean(axis=0), estimates(harmed, seed)
    each = zip(ALPHAS, *means.tolist(), harm, strict=True)
    return tuple(Strength(*strength) for strength in each)
