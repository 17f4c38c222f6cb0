"""Each example runs by itself, in an empty folder, and prints what its reader should see."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

OUTPUTS = {
    "quickstart": r"""
Anchor A: [0-9a-f]{16}
Queried 1 memory lines\.
Bias Vector: \[-?\d\.\d{3}(, -?\d\.\d{3}){3}, \.\.\.\]
""",
    "race": r"""
short_answer: 0\.\d{3}
full_answer: 0\.\d{3}
Winner: water boils at 100 degrees Celsius at sea level
Branch of strength 0\.5: water boils at 100 degrees
Lines on the chain: 1
""",
    "own_steps": r"""
done after \d cycles: it is 37
planned: between \d+ and \d+
(planned: between \d+ and \d+
)*planned: between 1 and 100
""",
    "time_travel": r"""
Now: Ada drinks coffee now
At [0-9a-f]{16}: Ada drinks tea
After the rollback: Ada drinks tea
Off the chain: Ada drinks coffee now, position None
""",
    "two_agents": r"""
planner found: the key is under the mat
scout came too late: the head is [0-9a-f]{16}
""",
}


def test_every_example_is_known() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(OUTPUTS)


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_example_prints_what_it_promises(name: str, tmp_path: Path) -> None:
    program = ROOT / "examples" / f"{name}.py"
    assert len(program.read_text(encoding="utf-8").splitlines()) < 60
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(OUTPUTS[name].lstrip(), done.stdout), done.stdout
    assert list(tmp_path.iterdir()) == []
