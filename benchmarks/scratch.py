"""A folder on a real disk: in memory fdatasync costs nothing and every figure lies."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})


def file_system(folder: Path) -> str:
    """The type of the file system that holds `folder`; "unknown" where the system does not tell."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    best, kind = "", "unknown"
    for fields in map(str.split, mounts):
        if folder.resolve().is_relative_to(fields[1]) and len(fields[1]) >= len(best):
            best, kind = fields[1], fields[2]
    return kind


def real_disk() -> Path:
    """The first usual place for temporary files that is not held in memory."""
    candidates = [Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()]
    for candidate in candidates:
        if candidate.is_dir() and file_system(candidate) not in IN_MEMORY:
            return candidate
    return candidates[-1]


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder on a real disk, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="pmll-bench-", dir=real_disk()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
