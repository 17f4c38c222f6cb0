"""How often a run commits, and how often it waits for the disk, as strace sees it."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from subjects import Subject, output

FEW, MANY = 5, 25
CALLS = "trace=fsync,fdatasync,openat,write,pwrite64"


@dataclass(frozen=True)
class Commits:
    """Of one run: transactions or files rewritten, and calls of fsync or fdatasync.

    Without strace only SQLite's transactions are known.
    """

    transactions: float
    rewrites: float | None = None
    syncs: float | None = None
    writes: float | None = None

    @property
    def made(self) -> float:
        """What the run commits; a log that is only appended to commits when it is synced."""
        return self.transactions + (self.rewrites or 0) or (self.syncs or 0)


def commits(subject: Subject, folder: Path) -> Commits:
    """The difference between many runs and few, a run: what opening takes cancels out."""
    few, many = traced(subject, folder / "few", FEW), traced(subject, folder / "many", MANY)
    return Commits(*((more - less) / (MANY - FEW) for less, more in zip(few, many, strict=True)))


def traced(subject: Subject, folder: Path, runs: int) -> tuple[int, ...]:
    """Transactions, and with strace rewrites, syncs and writes, of that many runs."""
    folder.mkdir(parents=True)
    log = folder.with_suffix(".strace")
    command = subject.command("child.py", "several", subject.module, str(folder), str(runs))
    if (strace := shutil.which("strace")) is None:
        return (json.loads(output(command, subject.environment()))["commits"],)
    tracer = [strace, "-f", "-y", "-qq", "-e", CALLS, "-o", str(log)]
    printed = output([*tracer, *command], subject.environment())
    return (json.loads(printed)["commits"], *counted(log.read_text(errors="replace"), folder))


def counted(log: str, folder: Path) -> tuple[int, int, int]:
    """Files of the folder that are opened to be rewritten, syncs of its files, and writes."""
    inside = re.escape(str(folder))
    truncated = rf'^\d+ +openat\([^"]*"{inside}[^"]*", [A-Z_|]*O_TRUNC'
    synced = rf"^\d+ +f(?:data)?sync\(\d+<{inside}"
    # SQLite's shared memory is no part of what it stores.
    written = rf"^\d+ +p?write(?:64)?\(\d+<{inside}(?![^>]*-shm>)"
    rewrites, syncs, writes = (
        len(re.findall(pattern, log, re.MULTILINE)) for pattern in (truncated, synced, written)
    )
    return rewrites, syncs, writes
