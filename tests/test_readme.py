"""What the README and docs/ show works, prints what it says, and points to what is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest
from cli_support import ROOT, pmll, script, script_from_nothing

from pmll_async.text import ASSISTANT, DIALOGUE, NOTES

README = (ROOT / "README.md").read_text(encoding="utf-8")
LONGEST_README = 7000
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTS = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


class Example(NamedTuple):
    """A Python block, and the output that is shown below it."""

    title: str
    code: str
    output: str | None


def examples() -> list[Example]:
    found = []
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        blocks = list(FENCED.finditer(text))
        for block, following in zip(blocks, [*blocks[1:], None], strict=False):
            if block[1] == "python":
                title = re.findall(r"^## (.*)$", text[: block.start()], re.MULTILINE)[-1]
                output = following[2] if following and following[1] == "text" else None
                found.append(Example(f"{name}: {title}", block[2], output))
    return found


def links() -> list[tuple[str, str]]:
    found = []
    for name in DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        targets = re.findall(r"\]\(([^)]+)\)", text)
        found += [(name, target) for target in targets if "://" not in target]
    return list(dict.fromkeys(found))


def fragments(document: Path) -> set[str]:
    """What a link calls the headings of a document."""
    text = FENCED.sub("", document.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands() -> list[list[str]]:
    documents = [(ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS]
    blocks = [block for text in documents for block in FENCED.findall(text)]
    shown = [text for language, text in blocks if "pmll " in text and not language]
    return [shlex.split(line) for text in shown for line in text.splitlines() if line]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.title)
def test_each_block_runs_in_an_empty_folder(example: Example, tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text(example.code, encoding="utf-8")
    # Who has read nothing but the README has imported nothing, either.
    run = script_from_nothing if example.title.startswith("README.md") else script
    done = run(file, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
    if example.output is not None:
        assert done.stdout == example.output


def test_some_blocks_show_their_output() -> None:
    assert sum(example.output is not None for example in examples()) >= 5


@pytest.mark.parametrize(("document", "target"), links())
def test_each_link_leads_somewhere(document: str, target: str) -> None:
    path, _, anchor = target.partition("#")
    place = (ROOT / document).parent.joinpath(path) if path else ROOT / document
    assert place.exists()
    assert not anchor or anchor in fragments(place)


def test_the_readme_is_short() -> None:
    assert len(README.encode()) <= LONGEST_README


def test_the_index_names_every_page_and_the_readme_the_index() -> None:
    pages = {name for name in DOCUMENTS if name.startswith("docs/")}
    linked = links()
    assert {f"docs/{target}" for document, target in linked if document == "docs/index.md"} >= (
        pages - {"docs/index.md"}
    )
    assert "docs/index.md" in {target for document, target in linked if document == "README.md"}


def test_each_command_shown_is_there() -> None:
    listed = pmll("--help").stdout
    shown = commands()
    assert len(shown) >= 6
    for program, command, *_ in shown:
        assert program == "pmll"
        assert f"\n  {command} " in listed or command == "demo"


def test_each_make_target_shown_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= targets
    assert [target for target in targets if f"\n{target}:" not in makefile] == []


def test_the_benchmark_table_has_its_place() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert text.count("<!-- benchmarks -->") == text.count("<!-- /benchmarks -->") == 1


def test_the_table_of_scorers_has_the_weights_of_the_presets() -> None:
    text = (ROOT / "docs" / "recall.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|(.*?)\|(.*?)\|(.*?)\|.*\|$", text, re.MULTILINE)
    for place, preset in enumerate((DIALOGUE, NOTES, ASSISTANT), start=1):
        shown = {row[0]: float(row[place]) for row in rows if row[place].strip()}
        assert shown == {part.name: part.weight for part in preset.parts}


@pytest.mark.parametrize("name", ["benchmarks", "flow", "footprint", "models-and-memory", "recall"])
def test_a_picture_says_in_words_what_it_shows(name: str) -> None:
    picture = ET.parse(ROOT / "docs" / f"{name}.svg").getroot()
    names = [element.tag.rpartition("}")[2] for element in picture]
    assert names[:2] == ["title", "desc"]
    assert "prefers-color-scheme: dark" in ET.tostring(picture, encoding="unicode")
