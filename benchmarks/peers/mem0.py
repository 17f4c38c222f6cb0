"""mem0's AsyncMemory with `infer=False` and Qdrant's local store: no model is asked."""

from __future__ import annotations

import asyncio
import importlib
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.data import DIM, Line, Vector, Where

USER = "bench"
QUERY = "the query"


class GivenVectors:
    """In the embedder's place: looks up the vector that belongs to a text."""

    def __init__(self) -> None:
        self.vectors: dict[str, list[float]] = {}

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        return self.vectors[text]


class Mem0:
    """Language model and embedder are built, as mem0 insists, with a key that is never used."""

    name: ClassVar[str] = "mem0"
    requires: ClassVar[tuple[str, ...]] = ("mem0", "qdrant_client")
    capacity: ClassVar[int] = 20_000
    lists: ClassVar[bool] = True
    imports: ClassVar[str] = "import mem0"
    caveat: ClassVar[str] = "exact, synced; no model is asked"

    async def open(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # mem0 calls Qdrant's local store from the default threads, and that store bears one thread:
        # with two it ends in "cannot start a transaction within a transaction".
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=1))
        memory = importlib.import_module("mem0").AsyncMemory
        self._memory: Any = memory.from_config(configuration(folder))
        self._given = GivenVectors()
        self._memory.embedding_model = self._given

    async def close(self) -> None:
        self._memory.vector_store.client.close()
        self._memory.close()

    async def put(self, line: Line) -> None:
        self._given.vectors[line.text] = line.floats
        await self._memory.add(line.text, user_id=USER, metadata=line.tags, infer=False)
        del self._given.vectors[line.text]

    async def load(self, blocks: Iterable[Sequence[Line]]) -> None:
        for block in blocks:
            await asyncio.to_thread(self._insert, block)

    def _insert(self, block: Sequence[Line]) -> None:
        self._memory.vector_store.insert(
            vectors=[line.floats for line in block],
            payloads=[{**line.tags, "data": line.text, "user_id": USER} for line in block],
            ids=[str(uuid.UUID(int=line.number + 1)) for line in block],
        )

    async def query(self, vector: Vector, k: int, where: Where | None = None) -> int:
        text = f"{QUERY} {id(vector)}"
        self._given.vectors[text] = [float(number) for number in vector]
        found = await self._memory.search(
            text, top_k=k, filters={"user_id": USER, **condition(where)}
        )
        return len(found["results"])


def configuration(folder: Path) -> dict[str, object]:
    """mem0's configuration: everything local, nothing that answers."""
    unused = {"provider": "openai", "config": {"api_key": "unused"}}
    store = {
        "path": str(folder / "qdrant"),
        "on_disk": True,
        "embedding_model_dims": DIM,
        "collection_name": "lines",
    }
    return {
        "vector_store": {"provider": "qdrant", "config": store},
        "llm": unused,
        "embedder": unused,
        "history_db_path": str(folder / "history.db"),
    }


def condition(where: Where | None) -> dict[str, object]:
    """The filter in mem0's words."""
    if where is None:
        return {}
    return {where.field: where.operand if where.operator == "eq" else {"gte": where.operand}}
