"""zvec: a collection in the process, through one thread."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.data import DIM, OPERATORS, Line, Vector, Where
from benchmarks.peers.thread import OneThread


class Zvec:
    """A put is an insert and a flush, which zvec says makes it durable; HNSW with its defaults."""

    name: ClassVar[str] = "zvec"
    requires: ClassVar[tuple[str, ...]] = ("zvec",)
    capacity: ClassVar[int] = 20_000
    lists: ClassVar[bool] = True
    imports: ClassVar[str] = "import zvec"
    caveat: ClassVar[str] = "approximate (HNSW), synced with `flush`; one thread"

    async def open(self, folder: Path) -> None:
        self._thread = OneThread()
        await self._thread.run(self._open, folder)

    def _open(self, folder: Path) -> None:
        self._zvec: Any = importlib.import_module("zvec")
        if folder.exists() and any(folder.iterdir()):
            self._collection: Any = self._zvec.open(str(folder))
        else:
            folder.parent.mkdir(parents=True, exist_ok=True)
            if folder.exists():
                folder.rmdir()
            self._collection = self._zvec.create_and_open(str(folder), schema(self._zvec))

    async def close(self) -> None:
        await self._thread.run(self._collection.close)
        self._thread.end()

    async def put(self, line: Line) -> None:
        await self._thread.run(self._put, line)

    def _put(self, line: Line) -> None:
        self._collection.insert(self._document(line))
        self._collection.flush()

    async def load(self, blocks: Iterable[Sequence[Line]]) -> None:
        for block in blocks:
            await self._thread.run(
                self._collection.insert, [self._document(line) for line in block]
            )
        await self._thread.run(self._collection.flush)

    async def tidy(self) -> None:
        await self._thread.run(self._collection.optimize)

    def _document(self, line: Line) -> object:
        fields = {"topic": line.context["topic"], "step": line.number, "text": line.text}
        return self._zvec.Doc(id=str(line.number), vectors={"key": line.floats}, fields=fields)

    async def query(self, vector: Vector, k: int, where: Where | None = None) -> int:
        return await self._thread.run(self._query, vector, k, where)

    def _query(self, vector: Vector, k: int, where: Where | None) -> int:
        asked = self._zvec.Query("key", vector=vector)
        return len(self._collection.query(asked, topk=k, filter=condition(where)))


def schema(zvec: Any) -> object:
    """The columns of a line; what filters ask for is indexed."""
    kinds = zvec.DataType
    return zvec.CollectionSchema(
        "lines",
        fields=[
            zvec.FieldSchema("topic", kinds.STRING, index_param=zvec.InvertIndexParam()),
            zvec.FieldSchema("step", kinds.INT64, index_param=zvec.InvertIndexParam(True)),
            zvec.FieldSchema("text", kinds.STRING),
        ],
        vectors=zvec.VectorSchema(
            "key", kinds.VECTOR_FP32, DIM, zvec.HnswIndexParam(zvec.MetricType.COSINE)
        ),
    )


def condition(where: Where | None) -> str | None:
    """The filter in zvec's words."""
    if where is None:
        return None
    return f"{where.field} {OPERATORS[where.operator]} {where.operand!r}"
