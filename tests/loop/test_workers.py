"""The shared threads: begun on demand, bounded, never all held by what hangs, gone when unused."""

from __future__ import annotations

import ast
import gc
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from thread_support import PATIENCE

from pmll_async.loop import workers as workers_module
from pmll_async.loop.workers import Job, Workers

ROOT = Path(__file__).resolve().parents[2]


class Hold:
    """A job that goes on until it may end."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        assert self.may_end.wait(PATIENCE)


@pytest.fixture
def user() -> object:
    return object()


@pytest.fixture
def pool(user: object) -> Any:
    pool = Workers("test", most=2, surge=4)
    pool.enter(user)
    yield pool
    pool.leave(user)
    for thread in list(pool._threads):
        thread.join(PATIENCE)
    assert not pool.is_clearing


def done(pool: Workers) -> None:
    """Wait until a job that is submitted now is done."""
    last = Hold()
    last.may_end.set()
    pool.submit(last)
    assert last.begun.wait(PATIENCE)


def test_as_many_threads_as_jobs_and_no_more_than_most(pool: Workers) -> None:
    assert not pool._threads
    jobs = [Hold() for _ in range(3)]
    for count, job in enumerate(jobs, 1):
        pool.submit(job)
        assert len(pool._threads) == min(count, 2)
    assert jobs[1].begun.wait(PATIENCE)
    assert not jobs[2].begun.is_set()
    for job in jobs:
        job.may_end.set()
    assert jobs[2].begun.wait(PATIENCE)


def test_a_job_behind_hanging_ones_gets_a_thread(
    pool: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_module, "STUCK_SECONDS", 0.05)
    monkeypatch.setattr(workers_module, "_WATCH_SECONDS", 0.01)
    hanging = [Hold() for _ in range(6)]
    for job in hanging[:2]:
        pool.submit(job)
    done(pool)
    for job in hanging[2:]:
        pool.submit(job)
    assert hanging[3].begun.wait(PATIENCE)
    assert not hanging[4].begun.wait(0.2), "more threads than `surge`"
    for job in hanging:
        job.may_end.set()
    assert hanging[5].begun.wait(PATIENCE)


def test_a_job_that_follows_another_lets_those_that_wait_go_first(pool: Workers) -> None:
    order: list[str] = []
    hold, other = Hold(), Hold()

    def turn() -> Job | None:
        order.append("turn")
        return turn if order.count("turn") < 3 else None

    def waiting() -> None:
        order.append("waiting")

    pool.submit(other)
    pool.submit(hold)
    pool.submit(turn)
    pool.submit(waiting)
    hold.may_end.set()
    done(pool)
    done(pool)
    assert order[:2] == ["turn", "waiting"]
    other.may_end.set()


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_whatever_a_job_raises_the_thread_goes_on(
    pool: Workers, error: type[BaseException]
) -> None:
    def fail() -> None:
        raise error

    for _ in range(3):
        pool.submit(fail)
    done(pool)
    assert len(pool._threads) <= 2


def test_a_thread_that_waits_keeps_nothing_alive(pool: Workers) -> None:
    class Owner:
        def job(self) -> None: ...

    owner = Owner()
    collected = threading.Event()
    weakref.finalize(owner, collected.set)
    pool.submit(owner.job)
    done(pool)
    del owner
    gc.collect()
    assert collected.wait(PATIENCE)


def test_when_the_last_user_leaves_idle_threads_end_at_once(pool: Workers, user: object) -> None:
    hold = Hold()
    pool.submit(hold)
    done(pool)
    threads = list(pool._threads)
    assert len(threads) == 2
    pool.leave(user)
    pool.leave(user)
    idle = next(thread for thread in threads if thread not in pool._busy)
    idle.join(PATIENCE)
    assert not idle.is_alive()
    assert pool.is_clearing
    hold.may_end.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert not pool.is_clearing


def test_threads_that_nothing_needs_end_after_a_while(
    pool: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_module, "_IDLE_SECONDS", 0.01)
    done(pool)
    for thread in list(pool._threads):
        thread.join(PATIENCE)
    assert not pool._threads
    done(pool)


def test_a_thread_that_cannot_start_fails_one_job(
    pool: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="start new thread"):
            pool.submit(Hold())
    done(pool)
    hold = Hold()
    pool.submit(hold)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        queued = Hold()
        pool.submit(queued)
        hold.may_end.set()
        assert queued.begun.wait(PATIENCE), "there was a thread that could have come to it"
    queued.may_end.set()


FORKED = """
    import os, threading, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    from pmll_async.loop.workers import READS

    hold, begun = threading.Event(), threading.Event()

    def holding():
        begun.set()
        hold.wait(30)

    for _ in range(4):
        READS.submit(holding)
    begun.wait(30)
    READS._lock.acquire()  # as another thread may have at that moment
    child = os.fork()
    if not child:
        done = threading.Event()
        READS.submit(done.set)
        os._exit(0 if done.wait(30) else 1)
    READS._lock.release()
    _, status = os.waitpid(child, 0)
    hold.set()
    assert os.waitstatus_to_exitcode(status) == 0, status
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_begins_with_no_threads_and_free_locks() -> None:
    run(FORKED)


EXITING = """
    import threading
    from pmll_async.loop.workers import READS, enter

    enter("somebody who never leaves")
    begun = threading.Event()

    def for_ever():
        begun.set()
        threading.Event().wait()

    READS.submit(for_ever)
    begun.wait(30)
"""


def test_a_job_that_never_ends_does_not_keep_the_process() -> None:
    run(EXITING)


def run(script: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


MODULES = sorted(
    path for name in ("pmll_async", "controllers") for path in (ROOT / name).rglob("*.py")
)


def test_nothing_runs_in_the_threads_that_applications_have_in_common() -> None:
    """Not the loop's default executor, and not anyio's default limiter: all of them may wait."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and shared(node)
    ]
    assert not found


def shared(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    if name.endswith("run_in_executor"):
        return True
    if name.endswith("to_thread.run_sync"):
        return not any(keyword.arg == "limiter" for keyword in call.keywords)
    return name.endswith(("to_thread", "current_default_thread_limiter"))
