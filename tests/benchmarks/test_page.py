from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import page
from benchmarks.picture import COLOURS, LABEL, picture, spread
from benchmarks.plan import SCALES
from benchmarks.results import Cell, Row
from benchmarks.subjects import LANGGRAPH, NUMPY, OURS, PEERS, WRITE
from benchmarks.table import save

SVG = "{http://www.w3.org/2000/svg}"


def row(name: str, lines: int = 0, unit: str = "s", **seconds: float) -> Row:
    named = {"ours": OURS, "langgraph": LANGGRAPH, "numpy": NUMPY, "write": WRITE}
    cells = {named.get(who, who): Cell(value=value) for who, value in seconds.items()}
    return Row(name, f"what {name} is", unit, lines, cells, [])


def measured() -> list[Row]:
    lines = [10 ** (3 + number) for number in range(len(SCALES))]
    return [
        *(
            row(f"query-{scale}", count, ours=count / 1e8, numpy=count / 2e8, langgraph=count / 1e7)
            for scale, count in zip(SCALES, lines, strict=True)
        ),
        *(
            row(f"put-{scale}", count, ours=0.0004, write=0.0003, langgraph=0.0004)
            for scale, count in zip(SCALES, lines, strict=True)
        ),
        row("tasks-10k", unit="/s", ours=4_000.0, langgraph=9_000.0, zvec=30.0),
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A README and a page with places for what is measured."""
    (tmp_path / "docs").mkdir()
    for name, mark in (("README.md", "speed"), ("docs/benchmarks.md", "benchmarks")):
        text = f"before\n<!-- {mark} -->\nold\n<!-- /{mark} -->\nafter\n"
        (tmp_path / name).write_text(text, encoding="utf-8")
    save(measured(), tmp_path / "results.json", {"quick": False})
    return tmp_path


def test_what_was_measured_is_written_into_the_pages(root: Path) -> None:
    for _ in range(2):
        page.main([str(root / "results.json"), "--root", str(root)])
    for name in ("README.md", "docs/benchmarks.md"):
        text = (root / name).read_text(encoding="utf-8")
        assert text.startswith("before\n<!-- ")
        assert text.endswith(" -->\nafter\n")
        assert "old" not in text
        assert "A peer is ahead in: what tasks-10k is (langgraph)." in text
    readme = (root / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| what (\S+) is ", readme, re.MULTILINE)
    assert rows == ["put-10k", "tasks-10k", "query-10k", "query-100k"]
    assert "| 4 000 /s | 9 000 /s |  | 30 /s zvec |" in readme


def test_a_page_without_a_place_is_left_alone(root: Path) -> None:
    (root / "README.md").write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match=r"README\.md has no place for speed"):
        page.main([str(root / "results.json"), "--root", str(root)])
    assert (root / "README.md").read_text(encoding="utf-8") == "no marks"


def test_the_picture_names_each_curve_once_a_panel() -> None:
    drawn = ET.fromstring(picture(measured()))
    words = [element.text for element in drawn.iter(f"{SVG}text")]
    assert words.count(OURS) == words.count(LANGGRAPH) == 2
    assert words.count(NUMPY) == words.count(WRITE) == 1
    assert len(list(drawn.iter(f"{SVG}polyline"))) == 6


def test_what_is_shown_lies_within_the_picture() -> None:
    drawn = ET.fromstring(picture(measured()))
    width, height = float(drawn.attrib["width"]), float(drawn.attrib["height"])
    places = [
        (float(element.attrib["cx"]), float(element.attrib["cy"]))
        for element in drawn.iter(f"{SVG}circle")
    ]
    assert len(places) == 6 * len(SCALES)
    assert all(0 < x < width and 0 < y < height for x, y in places)


def test_names_in_the_margin_do_not_meet() -> None:
    moved = spread([100.0, 101.0, 101.5, 180.0, 393.0])
    assert all(other - one > LABEL * 0.9 for one, other in pairwise(moved))


def test_one_point_makes_a_picture() -> None:
    drawn = ET.fromstring(picture([row("put-1k", 1_000, ours=0.0004)]))
    assert len(list(drawn.iter(f"{SVG}circle"))) == 1


def test_every_peer_has_a_colour() -> None:
    assert set(PEERS) <= set(COLOURS)
