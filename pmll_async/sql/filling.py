"""Filling the tables: records of a state as columns of numpy arrays, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from duckdb import DuckDBPyConnection
from numpy.typing import NDArray

from pmll_async.loop.breathing import Breather
from pmll_async.records.content import LineRecord
from pmll_async.records.record import RaceRecord, Record
from pmll_async.sql.schema import FILL_LINES, FILL_SCORES, VECTORS_OF_BATCH

if TYPE_CHECKING:
    from pmll_async.views import Survey

BATCH_LINES: Final = 1024
"""As many at once take some tens of ms and, with vectors of 1000 numbers, 8 MB."""
Columns = dict[str, NDArray[Any]]


class _Row(NamedTuple):
    """A line of a record, and its place there."""

    record: int
    committed_at: float
    place: int
    line: LineRecord


def fill(
    database: DuckDBPyConnection, survey: Survey, first: int, stop: int, *, vectors: bool
) -> None:
    """Add what records `first` … `stop - 1` hold to the tables; blocks."""
    breathe, rows, scores = Breather(), list[_Row](), list[tuple[Any, ...]]()
    for n in range(first, stop):
        breathe()
        record = survey.record(n)
        rows += [_Row(n, record.t, place, line) for place, line in enumerate(record.lines)]
        scores += _scores(n, record)
    if rows:
        columns = _line_columns(rows) | _state_columns(rows, survey, first, stop)
        if vectors:
            columns |= _vector_columns(rows)
        added = VECTORS_OF_BATCH if vectors else ""
        _insert(database, FILL_LINES.format(vectors=added), columns)
    if scores:
        names = ("record", "name", "outcome", "score", "anchor", "error", "message")
        columns = {
            name: _objects(column)
            for name, column in zip(names, zip(*scores, strict=True), strict=True)
        }
        columns["record"] = columns["record"].astype(np.int64)
        columns["score"] = _optional(columns["score"])
        _insert(database, FILL_SCORES, columns)


def _insert(database: DuckDBPyConnection, statement: str, columns: Columns) -> None:
    database.register("batch", columns)
    try:
        database.execute(statement)
    finally:
        database.unregister("batch")


def _line_columns(rows: Sequence[_Row]) -> Columns:
    """What never changes about the lines."""
    lines = [row.line for row in rows]
    whole = [None if line.content.erased else line for line in lines]
    plain = [None if line is None or line.kind == "note" else line for line in whole]
    times = [row.committed_at if row.line.timestamp is None else row.line.timestamp for row in rows]
    return {
        "anchor": _objects(line.anchor for line in lines),
        "prev_anchor": _objects(line.prev_anchor for line in lines),
        "kind": _objects(line.kind for line in lines),
        "time": np.array(times, np.float64),
        "committed_at": np.array([row.committed_at for row in rows], np.float64),
        "context": _objects(
            None if line is None else line.content.context.decode() for line in whole
        ),
        "novelty": _optional([None if line is None else line.novelty for line in plain]),
        "similarity": _optional([None if line is None else line.similarity for line in plain]),
        "record": np.array([row.record for row in rows], np.int64),
        "place": np.array([row.place for row in rows], np.int32),
    }


def _state_columns(rows: Sequence[_Row], survey: Survey, first: int, stop: int) -> Columns:
    """What the lines are in this state."""
    states = survey.line_states(first, stop)
    erased = [row.line.content.erased for row in rows]
    return {
        "position": np.ma.masked_less(states.positions, 0),
        "strength": states.strengths,
        "status": np.where(erased, "erased", states.statuses).astype(object),
    }


def _vector_columns(rows: Sequence[_Row]) -> Columns:
    """Keys and values; none of notes and of what is erased."""
    contents = [row.line.content for row in rows]
    return {
        "key": _objects(_vector(content.key) for content in contents),
        # Without values there is nothing that a line could lack.
        "value": _objects(_vector(content.value) for content in contents),
    }


def _vector(raw: bytes) -> NDArray[np.float32] | None:
    return np.frombuffer(raw, dtype="<f4") if raw else None


def _scores(n: int, record: Record) -> list[tuple[Any, ...]]:
    """Who took part in a race, and how that ended."""
    if not isinstance(record, RaceRecord):
        return []
    winner = record.lines[0].anchor
    took_part = [
        (each.name, "won" if each.anchor == winner else "lost", each.score, each.anchor, None, None)
        for each in record.scores
    ]
    failed = [
        (each.name, "failed", None, None, each.error, each.message) for each in record.failures
    ]
    unfinished = [(name, "unfinished", None, None, None, None) for name in record.unfinished]
    return [(n, *each) for each in (*took_part, *failed, *unfinished)]


def _objects(values: Iterable[object]) -> NDArray[Any]:
    items = list(values)
    # One by one: numpy would make a table of arrays that are of one length.
    column = np.empty(len(items), dtype=object)
    for place, item in enumerate(items):
        column[place] = item
    return column


def _optional(values: Sequence[float | None] | NDArray[Any]) -> NDArray[Any]:
    """Numbers, and places without one."""
    missing = [value is None for value in values]
    numbers = np.array([0.0 if value is None else value for value in values], np.float64)
    return np.ma.array(numbers, mask=missing)
