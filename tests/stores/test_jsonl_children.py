"""A store in processes that fork, die, run out of descriptors or have no file locks."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jsonl_tools import closed, open_files, opened
from make_records import Chain

from pmll_async.errors import StoreLockedError
from pmll_async.stores.jsonl import JsonlStore


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def path(tmp_path: Path, chain: Chain) -> Path:
    """A closed store with a small history."""
    return closed(tmp_path / "memory", chain)


# --- children ------------------------------------------------------------------------------------

HOLDING = """
import os, sys, time
from pmll_async.values.anchors import Hasher
from pmll_async.stores.jsonl import JsonlStore
store = JsonlStore(sys.argv[1])
store.open(None, Hasher())
list(store.load())
{fork}
if pid == 0:
    sys.stdin.read()
    os._exit(0)
print(pid, flush=True)
os.kill(os.getpid(), 9)
"""
IN_PYTHON = "pid = os.fork()"
IN_C = "import ctypes; pid = ctypes.CDLL(None).fork()"


def forked(path: Path, fork: str) -> tuple[subprocess.Popen[str], int]:
    """A process that had the store open, forked and was killed; and its child, which waits."""
    parent = subprocess.Popen(
        [sys.executable, "-c", HOLDING.format(fork=fork), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.wait()
    return parent, child


def test_a_child_does_not_inherit_the_lock(path: Path, chain: Chain) -> None:
    parent, child = forked(path, IN_PYTHON)
    try:
        with opened(path, chain) as store:
            chain.append(store, chain.put)
        os.kill(child, 0)
    finally:
        parent.communicate()


def test_a_child_of_a_fork_in_c_is_named(path: Path, chain: Chain) -> None:
    """Such a fork runs no hooks of Python's, so that the child does hold the lock."""
    if not hasattr(ctypes.CDLL(None), "fork"):
        pytest.skip("this C library has no fork")
    parent, child = forked(path, IN_C)
    try:
        with pytest.raises(StoreLockedError) as caught:
            JsonlStore(path).open(None, chain.hasher)
        assert caught.value.holder["pid"] == child
        assert f"process {child}" in str(caught.value)
        assert f"which process {parent.pid} left behind" in str(caught.value)
    finally:
        parent.communicate()


def test_closing_in_a_child_leaves_the_parents_lock(path: Path, chain: Chain) -> None:
    with opened(path, chain) as store:
        child = os.fork()
        if not child:
            store.close()
            os._exit(0)
        os.waitpid(child, 0)
        with pytest.raises(StoreLockedError):
            JsonlStore(path).open(None, chain.hasher)
        chain.append(store, chain.put)


# --- descriptors ---------------------------------------------------------------------------------


def test_few_descriptors_a_store(tmp_path: Path, chain: Chain) -> None:
    before = len(open_files())
    stores = [JsonlStore(tmp_path / str(i)) for i in range(10)]
    for store in stores:
        store.open(chain.header, chain.hasher)
        list(store.load())
    assert len(open_files()) - before <= 30
    for store in stores:
        store.close()
    assert len(open_files()) == before


LIMITED = """
import resource, sys
from pmll_async.values.anchors import Hasher
from pmll_async.errors import StoreError
from pmll_async.protocols import StoreHeader
from pmll_async.stores.jsonl import JsonlStore
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
stores = []
try:
    for i in range(60):
        stores.append(JsonlStore(f"{sys.argv[1]}/{i}"))
        stores[-1].open(StoreHeader(2, 2), Hasher())
        list(stores[-1].load())
except StoreError as exc:
    print(exc)
for store in stores:
    store.close()
again = JsonlStore(f"{sys.argv[1]}/{len(stores) - 1}")
again.open(StoreHeader(2, 2), Hasher())
list(again.load())
again.close()
"""


def test_no_descriptor_left(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert "ulimit -n" in done.stdout


def test_without_file_locks(tmp_path: Path) -> None:
    """On a system without fcntl importing works, and opening a folder says what is missing."""
    program = (
        "import sys, importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'fcntl' else real(name, *a)\n"
        "sys.modules['fcntl'] = None\n"
        "import asyncio, pmll_async\n"
        "async def opened(): await pmll_async.Lattice.open(sys.argv[1], dim=2)\n"
        "try: asyncio.run(opened())\n"
        "except pmll_async.StoreError as exc: print(exc)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert "POSIX" in done.stdout
