"""What a hundred times the lines cost: rows that are made of other rows."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.plan import Bound, spaced
from benchmarks.results import Cell, Row, Verdict
from benchmarks.subjects import COLUMNS, OUR_FAISS, OUR_WINDOW

GROWTHS = (
    ("put", "durable put", Bound("≤ 2 ×", 2.0, (OUR_WINDOW,))),
    ("query", "query p50, warm", Bound("≤ 6 ×", 6.0, (OUR_FAISS,))),
)


def growth(rows: Sequence[Row]) -> list[Row]:
    """A row for puts and one for queries, as far as both sizes were measured."""
    named = {row.name: row for row in rows}
    return [
        grown(name, operation, bound, named[f"{name}-10k"], named[f"{name}-1m"])
        for name, operation, bound in GROWTHS
        if {f"{name}-10k", f"{name}-1m"} <= named.keys()
    ]


def grown(name: str, operation: str, bound: Bound, few: Row, many: Row) -> Row:
    """Each subject's figure with many lines in parts of the one with few."""
    cells = {
        subject: Cell(value=more / less)
        for subject in COLUMNS
        if (less := few.value(subject)) and (more := many.value(subject))
    }
    whose = bound.of[0]
    score = cells[whose].value if whose in cells else None
    met = None if score is None else bound.met(score)
    what = f"{operation}: {spaced(many.lines)} lines over {spaced(few.lines)}"
    return Row(
        f"{name}-growth", what, "×", 0, cells, [Verdict(bound.text, whose, score, False, met)]
    )
