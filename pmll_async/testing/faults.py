"""Stores that misbehave when a test says so."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from pmll_async.protocols import Recovery, Store, StoreHeader
from pmll_async.records.blocks import Block
from pmll_async.records.record import Record
from pmll_async.values.anchors import Hasher

TraceFunction = Callable[..., Any]
_PATIENCE = 30.0
"""Seconds after which a forgotten gate fails the test instead of holding it."""


class GatedStore:
    """A store around another: appends wait at a gate while it is held, and fail on demand.

    `batches` are the sizes of the appends that went through. The gate is for the test's thread and
    `append` for the trace's::

        store = GatedStore(MemoryStore())
        store.hold()
        ...                         # start puts
        store.wait_for_append()     # in a worker thread, or the loop stands still
        ...                         # start more puts: they will be one batch
        store.release()
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.batches: list[int] = []
        self._gate = threading.Event()
        self._gate.set()
        self._arrived = threading.Event()
        self._before: list[BaseException] = []
        self._after: list[BaseException] = []

    # --- faults --------------------------------------------------------------------------------

    def hold(self) -> None:
        """Let every append from now on wait."""
        self._arrived.clear()
        self._gate.clear()

    def release(self) -> None:
        """Let the waiting append and all later ones go on."""
        self._gate.set()

    def wait_for_append(self, timeout: float = _PATIENCE) -> None:
        """Block until an append has come to the gate since it was held."""
        if not self._arrived.wait(timeout):
            raise TimeoutError(f"no append within {timeout} seconds")

    def fail_next(self, error: BaseException, *, stored: bool = False) -> None:
        """Make the next append raise; `stored` says whether its records are stored all the same."""
        (self._after if stored else self._before).append(error)

    # --- the store -----------------------------------------------------------------------------

    @property
    def path(self) -> str:
        return self.store.path

    @property
    def read_only(self) -> bool:
        return self.store.read_only

    @property
    def recovery(self) -> Recovery:
        return self.store.recovery

    def open(self, header: StoreHeader | None, hasher: Hasher) -> StoreHeader:
        return self.store.open(header, hasher)

    def load(self) -> Iterator[Block]:
        return self.store.load()

    def append(self, records: Sequence[Record], block: Block) -> None:
        self._arrived.set()
        if not self._gate.wait(_PATIENCE):
            raise TimeoutError(f"the gate was held for {_PATIENCE} seconds")
        if self._before:
            raise self._before.pop(0)
        self.store.append(records, block)
        self.batches.append(len(records))
        if self._after:
            raise self._after.pop(0)

    def pin(self, name: str, value: str) -> None:
        self.store.pin(name, value)

    def read(self, n: int) -> Record:
        return self.store.read(n)

    def contexts(self, first: int, stop: int) -> Iterator[Sequence[bytes]]:
        return self.store.contexts(first, stop)

    def close(self) -> None:
        self.store.close()


class FailingStore(GatedStore):
    """A store around another whose append raises `MemoryError` at one of its steps.

    A step is a line of code that the store's own package runs. `has_failed` says whether there was
    such a step::

        store.fail_at(17)
        ...                         # one append; the next ones go through
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.has_failed = False
        self._left = -1
        self._package = type(store).__module__.partition(".")[0]

    def fail_at(self, step: int) -> None:
        """Let the next append fail at this step, counted from 0."""
        self._left = step

    def append(self, records: Sequence[Record], block: Block) -> None:
        if self._left < 0:
            super().append(records, block)
            return
        before, collects = sys.gettrace(), gc.isenabled()
        # What the collector runs is no step of the store's.
        gc.disable()
        sys.settrace(self._enter)
        try:
            self.store.append(records, block)
        finally:
            sys.settrace(before)
            self._left = -1
            if collects:
                gc.enable()

    def _enter(self, frame: FrameType, *_: object) -> TraceFunction | None:
        # Lines of other packages, such as numpy's, are not for a store to survive.
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        return self._step if package == self._package else None

    def _step(self, frame: FrameType, event: str, *_: object) -> TraceFunction:
        if event == "line":
            if not self._left:
                self.has_failed = True
                raise MemoryError(f"at line {frame.f_lineno} of {frame.f_code.co_qualname}")
            self._left -= 1
        return self._step
