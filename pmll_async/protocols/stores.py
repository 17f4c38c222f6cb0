"""What a lattice needs of a store, and what a store may do besides.

All methods are plain blocking functions. The lattice calls `open`, `append`, `pin` and `close` of a
store from one thread at a time, and `read` and `contexts` from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pmll_async.errors import PinnedError
from pmll_async.records.blocks import Block
from pmll_async.records.findings import Report, Watch
from pmll_async.records.record import Record
from pmll_async.values.anchors import Hasher
from pmll_async.values.concert import Float32

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


Left = Callable[[int, Record], Record]
"""What is to be left of record `n`, given as it is; its L_n is the same."""


class Erasing(Protocol):
    """An erasure that has begun: `write`, then `finish`. After an error of either it is over.

    An error leaves all as it was, or half done, and then the same erasure does the rest.
    """

    def write(self) -> None:
        """The long part, called in any thread: all other calls but `erase` and `close` go on."""

    def finish(self) -> None:
        """The last step, called as `append` is; what was appended since `erase` is kept.

        Durable when it returns, and no file of the store has a byte of what was removed, in
        whatever form: what others derived from the records and left beside them
        (`SupportsSidecar`) is gone, and torn ends that were moved aside.
        """


@runtime_checkable
class SupportsErase(Protocol):
    """A store from whose files content can be removed for good."""

    def erase(self, places: Mapping[int, Collection[int]], left: Left | None = None) -> Erasing:
        """Begin to remove the content of lines, by record and their places in it.

        What stays of a record is `Record.erased` of it, unless `left` gives another; it may be
        called in any thread. Records are there already, and may be erased before. Called as
        `append` is, and for one erasure at a time.
        """


def erase_now(
    store: SupportsErase, places: Mapping[int, Collection[int]], left: Left | None = None
) -> None:
    """An erasure from its beginning to its end, beside which nothing else goes on; blocks."""
    erasing = store.erase(places, left)
    erasing.write()
    erasing.finish()


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


DERIVED: Final = ("text.sqlite", "text.sqlite-journal", "codes.faiss")
"""The sidecars that hold what lines say, in whatever form: erasing a line removes them."""


@runtime_checkable
class SupportsSidecar(Protocol):
    """A store that has a place beside its records for what others derive from them."""

    def sidecar(self, name: str) -> Sidecar | None:
        """The file of a name that the store does not use itself; it need not exist yet.

        Asked while the store is open, in any thread. None if the place cannot be reached, such as
        when the folder is no longer at its path: then nothing is kept.
        """


@runtime_checkable
class SupportsKeyring(Protocol):
    """A store that keeps a small document of its wrapper's beside its records.

    The document is read before the store can be opened: the key that opens it is in there.
    """

    def read_keyring(self) -> bytes | None:
        """The document, at most 64 KiB of it; None without one. Open or not, in any thread."""

    def begin_keyring(self, data: bytes) -> None:
        """Keep the document unless there is one; called before `open` makes the store."""

    def replace_keyring(self, data: bytes) -> None:
        """Another document in its place, durably and at once; the store is open for writing."""
