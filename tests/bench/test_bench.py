from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def bench(file: Path, *options: str) -> list[dict[str, Any]]:
    """The lines of a quick run, in a process of its own, which it silences."""
    command = [sys.executable, "-m", "tests.bench", "--quick", "--json", str(file), *options]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    lines: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["lines"]
    return lines


@pytest.mark.slow
def test_every_row_is_measured_for_ours(tmp_path: Path) -> None:
    lines = bench(tmp_path / "bench.json", "--peers", "")
    ours = [line for line in lines if line["subject"] == "pmll-async"]
    assert {line["row"] for line in ours} == {
        "durable-put", "task-puts", "growing-puts", "query-warm", "query-cold", "filter-equal",
        "filter-range", "concurrent-queries", "race", "reopen", "reopen-killed", "import", "ticker",
        "remember", "recall", "cycle", "many-runs", "resume", "once",
    }  # fmt: skip
    # Whether a bound is reached is no matter of small sizes; that there is a figure is.
    assert [line["status"] for line in ours] == ["measured"] * len(ours)


def test_a_peer_that_cannot_be_measured_says_why(tmp_path: Path) -> None:
    lines = bench(tmp_path / "bench.json", "--only", "import", "--peers", "langgraph,chromadb,mem0")
    peers = {line["subject"]: line for line in lines if line["subject"] != "pmll-async"}
    assert set(peers) == {"langgraph", "chromadb", "mem0"}
    for line in peers.values():
        assert line["value"] or line["status"].startswith("not installed")
