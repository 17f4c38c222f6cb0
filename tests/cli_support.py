"""Runs `pmll` as people do: another process, real files, real pipes."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final, Self

import numpy as np

from pmll_async import Candidate, Lattice, LatticeView

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent
PMLL: Final = [sys.executable, "-c", "from pmll_async.cli import main; main()"]
TIMEOUT: Final = 60
BEGIN: Final = 1_700_000_000.0
DIM: Final = 4
# What a caller's terminal or CI service would change in what is printed.
_STYLING: Final = ("COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "NO_COLOR", "PY_COLORS", "TERM")


def environment(path: list[Path] | None = None, **more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _STYLING and not name.startswith("PMLL_")
    }
    found = os.pathsep.join(map(str, [ROOT, *(path or [])]))
    return {**kept, "TZ": "UTC", "PYTHONPATH": found, **more}


@cache
def _forks() -> socket.socket:
    """Where a process of `pmll_forks.py` waits for requests, as long as this one lives."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, HERE / "pmll_forks.py", str(theirs.fileno())]
        process = subprocess.Popen(
            command, env=environment(), stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
        )
    ours.settimeout(TIMEOUT)
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


def _write(pipe: int, content: bytes) -> None:
    # A command that refuses what it reads ends before it has read all.
    with suppress(BrokenPipeError), open(pipe, "wb") as file:
        file.write(content)


def pmll(
    *arguments: str | Path,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """What `pmll` says, as a process of its own, forked from one that has imported it.

    Where the environment says something to Python or a library, it is started from nothing.
    """
    usual = environment()
    given = usual if env is None else dict(env)
    if any(not name.startswith("PMLL_") for name, _ in given.items() ^ usual.items()):
        return _from_nothing(arguments, stdin, given, cwd)
    return _forked(arguments, stdin, given, cwd)


def script(file: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What a script says, where every warning is an error; forked as `pmll` is."""
    return _forked((), None, environment(), cwd, file)


def script_from_nothing(file: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The same in a process that imports everything by itself."""
    return subprocess.run(
        [sys.executable, "-W", "error", str(file)],
        capture_output=True,
        check=False,
        cwd=cwd,
        encoding="utf-8",
        env=environment(PYTHONIOENCODING="utf-8"),
        timeout=TIMEOUT,
    )


def _forked(
    arguments: tuple[str | Path, ...],
    stdin: bytes | None,
    env: Mapping[str, str],
    cwd: Path | None,
    script: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    asked = {
        "arguments": [*map(str, arguments)],
        "env": dict(env),
        "cwd": str(cwd or Path.cwd()),
        "script": None if script is None else str(script),
    }
    with TemporaryFile() as out, TemporaryFile() as err:
        theirs, ours = os.pipe()
        files = [theirs, out.fileno(), err.fileno()]
        socket.send_fds(_forks(), [json.dumps(asked).encode()], files)
        os.close(theirs)
        _write(ours, stdin or b"")
        code = int(_forks().recv(16))
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(
            arguments, code, out.read().decode(), err.read().decode()
        )


def _from_nothing(
    arguments: tuple[str | Path, ...], stdin: bytes | None, env: Mapping[str, str], cwd: Path | None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*PMLL, *map(str, arguments)],
        capture_output=True,
        check=False,
        cwd=cwd,
        env=env,
        input=stdin,
        timeout=TIMEOUT,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def start(*arguments: str | Path, stdin: int | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PMLL, *map(str, arguments)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )


def seconds_from(now: float) -> Callable[[], float]:
    """A clock that goes on by a second whenever it is asked."""
    return iter(map(float, range(int(now), int(now) + 1_000_000))).__next__


def vector(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=DIM)


async def _fill(path: Path, key: bytes | None) -> None:
    async def entry(_: LatticeView, confidence: float) -> Candidate:
        return Candidate(key=vector(round(confidence * 10)), confidence=confidence, name="entry")

    async def strong(view: LatticeView) -> Candidate:
        return await entry(view, 0.9)

    async def weak(view: LatticeView) -> Candidate:
        return await entry(view, 0.1)

    options = {"clock": seconds_from(BEGIN), "integrity_key": key}
    async with Lattice.open(path, dim=DIM, **options) as lattice:
        first = await lattice.put(vector(100), context={"topic": "recursion", "step": 1})
        await lattice.put(vector(101), vector(102), {"topic": "recursion", "step": 2})
        await lattice.note({"said": "é\u202e\x9b", "step": 3})
        await lattice.decay(first, 0.5)
        await lattice.put(vector(103), context={"gone": True}, idempotency_key="again")
        await lattice.rollback(4)
        await lattice.race([strong, weak])
        await lattice.put_many([Candidate(key=vector(200 + i)) for i in range(3)], batch=3)


def make_lattice(path: Path, key: bytes | None = None) -> Path:
    """One of everything: lines, a note, a decay, a rollback, a race with a branch, a batch."""
    asyncio.run(_fill(path, key))
    return path


async def _grow(path: Path, count: int) -> None:
    async with Lattice.open(path, dim=DIM, clock=seconds_from(BEGIN)) as lattice:
        await lattice.put_many(
            Candidate(key=vector(i), context={"i": i, "text": "x" * 64}) for i in range(count)
        )


def make_long_lattice(path: Path, count: int) -> Path:
    asyncio.run(_grow(path, count))
    return path


# Opens the lattice, and for each line that it is told puts one; answers with the head.
WRITER: Final = """
import asyncio, sys
from pmll_async import Lattice

async def write(path):
    async with Lattice.open(path, dim=4) as lattice:
        print(lattice.head, flush=True)
        for step, _ in enumerate(sys.stdin, 1):
            anchor = await lattice.put([step, 1, 0, 0], context={"step": step})
            print(anchor, flush=True)

asyncio.run(write(sys.argv[1]))
"""


class Writer:
    """A process that has a lattice open for writing; leaving the block closes or kills it."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            text=True,
            bufsize=1,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        self._answer()
        return self

    def put(self) -> str:
        assert self._process.stdin
        self._process.stdin.write("\n")
        return self._answer()

    def kill(self) -> None:
        self._process.kill()

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=TIMEOUT)
