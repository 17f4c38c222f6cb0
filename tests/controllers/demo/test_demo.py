"""The demo, run as a user does: it answers, it remembers, and it leaves a whole memory behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from cli_support import pmll

from pmll_async import Lattice
from pmll_async.stores.jsonl.verify import verify

ROOT = Path(__file__).resolve().parents[3]
ATTRIBUTES = "How are class attributes looked up?"

# What an answer must say; phrases that the reference has kept for many versions.
ANSWERS = {
    ATTRIBUTES: r"Class\s+attribute\s+references\s+are\s+translated\s+to\s+lookups",
    "What happens to an exception in a finally clause?": r"temporarily\s+saved",
    "When are default parameter values evaluated?": r"when\s+the\s+function\s+definition\s+is",
    "How do chained comparisons work?": r"chained\s+arbitrarily",
    "What does the global statement do?": r"interpreted\s+as\s+globals",
    "How do I set a breakpoint in the debugger?": r"break",
    "What is name mangling of private names?": r"mangl",
    "Which objects are considered false?": r"considered\s+false|False",
    "What happens when an assert statement fails?": r"AssertionError",
    "When is __del__ called?": r"about\s+to\s+be\s+destroyed",
    "Do dictionaries keep insertion order?": r"insertion\s+order",
    "How do I strip whitespace from a string?": r"strip",
    "How do lambda expressions work?": r"anonymous\s+function",
    "What does del do to a name?": r"removes\s+the\s+binding",
    "How is the metaclass of a class determined?": r"metaclass",
}


Done = subprocess.CompletedProcess[str]


def demo(*arguments: str, cwd: Path) -> Done:
    return pmll("demo", *arguments, cwd=cwd)


def module(*arguments: str, cwd: Path) -> Done:
    """The same command by its other name, in a process that imports everything anew."""
    return subprocess.run(
        [sys.executable, "-m", "controllers", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def told(*arguments: str, cwd: Path, run: Callable[..., Done] = demo) -> dict[str, Any]:
    """The one JSON document of a run that went well."""
    done = run("--json", *arguments, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder whose memory holds the reference and the answers to all questions."""
    folder = tmp_path_factory.mktemp("demo")
    document = told(*ANSWERS, cwd=folder, run=module)
    (folder / "first.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def first(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "first.json").read_text())
    return document


def test_the_first_run_reads_the_reference(folder: Path, first: dict[str, Any]) -> None:
    memory = first["memory"]
    assert memory["path"] == ".demo"
    assert memory["new_lines"] == memory["passages"] + memory["topics"] > 400
    assert memory["runs"] == 0
    assert first["verified"]["clean"]
    assert (folder / ".demo" / "store.json").exists()


def test_most_questions_are_answered(first: dict[str, Any]) -> None:
    answers = {entry["question"]: entry["answer"] for entry in first["questions"]}
    wrong = [
        asked for asked, said in ANSWERS.items() if not re.search(said, answers[asked]["text"])
    ]
    # Other versions of Python word some passages otherwise.
    assert len(wrong) <= 2, wrong


def test_every_race_has_several_strategies_and_one_winner(first: dict[str, Any]) -> None:
    races = [cycle["race"] for entry in first["questions"] for cycle in entry["cycles"]]
    for race in races:
        fates = [entrant["fate"] for entrant in race["entrants"]]
        assert len(fates) == 5
        assert fates.count("chain") == 1
        assert len(race["branches"]) == fates.count("branch")
    assert any(race["branches"] for race in races)
    assert any(race["revised"] for race in races)


def test_some_questions_take_another_cycle_and_gain_by_it(first: dict[str, Any]) -> None:
    gains = []
    for entry in first["questions"]:
        best = [
            max(e["score"] or 0 for e in cycle["race"]["entrants"]) for cycle in entry["cycles"]
        ]
        assert best == sorted(best), "an answer was lost again"
        gains.append(best[-1] - best[0])
    assert max(gains) > 0


def test_the_second_run_uses_what_the_first_remembered(folder: Path, first: dict[str, Any]) -> None:
    before = {entry["question"]: entry for entry in first["questions"]}
    document = told(*ANSWERS, cwd=folder)
    assert document["memory"]["new_lines"] == 0
    assert document["memory"]["runs"] == len(ANSWERS)
    for entry in document["questions"]:
        known = before[entry["question"]]
        assert entry["answer"]["known_run"] == known["run_id"]
        assert entry["answer"]["text"] == known["answer"]["text"]
        assert entry["answer"]["cycles"] == 1
    assert document["verified"]["clean"]


def test_a_similar_question_brings_the_answer_back(folder: Path) -> None:
    (entry,) = told("how is a class attribute looked up", cwd=folder)["questions"]
    names = [entrant["name"] for entrant in entry["cycles"][0]["race"]["entrants"]]
    assert names.index("remembered") == 0
    assert re.search(ANSWERS[ATTRIBUTES], entry["answer"]["text"])


def test_nonsense_is_answered_honestly(folder: Path) -> None:
    done = demo("What is the capital of France?", cwd=folder)
    assert done.returncode == 0
    assert "No passage answers this well" in done.stdout


def test_any_question_is_survived(folder: Path) -> None:
    asked = ["", "?!", "🎉", "the of and", "[bold]x[/]", "SELECT * -- \x07\x1b[2J", "x" * 5_000]
    done = demo("--", *asked, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "The chain verifies" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_person_sees_what_happens(folder: Path) -> None:
    done = demo("What is name mangling of private names?", cwd=folder)
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    for seen in (
        *("Nothing to read again", "cycle 0", "PLAN", "ACT", "TRACE", "REFLECT", "remembered"),
        *("→ chain", "committed", "bias vector", "The chain verifies", "earlier answers halved"),
    ):
        assert seen in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_a_missing_package_is_named_with_its_cure(package: str) -> None:
    program = f"import sys; sys.modules[{package!r}] = None; import controllers.demo"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1].endswith("pip install 'pmll-async[cli]'")


def test_fresh_forgets_a_memory_and_nothing_else(tmp_path: Path) -> None:
    assert told("--fresh", ATTRIBUTES, cwd=tmp_path)["memory"]["runs"] == 0
    document = told("--fresh", ATTRIBUTES, cwd=tmp_path)
    assert document["memory"]["runs"] == 0
    assert document["memory"]["new_lines"] > 0
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    done = demo("--fresh", "--path", "precious", cwd=tmp_path)
    assert done.returncode == 1
    assert "leaves it alone" in done.stderr
    assert (precious / "thesis.txt").exists()


async def test_a_memory_in_use_is_left_alone(folder: Path) -> None:
    async with Lattice.open(folder / ".demo"):
        for arguments in ([], ["--fresh"]):
            done = await to_thread.run_sync(partial(demo, *arguments, cwd=folder))
            assert done.returncode == 1
            assert "open for writing" in done.stderr
    assert (folder / ".demo" / "store.json").exists()


def test_ctrl_c_leaves_a_clean_memory(folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "controllers", *([ATTRIBUTES] * 10_000)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if "REFLECT" in line:
                break
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        said = process.stderr.read()
    assert (process.returncode, "Interrupted" in said) == (130, True), said
    assert verify(folder / ".demo").findings == ()
    assert told(ATTRIBUTES, cwd=folder)["verified"]["clean"]
