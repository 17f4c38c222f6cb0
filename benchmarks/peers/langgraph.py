"""LangGraph's AsyncSqliteStore with its vector index, as `from_conn_string` opens it."""

from __future__ import annotations

import importlib
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.data import DIM, Line, Vector, Where

NAMESPACE = ("memories",)
QUERY = "the query"


class LangGraph:
    """The store embeds texts; its embedder here looks up the vector that belongs to the text."""

    name: ClassVar[str] = "langgraph"
    requires: ClassVar[tuple[str, ...]] = ("langgraph.store.sqlite.aio", "sqlite_vec")
    capacity: ClassVar[int] = 200_000
    lists: ClassVar[bool] = True
    imports: ClassVar[str] = "import langgraph.store.sqlite.aio"
    caveat: ClassVar[str] = "exact, synced"

    def own_process(self) -> None:
        """The index is an SQLite extension; some builds of Python load none, pysqlite3 does."""
        if not hasattr(sqlite3.Connection, "enable_load_extension"):
            sys.modules["sqlite3"] = importlib.import_module("pysqlite3")

    async def open(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        store = importlib.import_module("langgraph.store.sqlite.aio").AsyncSqliteStore
        self._vectors: dict[str, list[float]] = {}
        index = {"dims": DIM, "embed": self._embed, "text_fields": ["text"]}
        self._context = store.from_conn_string(str(folder / "store.db"), index=index)
        self._store: Any = await self._context.__aenter__()
        await self._store.setup()

    async def close(self) -> None:
        # The store's batching task ends with the last reference to the store, not with its context.
        self._store._task.cancel()
        await self._context.__aexit__(None, None, None)

    async def _embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [self._vectors[text] for text in texts]

    async def put(self, line: Line) -> None:
        self._vectors[line.text] = line.floats
        await self._store.aput(NAMESPACE, str(line.number), line.context)
        del self._vectors[line.text]

    async def load(self, blocks: Iterable[Sequence[Line]]) -> None:
        put_op = importlib.import_module("langgraph.store.base").PutOp
        for block in blocks:
            self._vectors = {line.text: line.floats for line in block}
            await self._store.abatch(
                [put_op(NAMESPACE, str(line.number), line.context) for line in block]
            )
        self._vectors = {}

    async def query(self, vector: Vector, k: int, where: Where | None = None) -> int:
        text = f"{QUERY} {id(vector)}"
        self._vectors[text] = [float(number) for number in vector]
        found = await self._store.asearch(NAMESPACE, query=text, limit=k, filter=condition(where))
        return len(found)


def condition(where: Where | None) -> dict[str, object] | None:
    """The filter in LangGraph's words."""
    if where is None:
        return None
    return {where.field: where.operand if where.operator == "eq" else {"$gte": where.operand}}
