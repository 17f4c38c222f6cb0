"""The seams: what a lattice needs of a store, an index, an embedder and a clock.

All store and index methods are plain blocking functions. The lattice calls `open`, `append`, `pin`
and `close` of a store from one thread at a time, and `read` and `contexts` from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pmll_async.errors import PinnedError
from pmll_async.records.blocks import Block
from pmll_async.records.findings import Report, Watch
from pmll_async.records.record import Record
from pmll_async.values.anchors import Hasher
from pmll_async.values.concert import Concert, Float32, Float64

Clock = Callable[[], float]
"""Seconds since the epoch. Called in the trace's thread for records, on the loop for queries."""


@dataclass(frozen=True, slots=True)
class StoreHeader:
    """What a store is, fixed when it is made: dimensions, key check, id and creation time.

    `key_check` is `Hasher.check_value()`: empty in a lattice without a key. `pins` are facts that
    are fixed later, each once. With a `novelty_window` novelty is of so many newest lines; a store
    that cannot keep it must not drop it, or other novelties would be computed.
    """

    dim: int
    value_dim: int
    key_check: str = ""
    store_id: str = ""
    created: float = 0.0
    pins: dict[str, str] = field(default_factory=dict)
    novelty_window: int | None = None

    def with_pin(self, name: str, value: str) -> Self:
        """The header with one more pin, itself if it has it; of another value: `PinnedError`."""
        pinned = self.pins.get(name)
        if pinned is None:
            return replace(self, pins={**self.pins, name: value})
        if pinned != value:
            raise PinnedError(name, pinned, value)
        return self

    def check_window(self, window: int | None) -> None:
        """Refuse another window: `PinnedError`."""
        if window != self.novelty_window:
            raise PinnedError("novelty_window", str(self.novelty_window), str(window))


@dataclass(frozen=True, slots=True)
class Recovery:
    """What opening a store found.

    `records` are kept. `moved_bytes` of a torn tail went from `source` to `moved_to`; `replayed`
    records had to be parsed because no cache held them. `clean` says that the last writer closed.
    """

    records: int = 0
    moved_bytes: int = 0
    source: str = ""
    moved_to: str = ""
    replayed: int = 0
    clean: bool = True


class Store(Protocol):
    """A log of records. It numbers them from 0, keeps their order, and knows no lattice.

    Opening: `open`, then `load` to its end, then `append`, `pin` and `read` in any order, then
    `close`.
    """

    @property
    def path(self) -> str:
        """What names it in errors."""

    @property
    def read_only(self) -> bool:
        """Whether `append` and `pin` raise `ReadOnlyStoreError`."""

    @property
    def recovery(self) -> Recovery:
        """What `open` and `load` found."""

    def open(self, header: StoreHeader | None, hasher: Hasher) -> StoreHeader:
        """Take the store for use; `header` makes it if there is none. Returns the stored header.

        Checks the key: `WrongKeyError`. With `header` None and no store there: `StoreError` when
        read-only, else `DimensionMismatchError`, and nothing is created. Another writer:
        `StoreLockedError`. On any error nothing stays open or locked.
        """

    def load(self) -> Iterator[Block]:
        """All records, as blocks in order without gaps; called once, after `open`."""

    def append(self, records: Sequence[Record], block: Block) -> None:
        """Write the records durably, all or none; `block` holds their columns.

        `NotStoredError` (`StoreFullError` is one): nothing was written, a later call may succeed.
        Whatever else it raises says that the records may be there or not: the lattice writes no
        more until it is opened again. `DurabilityUnknownError`: every later call raises it again.
        """

    def pin(self, name: str, value: str) -> None:
        """Fix a fact about the store for ever, durably and atomically; `open` returns it from then.

        The same value again is nothing, another: `PinnedError`. Other errors as of `append`.
        """

    def read(self, n: int) -> Record:
        """Record `n`. Content that fails its check is never returned: `CorruptionError`."""

    def contexts(self, first: int, stop: int) -> Iterator[Sequence[bytes]]:
        """The canonical contexts of the lines of records `first` … `stop - 1`.

        In record order, winner before losers; the pieces' sizes are the store's own affair.
        """

    def close(self) -> None:
        """Give everything back; waits for reads under way. Idempotent."""


@runtime_checkable
class SupportsFollow(Protocol):
    """A read-only store that can see what a writer elsewhere has added since."""

    def follow(self) -> Iterator[Block]:
        """The durable records behind those already handed over; may be none."""


@runtime_checkable
class SupportsSync(Protocol):
    """A store that acknowledges before the disk has confirmed, and confirms later."""

    def sync(self) -> None:
        """Make everything appended so far durable; nothing to do is fine."""


@runtime_checkable
class SupportsVerify(Protocol):
    """A store that can check every byte of its own while it is open, and changes none."""

    def verify(self, hasher: Hasher, watch: Watch | None = None) -> Report:
        """What is wrong with what is durable now; called in any thread."""


@runtime_checkable
class SupportsLogSize(Protocol):
    """A store whose records are one log of bytes."""

    def log_size(self, records: int) -> int:
        """How long the log is up to the end of the first `records` records."""


@runtime_checkable
class SupportsUpkeep(Protocol):
    """A store that has something to do which no caller need wait for."""

    def keep_up(self) -> None:
        """Do what is due: called after the callers of each batch were answered.

        What it meets, such as a full disk, is its own affair; a store does without being called.
        """


@runtime_checkable
class SupportsKeys(Protocol):
    """A store that reads keys of lines quickly, so that an index need not keep them in memory."""

    def keys(self, records: NDArray[np.int64], places: NDArray[np.int64]) -> Float32:
        """Keys (m, dim): of record `records[i]`, from 0 on, that of its `places[i]`-th line.

        `records` ascend, and may repeat. What fails its check is never returned: `CorruptionError`.
        As `read` it is called from any thread.
        """


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A file that goes with a store: its absolute path, and whether it may only be read.

    It holds what can be made from the records again, and may be deleted at any time. Whoever makes
    it makes it for its owner alone, and stays out of a folder that takes the place of this one.
    """

    path: Path
    read_only: bool = False


@runtime_checkable
class SupportsSidecar(Protocol):
    """A store that has a place beside its records for what others derive from them."""

    def sidecar(self, name: str) -> Sidecar | None:
        """The file of a name that the store does not use itself; it need not exist yet.

        Asked while the store is open, in any thread. None if the place cannot be reached, such as
        when the folder is no longer at its path: then nothing is kept.
        """


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


class Embedder(Protocol):
    """Turns texts into key vectors; `id` is pinned in the store."""

    @property
    def id(self) -> str:
        """Names the model and everything that its vectors depend on."""

    @property
    def dim(self) -> int:
        """The number of dimensions."""

    def embed(self, texts: Sequence[str]) -> Float32:
        """Vectors (len(texts), dim), none of them zero."""


@runtime_checkable
class AsyncEmbedder(Protocol):
    """An embedder that waits for another machine instead of computing; runs on the loop."""

    @property
    def id(self) -> str:
        """See `Embedder.id`."""

    @property
    def dim(self) -> int:
        """See `Embedder.dim`."""

    async def aembed(self, texts: Sequence[str]) -> Float32:
        """Vectors (len(texts), dim), none of them zero; cancelling gives the request up."""


@runtime_checkable
class QuickEmbedder(Embedder, Protocol):
    """An embedder that is done with a short text before a worker thread would have begun."""

    def quick(self, texts: Sequence[str]) -> bool:
        """Whether these take 0.1 ms or less, so that the event loop may embed them itself."""
