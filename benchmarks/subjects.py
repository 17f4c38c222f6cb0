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
    `capacity` is the number of lines beyond which filling it takes more than five minutes on two
    cores, or one answer more than two seconds. `caveat` says what it does less than a lattice.
    """

    name: ClassVar[str]
    requires: ClassVar[tuple[str, ...]]
    capacity: ClassVar[int]
    lists: ClassVar[bool]
    imports: ClassVar[str]
    caveat: ClassVar[str]

    async def open(self, folder: Path) -> None: ...

    async def close(self) -> None: ...


@runtime_checkable
class SupportsPut(Protocol):
    """`put` returns when the line is as durable as the subject makes it as shipped."""

    async def put(self, line: Line) -> None: ...


@runtime_checkable
class SupportsQuery(Protocol):
    """`load` is the fastest bulk way in; `query` says how many lines came back."""

    async def load(self, blocks: Iterable[Sequence[Line]]) -> None: ...

    async def query(self, vector: Vector, k: int, where: Where | None = None) -> int: ...


@runtime_checkable
class SupportsTidy(Protocol):
    """`tidy` makes the indexes that its users make once the lines are there; never timed."""

    async def tidy(self) -> None: ...


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
OUR_FAISS = "pmll-async, FaissIndex"
OUR_WINDOW = "pmll-async, window"
OUR_MAPPED = "pmll-async, mmap"
OUR_RACE = "pmll-async race"
OUR_TEXTS = "pmll-async texts"
OUR_RUNS = "pmll-async runs"
LANGGRAPH = "langgraph"
AIOSQLITE = "aiosqlite+numpy"
NUMPY = "numpy"
BARE_FAISS = "faiss"
BARE_INT8 = "numkong"
FTS5 = "sqlite fts5"
WRITE = "write+fdatasync"
LMDB_COMMIT = "lmdb commit"
TASK_GROUP = "anyio task group"
OUR_IMPORTS = "its imports"
IDLE = "idle loop"
CLASSES: dict[str, str] = {
    OURS: "benchmarks.ours:Ours",
    OUR_LMDB: "benchmarks.ours:OurLmdb",
    OUR_WINDOW: "benchmarks.ours:OurWindow",
    OUR_MAPPED: "benchmarks.kernels:OurMapped",
    OUR_FAISS: "benchmarks.kernels:OurFaiss",
    OUR_RACE: "benchmarks.ours:OurRace",
    OUR_TEXTS: "benchmarks.text_subjects:OurTexts",
    OUR_RUNS: "benchmarks.run_subjects:OurRuns",
    LANGGRAPH: "benchmarks.peers.langgraph:LangGraph",
    AIOSQLITE: "benchmarks.peers.aiosqlite_numpy:AiosqliteNumpy",
    "chromadb": "benchmarks.peers.chroma:Chroma",
    "lancedb": "benchmarks.peers.lance:Lance",
    "mem0": "benchmarks.peers.mem0:Mem0",
    "duckdb": "benchmarks.peers.duck:DuckDb",
    "sqlite-vec": "benchmarks.peers.vec:SqliteVec",
    "zvec": "benchmarks.peers.zvec:Zvec",
    BARE_FAISS: "benchmarks.kernels:BareFaiss",
    NUMPY: "benchmarks.floors:MatrixProduct",
    BARE_INT8: "benchmarks.kernels:BareInt8",
    WRITE: "benchmarks.floors:RawLog",
    LMDB_COMMIT: "benchmarks.floors:LmdbCommit",
    FTS5: "benchmarks.text_subjects:Fts5",
    TASK_GROUP: "benchmarks.floors:TaskGroup",
    OUR_IMPORTS: "benchmarks.floors:Imports",
    IDLE: "benchmarks.floors:Idle",
}
PEERS = (
    LANGGRAPH, AIOSQLITE, "chromadb", "lancedb", "mem0", "duckdb", "sqlite-vec", "zvec"
)  # fmt: skip
# What stands in a column of its own; every other floor is told in one column.
COLUMNS = (OURS, OUR_LMDB, OUR_WINDOW, OUR_MAPPED, OUR_FAISS, *PEERS, BARE_FAISS, NUMPY)
# Who reads the folder that another has filled.
FILLED_AS = {OUR_MAPPED: OUR_WINDOW, OUR_FAISS: OUR_WINDOW, BARE_FAISS: NUMPY, BARE_INT8: NUMPY}


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
