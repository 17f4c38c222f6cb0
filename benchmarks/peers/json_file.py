"""The naive memory of many examples: one JSON file, written whole for every put."""

from __future__ import annotations

import asyncio
import heapq
import json
import math
import operator
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.data import Line, Vector, Where


class JsonFile:
    """Durable by rename and fsync; the product is plain Python. A put costs what the file holds."""

    name: ClassVar[str] = "json file"
    requires: ClassVar[tuple[str, ...]] = ()
    capacity: ClassVar[int] = 2_000
    lists: ClassVar[bool] = True
    imports: ClassVar[str] = "import json"

    async def open(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "memory.json"
        self._writing = asyncio.Lock()
        self._lines: list[dict[str, Any]] = []
        if self._file.exists():
            self._lines = json.loads(self._file.read_text(encoding="utf-8"))

    async def close(self) -> None:
        """Nothing is held open."""

    async def put(self, line: Line) -> None:
        async with self._writing:
            self._lines.append({"key": line.floats, "context": line.context})
            await asyncio.to_thread(self._save)

    async def load(self, blocks: Iterable[Sequence[Line]]) -> None:
        for block in blocks:
            self._lines += [{"key": line.floats, "context": line.context} for line in block]
        await asyncio.to_thread(self._save)

    def _save(self) -> None:
        fresh = self._file.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as stream:
            json.dump(self._lines, stream)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(self._file)

    async def query(self, vector: Vector, k: int, where: Where | None = None) -> int:
        return await asyncio.to_thread(
            self._nearest, [float(number) for number in vector], k, where
        )

    def _nearest(self, vector: list[float], k: int, where: Where | None) -> int:
        chosen = [line for line in self._lines if where is None or matches(line["context"], where)]
        return len(heapq.nlargest(k, chosen, key=lambda line: dot(line["key"], vector)))


def matches(context: dict[str, Any], where: Where) -> bool:
    """Whether a context passes the filter."""
    if where.operator == "eq":
        return bool(context[where.field] == where.operand)
    return bool(context[where.field] >= where.operand)


def dot(one: list[float], other: list[float]) -> float:
    """The product as it is written without numpy."""
    return math.fsum(map(operator.mul, one, other))
