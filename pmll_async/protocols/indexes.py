"""What a lattice needs of an index, and what an index may do besides: blocking functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pmll_async.values.concert import Concert, Float32, Float64


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The ranked lines of one snapshot; row i belongs to the i-th key given to the index.

    All (count,): `timestamps`, `novelties`, `strengths` float64; `live` bool; `chain` bool (on the
    chain, not a branch); `order`, the record number that breaks ties; `anchors` uint64.
    """

    count: int
    timestamps: Float64
    novelties: Float64
    strengths: Float64
    live: NDArray[np.bool_]
    chain: NDArray[np.bool_]
    order: NDArray[np.integer[Any]]
    anchors: NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class RankQuery:
    """One question to an index. `rows` (ascending int64) narrows it to those rows; None: all live.

    `vector` is float32 (dim,), `norm` its length; lines less similar than `floor` are left out.
    """

    vector: Float32
    norm: float
    k: int
    now: float
    concert: Concert
    floor: float
    rows: NDArray[np.int64] | None = None
    branches: bool = True


@dataclass(frozen=True, slots=True)
class Hit:
    """One ranked row."""

    row: int
    similarity: float
    recency: float
    weight: float


SMALL_PRODUCT: Final = 1 << 20
"""Up to so many multiplications an index answers one query in about 0.1 ms, in the caller's thread
and without waiting for other threads, so that the event loop may ask it directly."""


class Index(Protocol):
    """Finds lines by key. Derived from the log; rebuilt by adding every key again.

    `add` is called by one thread; `rank` and `nearest` by any, also meanwhile, with `Columns` whose
    `count` keys were added before.
    """

    def open(self, dim: int) -> None:
        """Start empty, for keys of `dim` dimensions."""

    def add(self, keys: Float32, norms: Float64) -> None:
        """Append keys (m, dim) with their lengths (m,); rows are numbered in order."""

    def rank(self, columns: Columns, queries: Sequence[RankQuery]) -> list[list[Hit]]:
        """The best k live rows of each query by (weight, later order, anchor).

        What is returned is scored in float64, the same bits however queries are batched.
        """

    def nearest(
        self, columns: Columns, keys: Float32, norms: Float64, start: int = 0
    ) -> list[tuple[float, int] | None]:
        """For each key (m, dim) the largest cosine to a live row of the chain, and that row.

        Of equal cosines the first row; None where there is no such row. Exact in float64. Rows
        before `start` do not count, and should take no time.
        """


@runtime_checkable
class QuickIndex(Index, Protocol):
    """An index that is done with one query over more rows before a worker thread would begin."""

    def quick(self, count: int) -> bool:
        """Whether one query over so many rows takes 0.3 ms at most and waits for no other thread.

        Then the event loop asks it directly, as it does any index about a small product.
        """


@runtime_checkable
class SidecarIndex(Index, Protocol):
    """An index that leaves with the store what the next opening need not make again."""

    @property
    def sidecar(self) -> str:
        """The name of its file."""

    def restore(self, path: Path, anchors: NDArray[np.uint64]) -> None:
        """Take from the file what it has for the rows with these anchors; blocks.

        Called once every key was added. A file that is missing or does not hold is as good as none.
        """

    def keep(self, path: Path, anchors: NDArray[np.uint64]) -> None:
        """Write the file, unless it is as it should be; blocks. Called before the store closes."""


@runtime_checkable
class SupportsCosines(Protocol):
    """An index that can tell the cosine of every row at once."""

    def cosines(
        self, count: int, vector: Float32, norm: float, rows: NDArray[np.int64] | None = None
    ) -> Float32:
        """Cosines (count,) of rows 0 … count - 1 to a vector (dim,) of length `norm`.

        With `rows`, each of them below `count`, (len(rows),) of those. As near as float32 comes,
        within [-1, 1]; the same bits for a row whoever asks with whom.
        """


class KeyReader(Protocol):
    """Reads the keys of index rows from where they are stored."""

    def __call__(self, rows: NDArray[np.int64]) -> Float32:
        """The keys (m, dim) of rows, which ascend, each once."""

    def refuse(self, row: int) -> NoReturn:
        """Raise the error for a key that is not the one which was added as this row."""


Resident = Literal["memory", "mmap"]
"""Where an index has its keys: in memory, or in the store, of whose file the system keeps in memory
what it has room for."""


@runtime_checkable
class ReadsKeys(Protocol):
    """An index that may leave its keys to the store; `resident` says whether it does."""

    @property
    def resident(self) -> Resident:
        """With "mmap" it asks for keys again."""

    def read_keys(self, reader: KeyReader) -> None:
        """Ask this for keys: after `open`, and before anything but `add`.

        A row is asked for once its `add` has returned and the lattice shows it.
        """
