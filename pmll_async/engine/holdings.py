"""Holdings: what open lattices hold, so that it is given back if nobody closes them.

A loop may end, and a lattice be forgotten, without `aclose`: in notebooks and in reloading servers
they do. Then the store is still closed in order, by whoever comes across it first: the lattice's
own `aclose` on another loop, the next to open the same folder, or the collector.
"""

from __future__ import annotations

import _thread
import os
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Final
from weakref import ref

from pmll_async.engine.trace.trace import Trace
from pmll_async.loop import workers
from pmll_async.loop.logs import logger
from pmll_async.protocols import Store

_HELD: Final[dict[int, Holding]] = {}


class Holding:
    """The store of one open lattice, and the threads' being needed; knows no lattice."""

    def __init__(self, store: Store, place: str, trace: Trace) -> None:
        self.store, self.place, self.loop = store, place, trace.loop
        self.pid = os.getpid()
        # What a trace knows of its user's, such as a clock, may know the lattice.
        self._trace = ref(trace)
        self._lock = threading.Lock()
        self._is_held = True
        self._is_forgotten = self.is_being_closed = False
        _HELD[id(self)] = self
        workers.enter(self)

    def let_go(self) -> None:
        """The store is closed."""
        self._is_held = False
        _HELD.pop(id(self), None)
        workers.leave(self)

    def end(self) -> None:
        """Finish what was accepted and close the store; blocks, in any thread. Idempotent."""
        with self._lock:
            if not self._is_held:
                return
            trace = self._trace()
            try:
                if trace is None:
                    # Nothing was under way any more.
                    self.store.close()
                else:
                    trace.end()
            finally:
                self.let_go()

    def forget(self) -> None:
        """The lattice is collected.

        This may happen in any thread and within any lock, so that it takes none, and leaves the
        work to a thread of its own.
        """
        is_seen_to = self.is_being_closed and not self.loop.is_closed()
        if not self._is_held or is_seen_to or self.pid != os.getpid():
            return
        self._is_forgotten = True
        # At the interpreter's end there are no more threads; then the system gives all back.
        with suppress(RuntimeError):
            _thread.start_new_thread(self._end_quietly, ())
        self.warn()

    def warn(self) -> None:
        """Tell that nobody closed the lattice."""
        warnings.warn(
            f"the lattice at {self.store.path} was never closed: use `async with`, or await its "
            "`aclose`",
            ResourceWarning,
            stacklevel=2,
        )

    def stands_in_the_way_of(self, store: Store, place: str) -> bool:
        """Whether it holds that store, or its folder for writing, and nobody will give it back."""
        is_same = self.store is store or (
            bool(place) and self.place == place and not self.store.read_only
        )
        orphaned = self._is_forgotten or self.loop.is_closed()
        return is_same and orphaned and self.pid == os.getpid()

    def end_as_orphan(self) -> None:
        """`end`, and say that it should not have come to that; blocks."""
        self._end_quietly()
        if not self._is_forgotten:
            self.warn()

    def _end_quietly(self) -> None:
        try:
            self.end()
        # Nobody waits for this.
        except Exception as exc:  # noqa: BLE001
            logger("pmll.holding").error(
                "holding.close_failed", path=self.store.path, error=repr(exc)
            )


def place_of(store: Store) -> str:
    """The file or folder that the store is in, links followed, or nothing; blocks."""
    # A path may be anything that names a store in errors, also what no file can be called.
    with suppress(OSError, ValueError, RuntimeError):
        return str(Path(store.path).resolve(strict=True))
    return ""


def end_orphans(store: Store) -> None:
    """Close what lattices that nobody can close any more still hold of this store; blocks."""
    place = "" if store.read_only else place_of(store)
    for holding in list(_HELD.values()):
        if holding.stands_in_the_way_of(store, place):
            holding.end_as_orphan()
