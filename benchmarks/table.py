"""The rows as one table with a column a subject, for people and in Markdown, and as JSON."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.plan import spaced
from benchmarks.results import OK, Cell, Row, Verdict
from benchmarks.scratch import file_system, real_disk
from benchmarks.subjects import CLASSES, COLUMNS, OURS, missing, subject_class

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
OTHERS, BOUNDS = "floor", "must reach"
MARKS = {True: "yes", False: "no", None: "not told"}


def three_digits(value: float) -> str:
    """A figure as exactly as the noise of a machine allows."""
    return spaced(value) if value >= 100 else f"{value:.3g}"


def figure(value: float, unit: str) -> str:
    """A figure with its unit."""
    if unit == "s":
        scale, unit = next(((scale, unit) for scale, unit in UNITS if value >= scale), UNITS[-1])
        value /= scale
    return f"{three_digits(value)} {unit}".rstrip()


def shown(cell: Cell | None, unit: str) -> str:
    """A cell's text; what was not measured has its reason below the table."""
    if cell is None:
        return ""
    if cell.value is None:
        return "†" if cell.status.startswith("failed") else "—"
    return figure(cell.value, unit)


def bound(verdict: Verdict, unit: str) -> str:
    """What must be reached, and whether it is."""
    whose = "" if verdict.subject == OURS else f"{verdict.subject.removeprefix(OURS + ', ')} "
    if verdict.score is None:
        return f"{whose}{verdict.text}: not told"
    scored = f"{three_digits(verdict.score)} ×" if verdict.is_ratio else figure(verdict.score, unit)
    return f"{whose}{verdict.text}: {scored}, {MARKS[verdict.reached]}"


def columns(rows: Sequence[Row]) -> list[str]:
    """The subjects with a column of their own, which some row has something of."""
    return [name for name in COLUMNS if any(name in row.cells for row in rows)]


def cells(row: Row, names: Sequence[str]) -> list[str]:
    """One row's texts, in the order of the headings."""
    floors = [
        f"{figure(cell.value, row.unit)} {name}"
        for name, cell in row.cells.items()
        if name not in COLUMNS and cell.value is not None
    ]
    bounds = [bound(verdict, row.unit) for verdict in row.verdicts]
    own = [shown(row.cells.get(name), row.unit) for name in names]
    return [row.operation, *own, "; ".join(floors), "; ".join(bounds)]


def markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    names = columns(rows)
    heading = ["", *names, OTHERS, BOUNDS]
    ruled = [heading, ["---"] * len(heading), *(cells(row, names) for row in rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in ruled)


def show(rows: Sequence[Row], plain: bool) -> None:
    """Prints the table, the verdicts, and why what is missing is."""
    if plain or importlib.util.find_spec("rich") is None:
        print(markdown(rows))
    else:
        show_rich(rows)
    for sentence in [reached(rows), *unmeasured(rows)]:
        print(sentence)


def show_rich(rows: Sequence[Row]) -> None:
    """The table in colour, as wide as it is: broken cells would say nothing."""
    names = columns(rows)
    table = importlib.import_module("rich.table").Table("", *names, OTHERS, BOUNDS)
    for row in rows:
        table.add_row(*(text.replace("; ", "\n") for text in cells(row, names)), style=style(row))
    console = importlib.import_module("rich.console").Console()
    console.width = max(console.width, console.measure(table).maximum)
    console.print(table)


def style(row: Row) -> str:
    """The colour of the verdicts."""
    found = {verdict.reached for verdict in row.verdicts}
    return next((name for state, name in COLOURS if state in found), "")


COLOURS = ((False, "red"), (None, "yellow"), (True, "green"))


def reached(rows: Sequence[Row]) -> str:
    """How much of what must be reached is."""
    found = [verdict.reached for row in rows for verdict in row.verdicts]
    return f"{found.count(True)} of {len(found)} bounds reached"


def unmeasured(rows: Sequence[Row]) -> list[str]:
    """For each subject that has no figure, and each reason: a sentence, and the rows it is of."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        for name, cell in row.cells.items():
            if cell.status != OK:
                found.setdefault(f"{name}: {cell.status}", {})[row.name] = None
    return [f"{reason} ({', '.join(names)})" for reason, names in found.items()]


def machine() -> dict[str, object]:
    """What the figures depend on and a reader cannot see; no names of hosts or folders."""
    return {
        "python": platform.python_version(),
        "numpy": metadata.version("numpy"),
        "system": platform.system(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "file system": file_system(real_disk()),
        "blas threads": {
            name: os.environ[name]
            for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
            if name in os.environ
        },
    }


def processor() -> str:
    """The family of the processor, where the system tells it."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        told = []
    names = [line.partition(":")[2].strip() for line in told if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions() -> dict[str, dict[str, str]]:
    """For each installed subject, the packages that it requires and their versions."""
    providers = metadata.packages_distributions()
    return {
        name: {
            package: metadata.version(package)
            for module in subject_class(name).requires
            for package in providers.get(module.partition(".")[0], ())
        }
        for name in CLASSES
        if missing(name) is None
    }


def save(rows: Sequence[Row], file: Path, options: dict[str, object]) -> None:
    """Writes everything measured as JSON."""
    content = {
        "machine": machine(),
        "versions": versions(),
        "options": options,
        "rows": [row.to_json() for row in rows],
    }
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load(file: Path) -> tuple[list[Row], dict[str, Any]]:
    """The rows that `save` wrote, and what it wrote beside them."""
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return [Row.from_json(row) for row in content.pop("rows")], content
