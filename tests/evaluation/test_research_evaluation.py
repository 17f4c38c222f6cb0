"""The measurement of docs/research.md: the command, and what it finds on the real data set."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from evaluation_support import HARBOUR, real, write

from benchmarks.research import COMPARED, MEASURE, RESEARCH, SINGLE, main, measured
from pmll_async.evaluation.locomo import read_conversations
from pmll_async.evaluation.runs import evaluate
from pmll_async.text import HashingEmbedder

HOPS = "multi-hop"


def test_the_command_prints_a_table_and_writes_all_measures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.json"
    assert main(["--data", str(HARBOUR), "--limit", "3", "--json", str(file)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[2] == "| questions | number | single recall | research |"
    assert [row for row in printed if row.startswith("| all | 3 | ")]
    found = json.loads(file.read_text(encoding="utf-8"))
    assert [result["method"] for result in found["results"]] == [SINGLE, RESEARCH]
    assert found["questions"] == 3


def test_a_file_that_is_no_data_set_is_a_wrong_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--data", str(write(tmp_path / "none.json", {}))])
    assert "none.json" in capsys.readouterr().err


async def test_questions_of_a_run_do_not_disturb_those_after_it(tmp_path: Path) -> None:
    found = await measured(HARBOUR, HashingEmbedder(), None)
    for result in found.results:
        assert result.over_all.measures["recall@20"].mean > 0.8


@pytest.mark.slow
async def test_questions_of_several_hops_find_more_of_their_evidence(tmp_path: Path) -> None:
    conversations = [
        replace(each, questions=tuple(q for q in each.questions if q.category == HOPS))
        for each in read_conversations(real("locomo/locomo_dev.json"))
    ]
    found = await evaluate(conversations, COMPARED, HashingEmbedder(), tmp_path)
    single, research = (result.over_all.measures[MEASURE].mean for result in found.results)
    assert single == pytest.approx(0.464, abs=0.002)
    assert research >= 0.52
