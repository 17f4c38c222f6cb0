"""The same three-step agent in several libraries, side by side: a markdown table, and --json FILE.

Give a library an interpreter of its own with --python agent_pydantic_graph=PATH.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from commits import Commits, commits
from kills import MOMENTS, PLACES, Left, Victim, at_random, placed
from subjects import HERE, SUBJECTS, Subject, output

STEPS = 3
CONCURRENT = 100


@dataclass
class Figures:
    """What was measured of one subject; `missing` says why nothing was."""

    name: str
    missing: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    lines: int = 0
    commits: Commits | None = None
    seconds: dict[str, list[float]] = field(default_factory=dict)
    loop: dict[str, float] = field(default_factory=dict)
    placed: dict[str, dict[str, list[Left]]] = field(default_factory=dict)
    random: list[Left] = field(default_factory=list)


def figures(subject: Subject, folder: Path, options: argparse.Namespace) -> Figures:
    """Everything about one subject."""
    result = Figures(subject.name)
    try:
        result.versions = child(subject, "versions")
    except subprocess.CalledProcessError as error:
        result.missing = error.stderr.strip().splitlines()[-1]
        return result
    result.lines = lines_of(HERE / f"{subject.module}.py")
    result.commits = commits(subject, folder / "commits")
    counts = (str(options.runs), str(options.rounds), str(result.commits.made))
    result.seconds = child(subject, "measure", made(folder / "measure"), *counts)
    result.loop = child(subject, "loop", made(folder / "loop"), str(CONCURRENT))
    if subject.killed and options.kills:
        victim = Victim(subject, folder / "kills")
        result.placed = placed(victim, options.kills)
        result.random = at_random(victim, options.random_kills)
    return result


def child(subject: Subject, verb: str, *arguments: str) -> Any:
    """What a measuring process found."""
    command = subject.command("child.py", verb, subject.module, *arguments)
    return json.loads(output(command, subject.environment()).splitlines()[-1])


def made(folder: Path) -> str:
    folder.mkdir(parents=True)
    return str(folder)


def lines_of(file: Path) -> int:
    """Lines between the markers that are neither blank nor comments."""
    text = file.read_text(encoding="utf-8")
    agent = text.split("# --- agent\n")[1].split("# --- end\n")[0]
    lines = (line.strip() for line in agent.splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


def table(found: list[Figures]) -> str:
    """Markdown: a line a measure, a column a subject."""
    rows = [["", *(result.name for result in found)], ["---"] * (len(found) + 1)]
    rows += [
        [title, *(cell(read, result) for result in found)] for title, read in measures().items()
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cell(read: Callable[[Figures], str], result: Figures) -> str:
    return result.missing if result.missing is not None else read(result)


def measures() -> dict[str, Callable[[Figures], str]]:
    """The table's lines, each with how it is read."""
    return {
        "versions": lambda it: ", ".join(f"{name} {at}" for name, at in it.versions.items()),
        "lines of code": lambda it: str(it.lines),
        "commits a run": lambda it: number(it.commits and it.commits.made),
        "fsync or fdatasync a run": lambda it: number(it.commits and it.commits.syncs),
        "ms a step": lambda it: milliseconds(per_step(it, "run")),
        "floor: as many write+fdatasync, ms a step": lambda it: milliseconds(per_step(it, "floor")),
        f"{CONCURRENT} runs at once: latest 1 ms tick, ms": lambda it: milliseconds(
            it.loop["latest"]
        ),
        f"{CONCURRENT} runs at once: ms a run": lambda it: milliseconds(
            it.loop["seconds"] / CONCURRENT
        ),
        **{
            f"killed {title}, {moment}": kill_reader(place, moment)
            for place, title in PLACES.items()
            for moment in MOMENTS
        },
        "killed at random times": lambda it: tally(left.kind for left in it.random),
    }


def kill_reader(place: str, moment: str) -> Callable[[Figures], str]:
    return lambda it: tally(map(str, it.placed[place][moment])) if it.placed else "–"


def per_step(result: Figures, name: str) -> float:
    return median(result.seconds[name]) / STEPS


def number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3g}"


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g}"


def tally(outcomes: Iterable[str]) -> str:
    """Outcomes with their counts, the most frequent first."""
    return "; ".join(f"{count} × {what}" for what, count in Counter(outcomes).most_common()) or "–"


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", action="append", default=[], metavar="AGENT=PATH")
    parser.add_argument("--only", help="subjects whose name contains this")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=3, help="at each place; 0: no kills at all")
    parser.add_argument("--random-kills", type=int, default=30)
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures, beside the table")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    options = parsed(arguments)
    pythons = dict(pair.split("=", 1) for pair in options.python)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for count, subject in enumerate(SUBJECTS):
            if options.only and options.only not in subject.name:
                continue
            print(subject.name, "…", file=sys.stderr, flush=True)
            chosen = replace(subject, python=pythons.get(subject.module, sys.executable))
            found.append(figures(chosen, Path(folder) / str(count), options))
    if options.json:
        options.json.write_text(json.dumps([asdict(it) for it in found], indent=2), "utf-8")
    print(table(found))


if __name__ == "__main__":
    main(sys.argv[1:])
