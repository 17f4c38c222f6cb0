"""The lines as a table for people, with rich where it is installed, and as JSON for machines."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.lines import OK, Line
from benchmarks.scratch import file_system, real_disk

HEADINGS = ("operation", "subject", "median", "against", "ratio", "must reach", "reached")
SCALES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def duration(seconds: float) -> str:
    """Seconds in the unit that fits."""
    for scale, unit in SCALES:
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e6:.2f} µs"


def figure(value: float | None, unit: str) -> str:
    """A figure with its unit."""
    if value is None:
        return "—"
    if unit == "s":
        return duration(value)
    if unit == "/s":
        return f"{value:,.0f} /s".replace(",", " ")
    return (
        f"{value:.{3 if value >= 1 else 2}g} {unit}".rstrip()
        if value < 1_000
        else f"{value:.0f} {unit}".rstrip()
    )


def cells(line: Line) -> tuple[str, ...]:
    """One line's cells, in the order of the headings."""
    if line.status != OK:
        return (
            line.operation,
            line.subject,
            line.status,
            "—",
            "—",
            line.required or "",
            "no" if line.required else "",
        )
    against = f"{line.against} {figure(line.against_value, line.unit)}" if line.against else "—"
    ratio = figure(line.ratio, "×")
    return (
        line.operation,
        line.subject,
        figure(line.value, line.unit),
        against,
        ratio,
        line.required or "",
        verdict(line),
    )


def verdict(line: Line) -> str:
    """Whether what must be reached is; empty where nothing must."""
    if line.required is None:
        return ""
    return {True: "yes", False: "no", None: "not told"}[line.reached]


def show(lines: Sequence[Line], plain: bool) -> None:
    """Prints the table; the plain form is Markdown."""
    if plain or importlib.util.find_spec("rich") is None:
        print(markdown(lines))
    else:
        show_rich(lines)
    must = [line for line in lines if line.required is not None]
    print(f"{sum(line.reached is True for line in must)} of {len(must)} requirements reached")
    for sentence in unmeasured(lines):
        print(sentence)


def unmeasured(lines: Sequence[Line]) -> list[str]:
    """For each subject that has no figure, and each reason: a sentence, and the rows it is of."""
    rows: dict[str, dict[str, None]] = {}
    for line in lines:
        if line.status != OK:
            rows.setdefault(f"{line.subject}: {line.status}", {})[line.row] = None
    return [f"{reason} ({', '.join(names)})" for reason, names in rows.items()]


def markdown(lines: Sequence[Line]) -> str:
    """The table in Markdown."""
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *map(cells, lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def show_rich(lines: Sequence[Line]) -> None:
    """The table in colour, with a rule between operations."""
    rich_table = importlib.import_module("rich.table")
    table = rich_table.Table(*HEADINGS)
    operation = ""
    for line in lines:
        first, *rest = cells(line)
        if first != operation and operation:
            table.add_section()
        table.add_row("" if first == operation else first, *rest, style=style(line))
        operation = first
    importlib.import_module("rich.console").Console().print(table)


def style(line: Line) -> str:
    """Peers in grey, ours in the colour of the verdict."""
    if line.required is None:
        return "dim"
    return {True: "green", False: "red", None: "yellow"}[line.reached]


def machine() -> dict[str, object]:
    """What the figures depend on and a reader cannot see."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "file system": file_system(real_disk()),
        "blas threads": {
            name: os.environ[name]
            for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
            if name in os.environ
        },
    }


def save(lines: Sequence[Line], file: Path, options: dict[str, object]) -> None:
    """Writes everything measured as JSON."""
    content = {"machine": machine(), "options": options, "lines": [asdict(line) for line in lines]}
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
