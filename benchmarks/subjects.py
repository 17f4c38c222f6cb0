"""What is measured: the seam between workloads and the lattice, its floors and its peers."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from benchmarks.data import Line, Vector, Where


class Subject(Protocol):
    """One thing that is measured, opened on a folder of its own.

    `requires` are the modules it cannot do without; `imports` is the statement that a user writes.
    `lists` says that it takes vectors as lists, which are then made before the clock starts.
    `capacity` is the number of lines beyond which loading it is not worth the wait.
    """

    name: ClassVar[str]
    requires: ClassVar[tuple[str, ...]]
    capacity: ClassVar[int]
    lists: ClassVar[bool]
    imports: ClassVar[str]

    async def open(self, folder: Path) -> None: ...

    async def close(self) -> None: ...


@runtime_checkable
class SupportsPut(Protocol):
    """`put` returns when the line is as durable as the subject makes it as shipped."""

    async def put(self, line: Line) -> None: ...


@runtime_checkable
class SupportsQuery(Protocol):
    """`load` is the fastest bulk way in and never timed; `query` says how many lines came back."""

    async def load(self, blocks: Iterable[Sequence[Line]]) -> None: ...

    async def query(self, vector: Vector, k: int, where: Where | None = None) -> int: ...


@runtime_checkable
class SupportsRace(Protocol):
    """`race` runs `count` trivial candidates concurrently and commits nothing."""

    async def race(self, count: int) -> None: ...


@runtime_checkable
class SupportsBatches(Protocol):
    """`batches` counts the batches that were committed after the first `records` records."""

    @property
    def records(self) -> int: ...

    def batches(self, records: int) -> int: ...


@runtime_checkable
class SupportsOwnProcess(Protocol):
    """`own_process` changes what it must in a process that runs nothing else, before any import."""

    def own_process(self) -> None: ...


OURS = "pmll-async"
OUR_LMDB = "pmll-async, LMDB"
OUR_RACE = "pmll-async race"
OUR_TEXTS = "pmll-async texts"
OUR_RUNS = "pmll-async runs"
OUR_FAISS = "pmll-async faiss"
BARE_FAISS = "faiss"
FTS5 = "sqlite fts5"
CLASSES: dict[str, str] = {
    OURS: "benchmarks.ours:Ours",
    OUR_LMDB: "benchmarks.ours:OurLmdb",
    OUR_RACE: "benchmarks.ours:OurRace",
    OUR_TEXTS: "benchmarks.text_subjects:OurTexts",
    OUR_RUNS: "benchmarks.run_subjects:OurRuns",
    OUR_FAISS: "benchmarks.approximate:OurFaiss",
    BARE_FAISS: "benchmarks.approximate:BareFaiss",
    FTS5: "benchmarks.text_subjects:Fts5",
    "write+fdatasync": "benchmarks.floors:RawLog",
    "lmdb commit": "benchmarks.floors:LmdbCommit",
    "numpy": "benchmarks.floors:MatrixProduct",
    "anyio task group": "benchmarks.floors:TaskGroup",
    "its imports": "benchmarks.floors:Imports",
    "idle loop": "benchmarks.floors:Idle",
    "aiosqlite+numpy": "benchmarks.peers.aiosqlite_numpy:AiosqliteNumpy",
    "langgraph": "benchmarks.peers.langgraph:LangGraph",
    "chromadb": "benchmarks.peers.chroma:Chroma",
    "mem0": "benchmarks.peers.mem0:Mem0",
    "json file": "benchmarks.peers.json_file:JsonFile",
}
PEERS = ("langgraph", "aiosqlite+numpy", "chromadb", "mem0", "json file")


def subject_class(name: str) -> type[Subject]:
    """The class behind a name; its module imports no optional package."""
    module, _, attribute = CLASSES[name].partition(":")
    found: type[Subject] = getattr(importlib.import_module(module), attribute)
    return found


def own_process(name: str) -> None:
    """Makes this process the subject's own."""
    subject = subject_class(name)()
    if isinstance(subject, SupportsOwnProcess):
        subject.own_process()


def missing(name: str) -> str | None:
    """The first module that the subject requires and this environment lacks."""
    for module in subject_class(name).requires:
        if not _findable(module):
            return module
    return None


def _findable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
