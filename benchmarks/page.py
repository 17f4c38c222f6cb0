"""`python -m benchmarks.page FILE`: writes what was measured into the pages, with the picture."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.data import DIM
from benchmarks.picture import picture
from benchmarks.results import Row
from benchmarks.subjects import AIOSQLITE, LANGGRAPH, OURS, PEERS, subject_class
from benchmarks.table import columns, figure, load, markdown, reached, shown, unmeasured

ROOT = Path(__file__).resolve().parents[1]
README_ROWS = ("put-10k", "tasks-10k", "query-10k", "query-100k", "concurrent-queries", "reopen")
README_PEERS = (LANGGRAPH, AIOSQLITE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrites docs/benchmarks.md, its picture, and the table of the README."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    made.add_argument("file", type=Path, help="what `python -m benchmarks --json` wrote")
    made.add_argument("--root", type=Path, default=ROOT, help="where README.md is (%(default)s)")
    options = made.parse_args(arguments)
    rows, about = load(options.file)
    docs = options.root / "docs"
    replace(docs / "benchmarks.md", "benchmarks", page(rows, about))
    replace(options.root / "README.md", "speed", readme(rows, about))
    (docs / "benchmarks.svg").write_text(picture(rows), encoding="utf-8")


def replace(file: Path, mark: str, content: str) -> None:
    """Puts the content between two marks of a file."""
    text = file.read_text(encoding="utf-8")
    between = re.compile(rf"(<!-- {mark} -->\n).*(?=<!-- /{mark} -->)", re.DOTALL)
    written, count = between.subn(lambda found: found[1] + content, text)
    if count != 1:
        raise ValueError(f"{file.name} has no place for {mark}")
    file.write_text(written, encoding="utf-8")


def page(rows: Sequence[Row], about: dict[str, Any]) -> str:
    """The part of docs/benchmarks.md that is measured."""
    caveats = [
        f"- {name} ({release(name, about) or 'not installed'}): {subject_class(name).caveat}."
        for name in columns(rows)
        if subject_class(name).caveat
    ]
    missing = [f"- {sentence}" for sentence in unmeasured(rows)]
    if missing:
        missing = ["", "A dash is what was not measured, a dagger what failed:", "", *missing]
    return "\n".join(
        [
            setting(about),
            "",
            markdown(rows),
            "",
            f"{reached(rows)}. {beaten(rows)}",
            "",
            "No peer computes a chain or novelty. What else they do, and do not:",
            "",
            *caveats,
            *missing,
            "",
        ]
    )


def setting(about: dict[str, Any]) -> str:
    """What the figures were measured on."""
    machine, options = about["machine"], about["options"]
    how = "Small sizes, which measure nothing" if options["quick"] else "Medians of the rounds"
    return (
        f"{how}, on {machine['cores']} cores ({machine['processor']}), {machine['file system']}, "
        f"Python {machine['python']}, numpy {machine['numpy']}; {DIM} dimensions."
    )


def release(name: str, about: dict[str, Any]) -> str:
    """The packages that a peer is, and their versions."""
    found = about["versions"].get(name, {})
    return ", ".join(f"{package} {version}" for package, version in found.items())


def readme(rows: Sequence[Row], about: dict[str, Any]) -> str:
    """The six rows that matter most, and where a peer is ahead."""
    wanted = [row for name in README_ROWS for row in rows if row.name == name]
    heading = ["", OURS, *README_PEERS, "best of the others"]
    table = [heading, ["---"] * len(heading), *map(short, wanted)]
    lines = ["| " + " | ".join(row) + " |" for row in table]
    said = (
        f"Medians on {about['machine']['cores']} cores, {DIM} dimensions; no peer computes a chain "
        "or novelty. [All rows, peers and sizes](docs/benchmarks.md)."
    )
    return "\n".join([said, "", *lines, "", beaten(wanted), ""])


def short(row: Row) -> list[str]:
    """A row of the README."""
    own = [shown(row.cells.get(name), row.unit) for name in (OURS, *README_PEERS)]
    other = best(row, [name for name in PEERS if name not in README_PEERS])
    named = f"{figure(row.value(other) or 0.0, row.unit)} {other}" if other else "—"
    return [row.operation, *own, named]


def best(row: Row, names: Sequence[str]) -> str | None:
    """Who of these has the best figure of a row."""
    told = {name: value for name in names if (value := row.value(name)) is not None}
    choose = max if row.is_rate else min
    return choose(told, key=lambda name: told[name]) if told else None


def beaten(rows: Sequence[Row]) -> str:
    """Where a peer is ahead of all of ours, and who is furthest, in one sentence."""
    found = [f"{row.operation} ({counted(ahead)})" for row in rows if (ahead := ahead_in(row))]
    return f"A peer is ahead in: {'; '.join(found)}." if found else "No peer is ahead."


def counted(names: Sequence[str]) -> str:
    """The first name, and how many more there are."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def ahead_in(row: Row) -> list[str]:
    """The peers with a better figure than the best of ours, the best of them first."""
    ours = best(row, [name for name in row.cells if name.startswith(OURS)])
    if ours is None:
        return []
    ranked = sorted(
        (name for name in (ours, *PEERS) if row.value(name) is not None),
        key=lambda name: row.value(name) or 0.0,
        reverse=row.is_rate,
    )
    return ranked[: ranked.index(ours)]


if __name__ == "__main__":
    main()
