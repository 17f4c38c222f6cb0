"""`pmll sql`: what a lattice's lines say, asked in SQL."""

from __future__ import annotations

import asyncio
import csv
import json
import math
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pmll_async.cli import arguments
from pmll_async.cli.arguments import AsJson, KeyFile, LatticePath, PassphraseFile, SecretKeyFile
from pmll_async.cli.secrets import secret_of
from pmll_async.cli.terminal import listing, progress, show, show_json
from pmll_async.values.anchors import is_anchor

if TYPE_CHECKING:
    from pmll_async import Lattice, Point
    from pmll_async.sql import LatticeTables, SqlAnswer

Form = Literal["table", "json", "csv"]


def sql(
    path: LatticePath,
    query: Annotated[str, typer.Argument(metavar="SELECT", help="One SELECT.", show_default=False)],
    at: Annotated[
        str | None,
        typer.Option(metavar="POINT", help="The state at a time, a revision or an anchor."),
    ] = None,
    vectors: Annotated[
        bool, typer.Option("--vectors", help="With the columns key and value.")
    ] = False,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write here: .parquet, .csv, .json or .jsonl."
        ),
    ] = None,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    secret_key_file: SecretKeyFile = None,
) -> None:
    """Ask a lattice in SQL (DuckDB's), whatever store it is in.

    Tables and views: lines, scores, state, chain, freshness, topics_by_hour, races. Reads only,
    also beside a writer: the lines are copied into memory first. With --json one row a line.
    """
    if as_json and as_csv:
        raise typer.BadParameter("give --json or --csv, not both")
    from pmll_async.lattice import Lattice

    key = arguments.key_in(key_file)
    secret = secret_of(path, passphrase_file, secret_key_file)
    point = None if at is None else _point(at)
    from pmll_async.sql.answers import check

    # Before anything is read, which may take long.
    check(query, output)
    form: Form = "json" if as_json else "csv" if as_csv else "table"

    async def run() -> None:
        opening = Lattice.open(path, read_only=True, integrity_key=key, secret=secret)
        async with opening as lattice, await _tables(lattice, point, vectors) as tables:
            if output is None:
                _print(await tables.sql(query), form)
            else:
                written = await tables.write(query, output)
                _report(path, output, written, as_json)

    asyncio.run(run())


async def _tables(lattice: Lattice, point: Point | None, vectors: bool) -> LatticeTables:
    from pmll_async.sql import LatticeTables

    state = lattice if point is None else lattice.at(point)
    with progress("reading") as tell:
        return await LatticeTables(state, vectors=vectors, progress=tell)


def _point(text: str) -> Point:
    """An anchor, a revision or a moment."""
    if is_anchor(text):
        return text
    if text.isdecimal():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise typer.BadParameter(
            f"{text!r} is no anchor, no revision and no time with its zone (2026-11-01T12:00Z)",
            param_hint="--at",
        )
    return moment


def _report(path: Path, output: Path, written: int, as_json: bool) -> None:
    if as_json:
        show_json({"path": str(path), "output": str(output), "rows": written})
    else:
        sys.stdout.write(f"wrote {written} rows of {path} to {output}\n")


def _print(answer: SqlAnswer, form: Form) -> None:
    if form == "table":
        rows = [[_text(value) for value in row] for row in answer.rows]
        show(listing(answer.columns, rows))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows([_text(value) for value in row] for row in answer.rows)
    else:
        for row in answer.rows:
            show_json(
                {
                    name: json.loads(value)
                    if kind == "JSON" and value is not None
                    else _plain(value)
                    for name, kind, value in zip(answer.columns, answer.types, row, strict=True)
                }
            )


def _text(value: Any) -> str:
    """A cell."""
    if value is None:
        return ""
    plain = _plain(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """What JSON has for a value of SQL; for what it lacks, a text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int | bool | None):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    return str(value)
