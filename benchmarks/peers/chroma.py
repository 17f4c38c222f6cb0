"""chromadb's local client, which has no async form: every call goes through a worker thread."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.data import Line, Vector, Where


class Chroma:
    """A persistent collection with cosine distance and given vectors; no embedder is loaded."""

    name: ClassVar[str] = "chromadb"
    requires: ClassVar[tuple[str, ...]] = ("chromadb",)
    capacity: ClassVar[int] = 200_000
    lists: ClassVar[bool] = True
    imports: ClassVar[str] = "import chromadb"
    caveat: ClassVar[str] = "approximate (HNSW), synced; default threads"

    async def open(self, folder: Path) -> None:
        await asyncio.to_thread(self._open, folder)

    def _open(self, folder: Path) -> None:
        chromadb: Any = importlib.import_module("chromadb")
        settings = chromadb.config.Settings(anonymized_telemetry=False)
        self._client = chromadb.PersistentClient(path=str(folder), settings=settings)
        self._collection = self._client.get_or_create_collection(
            "lines", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )

    async def close(self) -> None:
        self._client.close()

    async def put(self, line: Line) -> None:
        await asyncio.to_thread(self._add, [line])

    async def load(self, blocks: Iterable[Sequence[Line]]) -> None:
        for block in blocks:
            await asyncio.to_thread(self._add, block)

    def _add(self, block: Sequence[Line]) -> None:
        self._collection.add(
            ids=[str(line.number) for line in block],
            embeddings=[line.floats for line in block],
            documents=[line.text for line in block],
            metadatas=[line.tags for line in block],
        )

    async def query(self, vector: Vector, k: int, where: Where | None = None) -> int:
        return await asyncio.to_thread(self._query, vector, k, where)

    def _query(self, vector: Vector, k: int, where: Where | None) -> int:
        found = self._collection.query(
            query_embeddings=[vector], n_results=k, where=condition(where)
        )
        return len(found["ids"][0])


def condition(where: Where | None) -> dict[str, object] | None:
    """The filter in chromadb's words."""
    if where is None:
        return None
    return {where.field: {f"${where.operator}": where.operand}}
