"""`pmll eval` as a program: tables, JSON, help, and what it says when called wrongly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_support import environment, pmll
from evaluation_support import HARBOUR, case, write, write_beliefs

from pmll_async.evaluation.measures import MEASURES

CASES = [
    case("finds", "Solanum", {"relevantBeliefs": {"shouldOnlyInclude": ["tomatoes"]}}),
    case("loses", "Zebra", {"relevantBeliefs": {"shouldOnlyInclude": ["tomatoes"]}}),
    case("idles", "", {"pinnedFacts": {"mustInclude": []}}),
]


@pytest.fixture
def beliefs(tmp_path: Path) -> Path:
    return write_beliefs(tmp_path, CASES)


def test_locomo_prints_tables() -> None:
    done = pmll("eval", "locomo", "--data", HARBOUR, "--method", "dialogue", "--method", "bm25")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[1].split() == ["conversations", "1"]
    titles = [line.split() for line in lines if line.startswith("method")]
    assert titles == [
        ["method", *MEASURES, "p50", "ms", "p95", "ms"],
        ["method", "questions", *MEASURES],
    ]
    assert sum(line.startswith("dialogue") for line in lines) == 6
    assert sum(line.startswith("bm25") for line in lines) == 6


def test_locomo_prints_json() -> None:
    done = pmll("eval", "locomo", "--data", HARBOUR, "--method", "cosine", "--seed", "5", "--json")
    found = json.loads(done.stdout)
    assert (found["data"], found["seed"], found["now_after"]) == (str(HARBOUR), 5, 86400.0)
    assert (found["questions"], found["skipped"], found["lines"]) == (9, 2, 30)
    assert found["lines_per_second"] > 0
    (result,) = found["results"]
    assert result["method"] == "cosine"
    assert [group["name"] for group in result["groups"]][-1] == "all"
    for group in result["groups"]:
        assert tuple(group["measures"]) == MEASURES
        for estimate in group["measures"].values():
            assert 0 <= estimate["low"] <= estimate["mean"] <= estimate["high"] <= 1


def test_all_methods_run_when_none_is_named() -> None:
    done = pmll("eval", "locomo", "--data", HARBOUR, "--limit", "2", "--json")
    found = json.loads(done.stdout)
    assert found["questions"] == 2
    assert {result["method"] for result in found["results"]} >= {"dialogue", "cosine", "zsum"}


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path) -> None:
    done = pmll(
        *("eval", "locomo", "--data", HARBOUR, "--limit", "1", "--method", "bm25"),
        env=environment(TMPDIR=str(tmp_path)),
    )
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_precision_prints_tables(beliefs: Path) -> None:
    done = pmll("eval", "precision", "--data", beliefs, "--min-score", "0.3")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["passed", "1", "of", "3", "cases"] in lines
    assert ["1", "of", "the", "2", "with", "something", "to", "find"] in lines
    assert ["Gardening", "1", "1", "1"] in lines
    assert ["finds", "passed"] in lines
    assert ["loses", "failed", "relevantBeliefs:", "missing", "tomatoes"] in lines


def test_precision_prints_json(beliefs: Path) -> None:
    done = pmll("eval", "precision", "--data", beliefs, "--min-score", "0.3", "--json")
    found = json.loads(done.stdout)
    assert [each["status"] for each in found["outcomes"]] == [
        *("passed", "failed", "not expressible")
    ]
    assert (found["passed"], found["failed"], found["not_expressible"]) == (1, 1, 1)
    assert (found["finding"], found["finding_passed"]) == (2, 1)
    assert (found["preset"], found["min_score"]) == ("notes", 0.3)


@pytest.mark.parametrize("command", ["locomo --data ", "precision --data ", "words"])
def test_help_teaches_with_an_example(command: str) -> None:
    done = pmll("eval", command.split(maxsplit=1)[0], "--help")
    assert done.returncode == 0
    assert f"  pmll eval {command}" in done.stdout.partition("Examples:")[2]


def test_without_a_command_help_lists_them() -> None:
    done = pmll("eval", "--help")
    assert done.returncode == 0
    assert {"locomo", "precision", "words"} <= {
        line.split()[0] for line in done.stdout.split("\n  ")[1:]
    }


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    done = pmll("eval", "locomo", "--data", tmp_path / "none.json")
    assert done.returncode == 1
    assert done.stderr == f"pmll: {tmp_path / 'none.json'}: No such file or directory\n"


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    done = pmll("eval", "precision", "--data", tmp_path)
    assert done.returncode == 1
    assert "beliefs.seed.json: No such file or directory" in done.stderr


def test_another_format_is_an_error_in_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "data.json", [{"sample_id": "x", "qa": []}])
    done = pmll("eval", "locomo", "--data", path)
    assert done.returncode == 1
    assert done.stderr == f"pmll: {path}: samples[0].conversation: Field required\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["locomo", "--data", str(HARBOUR), "--method", "bm52"], "no method is called 'bm52'"),
        (["locomo", "--data", str(HARBOUR), "--embedder", "gpt"], "'--embedder'"),
        (["locomo", "--data", str(HARBOUR), "--limit", "0"], "'--limit'"),
        (["locomo"], "'--data'"),
        (["precision", "--data", ".", "--preset", "diary"], "no preset is called 'diary'"),
        (["precision", "--data", ".", "--min-score", "2"], "'--min-score'"),
        (["words", "--preset", "diary"], "no preset is called 'diary'"),
    ],
)
def test_a_wrong_call_is_told_what_would_be_right(arguments: list[str], complaint: str) -> None:
    done = pmll("eval", *arguments)
    assert done.returncode == 2
    assert complaint in " ".join(done.stderr.split())


def test_a_missing_extra_says_how_to_install_it(tmp_path: Path) -> None:
    # An empty module search leaves nothing of the extra to be found.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\n"
        "found = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'onnxruntime' else found(name, *more)\n"
    )
    done = pmll(
        *("eval", "locomo", "--data", HARBOUR, "--embedder", "minilm"),
        env=environment([tmp_path]),
    )
    assert done.returncode == 2
    assert "pip install 'pmll-async[minilm]'" in " ".join(done.stderr.split())
