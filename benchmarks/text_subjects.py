"""Text memory as a subject, and the full-text index of SQLite beside it."""

from __future__ import annotations

import asyncio
import importlib
import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from benchmarks.texts import Turn


@runtime_checkable
class SupportsRecall(Protocol):
    """`remember` returns when all is stored; `recall` says how many texts came back."""

    async def remember(self, turns: Iterable[Turn]) -> None: ...

    async def recall(self, question: str, k: int) -> int: ...


class OurTexts:
    """Text memory with its defaults: hashing embedder, dialogue preset, durable batches."""

    name: ClassVar[str] = "pmll-async"
    requires: ClassVar[tuple[str, ...]] = ("pmll_async",)
    capacity: ClassVar[int] = 1_000_000
    lists: ClassVar[bool] = False
    imports: ClassVar[str] = "import pmll_async.text"
    caveat: ClassVar[str] = ""

    async def open(self, folder: Path) -> None:
        self._text = importlib.import_module("pmll_async.text")
        self._memory: Any = await self._text.TextMemory.open(folder)

    async def close(self) -> None:
        await self._memory.aclose()

    async def remember(self, turns: Iterable[Turn]) -> None:
        await self._memory.remember_many(
            self._text.Utterance(
                text=turn.text, speaker=turn.speaker, session=turn.session, timestamp=turn.seconds
            )
            for turn in turns
        )

    async def recall(self, question: str, k: int) -> int:
        return len(await self._memory.recall(question, k))


class Fts5:
    """The nearest well-kept library: FTS5 with Porter's stems, ranked by its bm25 alone."""

    name: ClassVar[str] = "sqlite fts5"
    requires: ClassVar[tuple[str, ...]] = ("sqlite3",)
    capacity: ClassVar[int] = 1_000_000
    lists: ClassVar[bool] = False
    imports: ClassVar[str] = "import sqlite3"
    caveat: ClassVar[str] = ""

    async def open(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(folder / "texts.sqlite", check_same_thread=False)
        self._file.execute("pragma journal_mode = wal")
        self._file.execute(
            "create virtual table if not exists turns using fts5"
            "(text, speaker, session unindexed, tokenize = 'porter unicode61')"
        )

    async def close(self) -> None:
        self._file.close()

    async def remember(self, turns: Iterable[Turn]) -> None:
        rows = [(turn.text, turn.speaker, turn.session) for turn in turns]
        await asyncio.to_thread(self._insert, rows)

    def _insert(self, rows: list[tuple[str, str, str]]) -> None:
        with self._file:
            self._file.executemany("insert into turns values (?, ?, ?)", rows)

    async def recall(self, question: str, k: int) -> int:
        return len(await asyncio.to_thread(self._find, question, k))

    def _find(self, question: str, k: int) -> list[tuple[str]]:
        words = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", question))
        return self._file.execute(
            "select text from turns where turns match ? order by bm25(turns) limit ?", (words, k)
        ).fetchall()
