"""Kill -9: what was acknowledged stays, what was recorded is not done again, and runs end alike.

`PMLL_TEST_KILLS=5000` kills more often than the 50 times of every test run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from cli_support import environment

HERE: Final = Path(__file__).parent
KILLS: Final = 50
SEEDS: Final = range(max(1, int(os.environ.get("PMLL_TEST_KILLS", "50")) // KILLS))


def kill(folder: Path, *how: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, HERE / "kill_runs.py", folder, *how],
        capture_output=True,
        text=True,
        check=False,
        env=environment([HERE]),
    )
    assert done.returncode == 0, done.stderr
    tally: dict[str, Any] = json.loads(done.stdout)
    return tally


@pytest.mark.slow
def test_a_run_is_killed_at_each_of_its_commits(tmp_path: Path) -> None:
    tally = kill(tmp_path, "every")
    assert tally["wrong"] == []
    # The store is killed in the process that begins, before its last commit as after its first.
    assert tally["commits"] > 40
    assert tally["kills"] == 2 * tally["commits"]
    # Between an effect and its record nobody can know; there, and only there, it is repeated.
    assert set(tally["repeated"]) == {"ask", "look", "measure", "tidy", "mail", "receipt"}
    # Of the charge, which is made but once, that is told: its intent is durable, its result is not.
    assert tally["unknown"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_runs_are_killed_at_any_moment(tmp_path: Path, seed: int) -> None:
    tally = kill(tmp_path, str(KILLS), str(seed))
    assert tally["wrong"] == []
    assert tally["kills"] >= KILLS
    assert tally["runs"] > 4, "some runs came to their end"
