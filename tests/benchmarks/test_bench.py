from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.plan import QUICK, Sizes
from benchmarks.results import Row
from benchmarks.rows import plans
from benchmarks.subjects import OURS, PEERS, missing, subject_class
from benchmarks.table import load

ROOT = Path(__file__).resolve().parents[2]


def bench(file: Path, *options: str) -> tuple[list[Row], str]:
    """The rows of a quick run, in a process of its own, which it silences, and what it printed."""
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json", str(file), *options]
    done = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8", timeout=300
    )
    return load(file)[0], done.stdout


@pytest.mark.slow
def test_every_row_is_measured_for_ours(tmp_path: Path) -> None:
    rows, _ = bench(tmp_path / "bench.json", "--peers", "")
    named = [spec.name for plan in plans(QUICK) for spec in plan.specs]
    assert [row.name for row in rows] == [name for name in named if not name.endswith("-1m")]
    # Whether a bound is reached is no matter of small sizes; that there is a figure is.
    for row in rows:
        ours = {name: cell for name, cell in row.cells.items() if name.startswith(OURS)}
        assert OURS in ours
        installed = {name: cell for name, cell in ours.items() if missing(name) is None}
        assert {name: cell.status for name, cell in installed.items()} == dict.fromkeys(
            installed, "measured"
        )


def test_a_peer_that_cannot_be_measured_says_why(tmp_path: Path) -> None:
    rows, printed = bench(tmp_path / "bench.json", "--only", "import", "--peers", ",".join(PEERS))
    peers = {name: cell for name, cell in rows[0].cells.items() if name in PEERS}
    assert set(peers) == set(PEERS)
    for name, cell in peers.items():
        assert cell.value or cell.status.startswith("not installed")
        assert (f"{name}: {cell.status} (import)" in printed.splitlines()) == (cell.value is None)


def test_larger_stores_may_be_left_out(tmp_path: Path) -> None:
    asked = ["--only", "query-1", "--most", str(QUICK.store), "--peers", ""]
    rows, _ = bench(tmp_path / "bench.json", *asked)
    assert [(row.name, row.lines) for row in rows] == [
        ("query-1k", QUICK.tiny),
        ("query-10k", QUICK.store),
    ]


def test_the_full_sizes_are_those_of_the_bounds() -> None:
    assert Sizes().scales == {"1k": 1_000, "10k": 10_000, "100k": 100_000, "1m": 1_000_000}


def test_rows_have_names_of_their_own() -> None:
    names = [spec.name for plan in plans(Sizes()) for spec in plan.specs]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_bears_the_name_of_its_column_and_says_what_it_does_less(name: str) -> None:
    peer = subject_class(name)
    assert peer.name == name
    assert peer.caveat


def test_bounds_are_about_subjects_that_take_part() -> None:
    for plan in plans(Sizes()):
        taking_part = {subject_class(name).name for name in plan.subjects}
        for spec in plan.specs:
            for bound in spec.bounds:
                assert {*bound.of, *bound.against} <= taking_part, (spec.name, bound.text)
