"""LanceDB's async tables."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.data import OPERATORS, Line, Vector, Where, line
from benchmarks.peers.duck import arrow

TABLE = "lines"


class Lance:
    """Every put is a version of the table; the files are written, not synced."""

    name: ClassVar[str] = "lancedb"
    requires: ClassVar[tuple[str, ...]] = ("lancedb", "pyarrow")
    capacity: ClassVar[int] = 1_000_000
    lists: ClassVar[bool] = False
    imports: ClassVar[str] = "import lancedb"
    caveat: ClassVar[str] = "exact, written but not synced"

    async def open(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._database: Any = await importlib.import_module("lancedb").connect_async(folder)
        columns = arrow([line(0)]).schema
        self._table: Any = await self._database.create_table(TABLE, schema=columns, exist_ok=True)
        self._writing = asyncio.Lock()

    async def close(self) -> None:
        self._table.close()
        self._database.close()

    async def put(self, line: Line) -> None:
        # Versions that are made at once get in each other's way, and are tried again and again.
        async with self._writing:
            await self._table.add(arrow([line]))

    async def load(self, blocks: Iterable[Sequence[Line]]) -> None:
        for block in blocks:
            await self._table.add(arrow(block))

    async def tidy(self) -> None:
        await self._table.create_index("topic")
        await self._table.optimize()

    async def query(self, vector: Vector, k: int, where: Where | None = None) -> int:
        search = self._table.vector_search(vector).column("key").distance_type("cosine").limit(k)
        if where is not None:
            search = search.where(f"{where.field} {OPERATORS[where.operator]} {where.operand!r}")
        return len(await search.select(["id", "topic", "step", "text", "_distance"]).to_list())
