"""What a type checker tells someone who writes steps."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_steps_are_checked_as_typing_steps_says(monkeypatch: pytest.MonkeyPatch) -> None:
    api = pytest.importorskip("mypy.api", reason="mypy is among the development tools")
    monkeypatch.chdir(ROOT)
    # An ignore that mypy does not need is an error, too, so that each one is a test of its own.
    told, errors, status = api.run(["tests/controllers/typing_steps.py"])
    assert status == 0, told + errors
