"""docs/running.md shows what the commands print, and names every event."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

from cli_support import ROOT, pmll

from controllers.reports.documents import NAMES


def test_the_documentation_shows_what_is_printed(tmp_path: Path) -> None:
    document = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    code, *_ = re.findall(r"^```python\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    (tmp_path / "my_agent.py").write_text(code, encoding="utf-8")
    _, lines, listed, event = re.findall(
        r"^```text\n(.*?)^```$", document, re.MULTILINE | re.DOTALL
    )
    agent = ("my_agent:controller", "count to four")

    def timeless(text: str) -> str:
        text = re.sub(r"\d{4}-\d\d-\d\d", "DAY", re.sub(r"\d\d:\d\d:\d\d", "TIME", text))
        return re.sub(r'"at":[0-9.]+', '"at":0', text)

    printed = pmll("run", *agent, "--run-id", "f3a90c1e", cwd=tmp_path)
    assert timeless(printed.stdout) == timeless(lines)
    assert timeless(pmll("runs", "memory", cwd=tmp_path).stdout) == timeless(listed)
    told = pmll("replay", "memory", "f3a9", "--json", cwd=tmp_path).stdout.splitlines()
    assert timeless(event).strip() in map(timeless, told)


def test_the_documentation_names_every_field() -> None:
    document = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    for name in NAMES.values():
        assert f"| `{name}` |" in document


def test_the_picture_says_in_words_what_it_shows() -> None:
    picture = ET.parse(ROOT / "docs" / "watch.svg").getroot()
    names = [element.tag.rpartition("}")[2] for element in picture]
    assert names[:2] == ["title", "desc"]
