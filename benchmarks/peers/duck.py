"""DuckDB: a table with a column of arrays, scanned whole; `vss` would have to be downloaded."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.data import DIM, OPERATORS, Line, Vector, Where
from benchmarks.peers.thread import OneThread

SCHEMA = f"""CREATE TABLE IF NOT EXISTS lines
(id BIGINT, topic VARCHAR, step BIGINT, text VARCHAR, key FLOAT[{DIM}])"""
INSERT = "INSERT INTO lines VALUES (?, ?, ?, ?, ?)"


class DuckDb:
    """A transaction a put, which syncs DuckDB's write-ahead log; queries are exact."""

    name: ClassVar[str] = "duckdb"
    requires: ClassVar[tuple[str, ...]] = ("duckdb", "pyarrow")
    capacity: ClassVar[int] = 1_000_000
    lists: ClassVar[bool] = True
    imports: ClassVar[str] = "import duckdb"
    caveat: ClassVar[str] = "exact, synced; one thread"

    async def open(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._thread = OneThread()
        await self._thread.run(self._open, folder / "lines.duckdb")

    def _open(self, file: Path) -> None:
        self._database: Any = importlib.import_module("duckdb").connect(file)
        self._database.execute(SCHEMA)

    async def close(self) -> None:
        await self._thread.run(self._database.close)
        self._thread.end()

    async def put(self, line: Line) -> None:
        row = (line.number, line.context["topic"], line.number, line.text, line.floats)
        await self._thread.run(lambda: self._database.execute(INSERT, row))

    async def load(self, blocks: Iterable[Sequence[Line]]) -> None:
        for block in blocks:
            await self._thread.run(self._append, arrow(block))

    def _append(self, block: object) -> None:
        # DuckDB finds the table by the name of the local variable.
        self._database.execute("INSERT INTO lines SELECT * FROM block")

    async def query(self, vector: Vector, k: int, where: Where | None = None) -> int:
        return await self._thread.run(self._query, vector, k, where)

    def _query(self, vector: Vector, k: int, where: Where | None) -> int:
        matching = f"WHERE {where.field} {OPERATORS[where.operator]} ?" if where else ""
        operands = [where.operand] if where else []
        rows = self._database.execute(
            f"SELECT id, topic, step, text FROM lines {matching} "
            f"ORDER BY array_inner_product(key, ?::FLOAT[{DIM}]) DESC LIMIT {k}",
            [*operands, vector],
        ).fetchall()
        return len(rows)


def arrow(block: Sequence[Line]) -> Any:
    """The lines as an Arrow table with the columns of `SCHEMA`."""
    pyarrow: Any = importlib.import_module("pyarrow")
    flat = pyarrow.array(np.concatenate([line.key for line in block]))
    return pyarrow.table(
        {
            "id": [line.number for line in block],
            "topic": [line.context["topic"] for line in block],
            "step": [line.number for line in block],
            "text": [line.text for line in block],
            "key": pyarrow.FixedSizeListArray.from_arrays(flat, DIM),
        }
    )
