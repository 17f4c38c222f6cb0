"""The questions of many languages: what the set has, what is counted, and what recall reaches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_support import pmll

from pmll_async.evaluation.words import (
    UNKNOWN,
    Asked,
    WordQuestion,
    ask_words,
    summed_up,
    word_set,
)
from pmll_async.text import ASSISTANT, DIALOGUE, NOTES, HashingEmbedder

KNOWN = WordQuestion("Where is the key?", "question", "en", "Under the pot.")
NOBODY = WordQuestion("Who won?", UNKNOWN, "en", None)


def test_the_set_has_many_languages_and_kinds() -> None:
    chosen = word_set()
    known = [each for each in chosen.questions if each.answer is not None]
    assert len(known) >= 150
    assert len({each.language for each in known}) >= 13
    assert {each.kind for each in known} >= {"spoken", "code", "paraphrase", "cross-lingual"}
    assert {each.language for each in chosen.questions if each.kind == UNKNOWN} == {
        each.language for each in known
    }


def test_no_line_and_no_question_is_there_twice() -> None:
    chosen = word_set()
    assert len(set(chosen.lines)) == len(chosen.lines)
    texts = [each.text for each in chosen.questions]
    assert len(set(texts)) == len(texts)
    assert {each.answer for each in chosen.questions} - {None} <= set(chosen.lines)


def test_shares_and_reliability_are_counted() -> None:
    found = summed_up(
        [
            Asked(KNOWN, ("Under the pot.", "In the car."), (0.9, 0.15)),
            Asked(KNOWN, ("In the car.", "Under the pot."), (0.4, 0.1)),
            Asked(NOBODY, ("In the car.",), (0.1,)),
        ],
        preset="notes",
        embedder="none",
        min_score=0.2,
    )
    asked, unknown = found.kinds
    assert (asked.questions, asked.hit_at_1, asked.hit_at_5, asked.passed) == (2, 0.5, 1.0, 0.5)
    assert (unknown.hit_at_1, unknown.hit_at_5, unknown.passed) == (None, None, 1.0)
    assert [each.name for each in found.languages] == ["en"]
    assert [(each.low, each.count, each.answers) for each in found.reliability] == [
        (0.1, 3, pytest.approx(1 / 3)),
        (0.4, 1, 0.0),
        (0.9, 1, 1.0),
    ]
    off = 3 * abs(0.35 / 3 - 1 / 3) + 0.4 + 0.1
    assert found.calibration_error == pytest.approx(off / 5)


def test_a_score_of_one_is_in_the_last_bin() -> None:
    found = summed_up(
        [Asked(KNOWN, ("Under the pot.",), (1.0,))], preset="", embedder="", min_score=0
    )
    assert [each.low for each in found.reliability] == [0.9]


def test_the_command_prints_tables_and_json() -> None:
    done = pmll("eval", "words")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["kind", "questions", "hit@1", "hit@5", "passed"] in lines
    assert ["preset", "notes"] in lines
    found = json.loads(pmll("eval", "words", "--preset", "assistant", "--json").stdout)
    assert found["preset"] == "assistant"
    assert 0 <= found["calibration_error"] <= 1
    assert sum(each["questions"] for each in found["kinds"]) == len(word_set().questions)


async def test_words_alone_find_all_but_other_words(tmp_path: Path) -> None:
    for preset in (DIALOGUE, NOTES, ASSISTANT):
        asked = await ask_words(HashingEmbedder(), tmp_path / preset.name, preset=preset)
        found = summed_up(asked, preset=preset.name, embedder="", min_score=0.2)
        for kind in found.kinds:
            if kind.name not in {"paraphrase", "cross-lingual", UNKNOWN}:
                assert kind.hit_at_5 == 1.0, (preset.name, kind)
                assert kind.hit_at_1 is not None
                assert kind.hit_at_1 >= 0.8, (preset.name, kind)
