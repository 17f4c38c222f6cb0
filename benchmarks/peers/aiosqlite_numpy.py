"""What many write themselves: aiosqlite for the rows, a numpy matrix of keys beside it."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from benchmarks.data import DIM, OPERATORS, Line, Vector, Where

SCHEMA = """
CREATE TABLE IF NOT EXISTS lines (id INTEGER PRIMARY KEY, key BLOB NOT NULL, context TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_topic ON lines (json_extract(context, '$.topic'));
"""
INSERT = "INSERT INTO lines (key, context) VALUES (?, ?)"


class AiosqliteNumpy:
    """One commit a put with `synchronous=FULL`; products run in one worker thread."""

    name: ClassVar[str] = "aiosqlite+numpy"
    requires: ClassVar[tuple[str, ...]] = ("aiosqlite",)
    capacity: ClassVar[int] = 1_000_000
    lists: ClassVar[bool] = False
    imports: ClassVar[str] = "import aiosqlite, numpy"
    caveat: ClassVar[str] = "exact, synced"

    async def open(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._connection: Any = await importlib.import_module("aiosqlite").connect(
            folder / "lines.db"
        )
        await self._connection.execute("PRAGMA journal_mode=WAL")
        await self._connection.execute("PRAGMA synchronous=FULL")
        await self._connection.executescript(SCHEMA)
        self._writing = asyncio.Lock()
        # Products in several threads at once fight for the threads of BLAS and come out slower.
        self._thread = ThreadPoolExecutor(max_workers=1)
        rows = await self._connection.execute_fetchall("SELECT key FROM lines ORDER BY id")
        self._count = len(rows)
        self._keys: npt.NDArray[np.float32] = np.empty(
            (max(1_024, 2 * self._count), DIM), np.float32
        )
        for place, (key,) in enumerate(rows):
            self._keys[place] = np.frombuffer(key, np.float32)

    async def close(self) -> None:
        self._thread.shutdown()
        await self._connection.close()

    async def put(self, line: Line) -> None:
        row = (line.key.tobytes(), json.dumps(line.context))
        # Without the lock one task's commit would cut another's transaction in two.
        async with self._writing:
            await self._connection.execute(INSERT, row)
            await self._connection.commit()
            self._append(line.key)

    async def load(self, blocks: Iterable[Sequence[Line]]) -> None:
        for block in blocks:
            rows = [(line.key.tobytes(), json.dumps(line.context)) for line in block]
            await self._connection.executemany(INSERT, rows)
            for line in block:
                self._append(line.key)
        await self._connection.commit()

    def _append(self, key: Vector) -> None:
        if self._count == len(self._keys):
            self._keys = np.concatenate([self._keys, np.empty_like(self._keys)])
        self._keys[self._count] = key
        self._count += 1

    async def query(self, vector: Vector, k: int, where: Where | None = None) -> int:
        among = None if where is None else await self._matching(where)
        loop = asyncio.get_running_loop()
        keys = self._keys[: self._count]
        places = await loop.run_in_executor(self._thread, best, keys, vector, k, among)
        marks = ",".join("?" * len(places))
        ids = [int(place) + 1 for place in places]
        rows = await self._connection.execute_fetchall(
            f"SELECT id, key, context FROM lines WHERE id IN ({marks})", ids
        )
        return len(
            [
                (number, np.frombuffer(key, np.float32), json.loads(context))
                for number, key, context in rows
            ]
        )

    async def _matching(self, where: Where) -> npt.NDArray[np.intp]:
        test = f"json_extract(context, '$.{where.field}') {OPERATORS[where.operator]} ?"
        rows = await self._connection.execute_fetchall(
            f"SELECT id FROM lines WHERE {test}", (where.operand,)
        )
        return np.fromiter((row[0] - 1 for row in rows), np.intp, len(rows))


def best(
    keys: npt.NDArray[np.float32], vector: Vector, k: int, among: npt.NDArray[np.intp] | None
) -> npt.NDArray[np.intp]:
    """Places of the k keys nearest to the vector, nearest first."""
    products = (keys if among is None else keys[among]) @ vector
    k = min(k, len(products))
    chosen = np.argpartition(products, -k)[-k:]
    chosen = chosen[np.argsort(-products[chosen])]
    return chosen if among is None else among[chosen]
