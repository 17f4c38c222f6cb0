"""Floors: what the machine takes for the work itself, without a memory library around it."""

from __future__ import annotations

import importlib
import json
import os
import shutil
from base64 import b64encode
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from benchmarks import data
from benchmarks.data import Line, Vector, Where
from benchmarks.ours import Ours

SAMPLES = 64
FRAME_HEAD = 116


class Floor:
    """What all floors have in common: nothing to open, nothing to install."""

    requires: ClassVar[tuple[str, ...]] = ()
    capacity: ClassVar[int] = 1_000_000
    lists: ClassVar[bool] = False
    imports: ClassVar[str] = ""
    caveat: ClassVar[str] = ""

    async def open(self, folder: Path) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""


class RawLog(Floor):
    """One os.write and one os.fdatasync a line, of the bytes that the lattice writes for one."""

    name: ClassVar[str] = "write+fdatasync"

    async def open(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._records = await log_records(folder / "sample")
        self._file = os.open(folder / "raw.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)

    async def close(self) -> None:
        os.close(self._file)

    async def put(self, line: Line) -> None:
        os.write(self._file, self._records[line.number % len(self._records)])
        os.fdatasync(self._file)


class LmdbCommit(Floor):
    """One LMDB transaction a line, of as many bytes as a lattice's frame of it has."""

    name: ClassVar[str] = "lmdb commit"
    requires: ClassVar[tuple[str, ...]] = ("lmdb",)

    async def open(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        lmdb = importlib.import_module("lmdb")
        self._environment = lmdb.open(str(folder / "bare.lmdb"), map_size=1 << 38)

    async def close(self) -> None:
        self._environment.close()

    async def put(self, line: Line) -> None:
        # Two numbers, two anchors and a digest among others, beside the key and the context.
        frame = bytes(FRAME_HEAD) + line.key.tobytes() + json.dumps(line.context).encode()
        with self._environment.begin(write=True) as transaction:
            transaction.put(line.number.to_bytes(8, "big"), frame, append=True)


async def log_records(folder: Path) -> list[bytes]:
    """Records as the lattice's log holds them, or of the same shape where it is not installed."""
    lines = data.lines(0, SAMPLES)
    ours = Ours()
    try:
        await ours.open(folder)
        for line in lines:
            await ours.put(line)
        await ours.close()
    # A lattice that is missing or broken has its own line; the peers' ratios do without it.
    except Exception:  # noqa: BLE001  # as said
        return [imitation(line) for line in lines]
    records = ours.log_lines()
    shutil.rmtree(folder)
    return records


def imitation(line: Line) -> bytes:
    """A record with the fields of the log's format, for a checkout without the package."""
    key = b64encode(line.key.tobytes()).decode("ascii")
    record = {
        "n": line.number,
        "d": line.number,
        "op": "put",
        "t": 1763816281.123,
        "key": key,
        "value": key,
    }
    record |= {
        "ctx": line.context,
        "anchor": "0" * 16,
        "novelty": 0.25,
        "similarity": 0.75,
        "c": "0" * 8,
    }
    return json.dumps(record).encode() + b"\n"


class MatrixProduct(Floor):
    """One numpy product of all unit keys with the query, and its k largest: no thread, no lines."""

    name: ClassVar[str] = "numpy"

    async def open(self, folder: Path) -> None:
        self._saved = folder / "keys.npy"
        if self._saved.exists():
            self._keys: npt.NDArray[np.float32] = np.load(self._saved)

    async def load(self, blocks: Iterable[Sequence[Line]]) -> None:
        self._keys = np.stack([line.key for block in blocks for line in block])
        self._saved.parent.mkdir(parents=True, exist_ok=True)
        np.save(self._saved, self._keys)

    async def query(self, vector: Vector, k: int, where: Where | None = None) -> int:
        products = self._keys @ vector
        best = np.argpartition(products, -k)[-k:]
        return len(best[np.argsort(-products[best])])


class TaskGroup(Floor):
    """A bare anyio task group of trivial tasks."""

    name: ClassVar[str] = "anyio task group"
    requires: ClassVar[tuple[str, ...]] = ("anyio",)

    async def open(self, folder: Path) -> None:
        self._anyio = importlib.import_module("anyio")

    async def race(self, count: int) -> None:
        results: list[int] = []

        async def trivial(number: int) -> None:
            results.append(number)

        async with self._anyio.create_task_group() as group:
            for number in range(count):
                group.start_soon(trivial, number)


class Imports(Floor):
    """Importing what the package cannot do without."""

    name: ClassVar[str] = "its imports"
    requires: ClassVar[tuple[str, ...]] = ("numpy", "anyio", "structlog", "pydantic")
    imports: ClassVar[str] = "import numpy, anyio, structlog; from pydantic import BaseModel"


class Idle(Floor):
    """An event loop with nothing but the ticker: the lateness that the machine itself adds."""

    name: ClassVar[str] = "idle loop"
