"""What goals, steps, memories and exceptions say goes out where somebody asked for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")

AGENT = Path(__file__).with_name("quiet_agent.py")
SECRET = "hunter2"
# Each kind of line that is wanted, so that silence is not taken for discretion.
TOLD = (
    *("run.started", "run.planned", "run.plan_failed", "run.acted", "run.proposed"),
    *("run.reflected", "run.goal_ended", "run.resumed", "run.effect_done", "run.ended"),
    *("observer.failed", "run.end_not_journaled", "pmll.candidate", "exception.stacktrace"),
)


def said(folder: Path, *content: str) -> str:
    """All that the runs print, log and trace."""
    root = AGENT.parents[2]
    done = subprocess.run(
        [sys.executable, str(AGENT), SECRET, str(folder), *content],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = done.stdout + done.stderr
    assert [name for name in TOLD if name not in told] == []
    return told


def test_nothing_that_is_said_goes_out_unasked(tmp_path: Path) -> None:
    told = said(tmp_path)
    assert [line for line in told.splitlines() if SECRET in line] == []


def test_it_goes_out_where_content_is_wanted(tmp_path: Path) -> None:
    told = said(tmp_path, "content")
    for name in ("run.started.content", "run.ended.content", "pmll.text", "exception.message"):
        assert any(SECRET in line for line in told.splitlines() if name in line), name
