"""sqlite-vec alone: a `vec0` table in an SQLite file, through one thread."""

from __future__ import annotations

import importlib
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.data import DIM, OPERATORS, Line, Vector, Where
from benchmarks.peers.thread import OneThread

SCHEMA = f"""CREATE VIRTUAL TABLE IF NOT EXISTS lines USING vec0
(id INTEGER PRIMARY KEY, key float[{DIM}] distance_metric=cosine,
topic text, step integer, +text text)"""
INSERT = "INSERT INTO lines (id, key, topic, step, text) VALUES (?, ?, ?, ?, ?)"


class SqliteVec:
    """One commit a put with `synchronous=FULL`; a query is a scan in C, with the filter in it."""

    name: ClassVar[str] = "sqlite-vec"
    requires: ClassVar[tuple[str, ...]] = ("sqlite_vec",)
    capacity: ClassVar[int] = 1_000_000
    lists: ClassVar[bool] = False
    imports: ClassVar[str] = "import sqlite3, sqlite_vec"
    caveat: ClassVar[str] = "exact, synced; one thread"

    async def open(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._thread = OneThread()
        await self._thread.run(self._open, folder / "lines.db")

    def _open(self, file: Path) -> None:
        self._database: Any = sqlite().connect(file)
        self._database.enable_load_extension(True)
        importlib.import_module("sqlite_vec").load(self._database)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute(SCHEMA)

    async def close(self) -> None:
        await self._thread.run(self._database.close)
        self._thread.end()

    async def put(self, line: Line) -> None:
        await self._thread.run(self._insert, [line])

    async def load(self, blocks: Iterable[Sequence[Line]]) -> None:
        for block in blocks:
            await self._thread.run(self._insert, block)

    def _insert(self, block: Sequence[Line]) -> None:
        rows = [
            (line.number, line.key.tobytes(), line.context["topic"], line.number, line.text)
            for line in block
        ]
        with self._database:
            self._database.executemany(INSERT, rows)

    async def query(self, vector: Vector, k: int, where: Where | None = None) -> int:
        return await self._thread.run(self._query, vector, k, where)

    def _query(self, vector: Vector, k: int, where: Where | None) -> int:
        also = f"AND {where.field} {OPERATORS[where.operator]} ?" if where else ""
        operands = [where.operand] if where else []
        rows = self._database.execute(
            f"SELECT id, topic, step, text FROM lines WHERE key MATCH ? AND k = {k} {also}",
            [vector.tobytes(), *operands],
        ).fetchall()
        return len(rows)


def sqlite() -> Any:
    """An SQLite that loads extensions; some builds of Python load none, pysqlite3 does."""
    able = hasattr(sqlite3.Connection, "enable_load_extension")
    return sqlite3 if able else importlib.import_module("pysqlite3")
