"""Workers: the few threads that all lattices of a process share, begun on demand, gone when idle.

`READS` answer queries and look-ups, `COMMITS` run the traces, `ERASURES` write stores anew, and
`CALLS` run what may wait for others: the user's code, and the opening of stores. But for a
lattice's clock, user code is never run by the others, so that it may wait for what they do.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias
from weakref import WeakMethod, WeakSet

from pmll_async.loop.logs import logger

Job: TypeAlias = "Callable[[], Job | None]"
"""What a worker runs; a job that it returns follows, behind those that wait already."""

STUCK_SECONDS: Final = 1.0
"""A job that takes longer stands still, as far as anyone can tell: another thread takes its place,
so that one mount that hangs does not stop everybody."""
_IDLE_SECONDS: Final = 5.0
_WATCH_SECONDS: Final = 0.25

_ALL: Final[WeakSet[Workers]] = WeakSet()


class Workers:
    """Daemon threads that take jobs from one queue, `most` of them.

    Where jobs wait behind some that are stuck there are more, up to `surge`. Threads that nothing
    needs end after some seconds, and at once when the last user has left.
    """

    def __init__(self, name: str, most: int, surge: int) -> None:
        self._name, self._most, self._surge = name, most, surge
        self.reset()
        _ALL.add(self)

    def reset(self) -> None:
        """Forget everything: after a fork the child has none of these threads."""
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._pending = 0
        """Jobs that wait or run."""
        self._threads: set[threading.Thread] = set()
        self._leaving: list[threading.Thread] = []
        self._busy: dict[threading.Thread, float] = {}
        self._users: set[object] = set()
        self._watcher: threading.Thread | None = None
        self._calm = threading.Event()

    def submit(self, job: Job) -> None:
        """Have a job run; `RuntimeError` if no thread can be started for it."""
        with self._lock:
            self._pending += 1
            try:
                self._make_room()
            # Whatever kept a thread from starting, the job was not taken.
            except BaseException:
                self._pending -= 1
                raise
            self._queue.put(job)

    def enter(self, user: object) -> None:
        """Keep idle threads for a while, until this user leaves."""
        with self._lock:
            self._users.add(user)

    def leave(self, user: object) -> None:
        """The last to leave has all idle threads end."""
        with self._lock:
            self._users.discard(user)
            if not self._users:
                self._calm.set()
                for _ in self._threads:
                    self._queue.put(None)

    @property
    def is_clearing(self) -> bool:
        """Whether the last user has left, and threads are still there."""
        with self._lock:
            if self._users:
                return False
            return bool(self._threads) or any(thread.is_alive() for thread in self._leaving)

    # --- with the lock held ----------------------------------------------------------------------

    def _make_room(self) -> None:
        if self._pending <= len(self._threads):
            return
        if len(self._threads) < self._most:
            self._add_worker()
        elif self._watcher is None and self._most < self._surge:
            self._calm.clear()
            watcher = threading.Thread(target=self._watch, name=f"{self._name}-watch", daemon=True)
            with suppress(RuntimeError):
                watcher.start()
                self._watcher = watcher

    def _add_worker(self) -> None:
        # Daemons: a process that forgets to close must still be able to end.
        thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise
            return  # others will come to the job
        self._threads.add(thread)

    # --- in the threads --------------------------------------------------------------------------

    def _work(self) -> None:
        me = threading.current_thread()
        while self._serve(me):
            pass

    def _serve(self, me: threading.Thread) -> bool:
        """Wait for a job and do it; whether the thread goes on.

        A thread that waits holds nothing of anyone: the names of this call are gone by then.
        """
        job = self._next()
        while job is not None:
            self._busy[me] = time.monotonic()
            more = _done(job)
            if more is None:
                return self._goes_on(me, done=1)
            if not self._queue.empty():
                self._queue.put(more)
                self._busy.pop(me)
                return True
            job = more
        return self._goes_on(me, done=0)

    def _next(self) -> Job | None:
        try:
            return self._queue.get(timeout=_IDLE_SECONDS)
        except Empty:
            return None

    def _goes_on(self, me: threading.Thread, *, done: int) -> bool:
        with self._lock:
            self._pending -= done
            self._busy.pop(me, None)
            is_needed = len(self._threads) <= self._pending or (done and self._users)
            if not is_needed:
                self._threads.discard(me)
                self._leaving = [thread for thread in self._leaving if thread.is_alive()]
                self._leaving.append(me)
            return bool(is_needed)

    def _watch(self) -> None:
        """While jobs wait for threads, see to it that `most` of those are not stuck."""
        while True:
            self._calm.wait(_WATCH_SECONDS)
            with self._lock:
                if self._pending <= len(self._threads):
                    self._leaving.append(threading.current_thread())
                    self._watcher = None
                    return
                late = time.monotonic() - STUCK_SECONDS
                stuck = sum(since < late for since in list(self._busy.values()))
                lacking = len(self._threads) - stuck < self._most
                if lacking and len(self._threads) < self._surge:
                    self._add_worker()


def _done(job: Job) -> Job | None:
    try:
        return job()
    # Jobs tell their errors themselves; whatever one forgot must not end the thread.
    except BaseException as exc:  # noqa: BLE001
        logger("pmll.workers").error("workers.job_failed", error=repr(exc))
        return None


def weak_job(step: Callable[[], bool]) -> Job:
    """A job that calls a method until that says there is no more, or until its object is gone."""
    return partial(_stepped, WeakMethod(step))


def _stepped(method: WeakMethod[Callable[[], bool]]) -> Job | None:
    step = method()
    return partial(_stepped, method) if step is not None and step() else None


READS: Final = Workers("pmll-read", 4, 32)
COMMITS: Final = Workers("pmll-commit", 4, 32)
CALLS: Final = Workers("pmll-call", 32, 32)
ERASURES: Final = Workers("pmll-erase", 2, 16)
_POOLS: Final = (READS, COMMITS, CALLS, ERASURES)


def enter(user: object) -> None:
    """Keep the shared threads for this user until it leaves."""
    for workers in _POOLS:
        workers.enter(user)


def leave(user: object) -> None:
    """Let go of the shared threads; again is nothing."""
    for workers in _POOLS:
        workers.leave(user)


def are_clearing() -> bool:
    """Whether the last user has left, and shared threads are still on their way out."""
    return any(workers.is_clearing for workers in _POOLS)


def _begin_anew() -> None:
    for workers in list(_ALL):
        workers.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
