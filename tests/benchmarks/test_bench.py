from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def bench(file: Path, *options: str) -> tuple[list[dict[str, Any]], str]:
    """The lines of a quick run, in a process of its own, which it silences, and what it printed."""
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json", str(file), *options]
    done = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8", timeout=300
    )
    return json.loads(file.read_text(encoding="utf-8"))["lines"], done.stdout


@pytest.mark.slow
def test_every_row_is_measured_for_ours(tmp_path: Path) -> None:
    lines, _ = bench(tmp_path / "bench.json", "--peers", "")
    ours = [line for line in lines if line["subject"] == "pmll-async"]
    assert {line["row"] for line in ours} == {
        "durable-put", "task-puts", "growing-puts", "query-warm", "query-cold", "query-large",
        "query-approximate", "filter-equal", "filter-range", "concurrent-queries", "race", "reopen",
        "reopen-killed", "import", "ticker", "remember", "recall", "cycle", "many-runs", "resume",
        "once",
    }  # fmt: skip
    # Whether a bound is reached is no matter of small sizes; that there is a figure is.
    assert [line["status"] for line in ours] == ["measured"] * len(ours)


def test_a_peer_that_cannot_be_measured_says_why(tmp_path: Path) -> None:
    wanted = ["--only", "import", "--peers", "langgraph,chromadb,mem0"]
    lines, printed = bench(tmp_path / "bench.json", *wanted)
    peers = {line["subject"]: line for line in lines if line["subject"] != "pmll-async"}
    assert set(peers) == {"langgraph", "chromadb", "mem0"}
    for line in peers.values():
        assert line["value"] or line["status"].startswith("not installed")
        told = f"{line['subject']}: {line['status']} (import)" in printed.splitlines()
        assert told == (line["value"] is None)
