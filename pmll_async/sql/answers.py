"""One question: a single SELECT, read-only, and what comes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import duckdb
from duckdb import DuckDBPyConnection, StatementType

from pmll_async.errors import InvalidInputError, LatticeClosedError

Parameters: TypeAlias = "Sequence[object] | Mapping[str, object]"
FORMATS: Final = {".parquet": "parquet", ".csv": "csv, header", ".json": "json", ".jsonl": "json"}
"""What a file is written as, by how its name ends."""
_NO_VECTORS: Final = re.compile(r'column "(key|value)" not found', re.IGNORECASE)


class SqlAnswer(NamedTuple):
    """The rows of an answer, with the columns' names and SQL types."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def selected(connection: DuckDBPyConnection, query: str) -> str:
    """The one statement in a query, which must be a SELECT; `InvalidInputError` for any other."""
    if not isinstance(query, str):
        raise InvalidInputError(f"SQL is a text, not {type(query).__name__}")
    with translated():
        statements = connection.extract_statements(query)
    if len(statements) != 1:
        raise InvalidInputError(
            f"give one SELECT at a time; these are {len(statements)} statements"
        )
    if statements[0].type != StatementType.SELECT:
        raise InvalidInputError(
            f"SQL only reads a lattice: give a SELECT, not {statements[0].type.name}; to export "
            "rows, name a file to write them to"
        )
    return str(statements[0].query).strip().rstrip(";")


def check(query: str, target: Path | None = None) -> None:
    """Refuse what is no single SELECT, or a file of another kind; `InvalidInputError`."""
    if target is not None and target.suffix not in FORMATS:
        raise InvalidInputError(
            f"{target} must end in {', '.join(sorted(FORMATS))}, which says what it is to be"
        )
    with duckdb.connect(":memory:") as connection:
        selected(connection, query)


def rows(connection: DuckDBPyConnection, query: str, parameters: Parameters | None) -> SqlAnswer:
    """All rows of a SELECT."""
    with _asked(connection, query, parameters):
        described = connection.description or []
        names = tuple([str(column[0]) for column in described])
        types = tuple([str(column[1]) for column in described])
        return SqlAnswer(names, types, connection.fetchall())


def arrow(connection: DuckDBPyConnection, query: str, parameters: Parameters | None) -> Any:
    """All rows as a `pyarrow.Table`."""
    with _asked(connection, query, parameters):
        return connection.to_arrow_table()


def frame(connection: DuckDBPyConnection, query: str, parameters: Parameters | None) -> Any:
    """All rows as a `pandas.DataFrame`."""
    with _asked(connection, query, parameters):
        return connection.df()


def write(
    connection: DuckDBPyConnection, query: str, parameters: Parameters | None, target: Path
) -> int:
    """Write the rows to a new file, where the database may; how many there were."""
    form = FORMATS[target.suffix]
    text = selected(connection, query)
    name = str(target).replace("'", "''")
    with translated(), _reading(connection):
        copied = f"copy (\n{text}\n) to '{name}' (format {form})"
        found = connection.execute(copied, parameters).fetchone()
        return int(found[0]) if found else 0


@contextmanager
def _asked(
    connection: DuckDBPyConnection, query: str, parameters: Parameters | None
) -> Iterator[None]:
    text = selected(connection, query)
    with translated(), _reading(connection):
        connection.execute(text, parameters)
        yield


@contextmanager
def _reading(connection: DuckDBPyConnection) -> Iterator[None]:
    """A transaction that cannot write: a SELECT may have an INSERT within."""
    connection.execute("begin transaction read only")
    try:
        yield
    finally:
        connection.execute("rollback")


@contextmanager
def translated() -> Iterator[None]:
    """Turns the errors of DuckDB into ours."""
    try:
        yield
    except duckdb.InterruptException as exc:
        raise LatticeClosedError("the question was interrupted") from exc
    except duckdb.Error as exc:
        hint = ""
        if _NO_VECTORS.search(str(exc)):
            hint = "; keys and values are there with vectors=True (pmll sql --vectors)"
        raise InvalidInputError(f"SQL: {str(exc).strip()}{hint}") from exc
