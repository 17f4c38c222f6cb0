"""What docs/tools.md says that tools save is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import tools

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "tools.md").read_text(encoding="utf-8")


def shown(columns: int) -> dict[str, tuple[int, ...]]:
    """The rows of the page's tables that have a name and so many whole numbers."""
    rows = re.findall(rf"^\| (.+?) \|((?: \d+ \|){{{columns}}})$", PAGE, re.MULTILINE)
    return {name: tuple(map(int, re.findall(r"\d+", cells))) for name, cells in rows}


async def test_calls_are_saved() -> None:
    found = await tools.saved()
    assert {name: shown(1)[name] for name in found} == {name: (n,) for name, n in found.items()}


@pytest.mark.slow
def test_a_killed_process_does_not_repeat_its_effects() -> None:
    found = {f"{runner}, killed {place}": each for (runner, place), each in tools.killed().items()}
    assert shown(2) == found


async def test_every_kind_of_call_is_timed() -> None:
    found = await tools.timed(count=2, rounds=1)
    assert [name for name in found if f"| {name} |" not in PAGE] == []
