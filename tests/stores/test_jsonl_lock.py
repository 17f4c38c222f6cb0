"""One writer at a time, whoever asks and whenever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent.parent)]),
}


def test_eight_processes_race_to_open(tmp_path: Path) -> None:
    rounds = 50
    done = subprocess.run(
        [sys.executable, HERE / "open_racers.py", tmp_path, str(rounds)],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert len(results) == rounds
    for racers in results:
        winners = [pid for pid, told in racers if told is None]
        assert len(winners) == 1
        losers = [told for _, told in racers if told is not None]
        assert losers == [[winners[0], False]] * 7, "each is told who holds the store"
