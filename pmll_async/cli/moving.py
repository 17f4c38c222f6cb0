"""`pmll export`, `import` and `convert`: a lattice as JSON lines and back, or in another store."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from pathlib import Path
from types import FrameType
from typing import BinaryIO, Final, Self, TypeVar

from pmll_async.cli.secrets import opened_by
from pmll_async.cli.terminal import progress, show_json, write_bytes
from pmll_async.errors import InvalidInputError
from pmll_async.integrity.secrets import Passphrase, RawKey
from pmll_async.moving.files import replacing
from pmll_async.moving.transfer import export_records, import_records
from pmll_async.values.anchors import Hasher

Line = TypeVar("Line", str, bytes)

STANDARD_STREAM: Final = "-"


def export(
    path: Path,
    hasher: Hasher,
    output: Path | None,
    secret: Passphrase | RawKey | None = None,
    *,
    as_json: bool,
) -> None:
    """Write the lattice at `path` as JSON lines to `output`, or to stdout."""
    store = opened_by(path, secret, read_only=True)
    if output is None or str(output) == STANDARD_STREAM:
        for line in export_records(store, hasher):
            write_bytes(line.encode())
        return
    records = -1  # the header is no record
    with progress("exporting") as tell, replacing(output) as file:
        for line in export_records(store, hasher, progress=tell):
            file.write(line.encode())
            records += 1
    if as_json:
        show_json({"path": str(path), "output": str(output), "exported": records})
    else:
        sys.stdout.write(f"exported {records} records of {path} to {output}\n")


def import_(
    source: str,
    path: Path,
    hasher: Hasher,
    secret: Passphrase | RawKey | None = None,
    *,
    as_json: bool,
) -> None:
    """Read an export from the file `source`, or from stdin, into a lattice at `path`."""
    store = opened_by(path, secret)
    with _opened(source) as file, progress("importing") as tell, _pause(path) as pause:
        added = import_records(pause.lines(file.readline), store, hasher, progress=tell)
    if as_json:
        show_json({"path": str(path), "source": source, "imported": added})
    elif added:
        sys.stdout.write(f"imported {added} records into {path}\n")
    else:
        sys.stdout.write(f"{path} has every record of the export already\n")


def convert(
    path: Path,
    target: Path,
    hasher: Hasher,
    secret: Passphrase | RawKey | None = None,
    *,
    as_json: bool,
) -> None:
    """Copy the lattice at `path` into another store, or bring such a copy up to date."""
    if path.resolve() == target.resolve():
        raise InvalidInputError(f"{target} is what is to be copied: name another, new folder")
    lines = export_records(opened_by(path, secret, read_only=True), hasher)
    store = opened_by(target, secret)
    with closing(lines), progress("converting") as tell, _pause(target) as pause:
        read = partial(next, lines, "")
        added = import_records(pause.lines(read), store, hasher, progress=tell)
    if as_json:
        show_json({"path": str(path), "target": str(target), "converted": added})
    elif added:
        sys.stdout.write(f"copied {added} records of {path} into {target}\n")
    else:
        sys.stdout.write(f"{target} has every record of {path} already\n")


def _pause(path: Path) -> _Pause:
    return _Pause(f"interrupted: {path} is whole; run the same command again to go on")


def _opened(source: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if source == STANDARD_STREAM else Path(source).open("rb")


class _Pause:
    """Lets Ctrl-C end an import while it reads, never while it writes.

    An exception in the middle of an append would leave the store to recover what it was writing.
    """

    def __init__(self, message: str) -> None:
        self._message = message
        self._reading = self._wanted = False
        self._previous: Callable[[int, FrameType | None], object] | int | None = None

    def __enter__(self) -> Self:
        self._previous = signal.getsignal(signal.SIGINT)
        # A job that a shell has put in the background ignores Ctrl-C, and goes on doing so.
        if self._previous is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._previous or signal.SIG_DFL)

    def lines(self, read: Callable[[], Line]) -> Iterator[Line]:
        """What is read up to an empty line, and between lines the place where Ctrl-C is heard."""
        while True:
            self._reading = True
            if self._wanted:
                raise KeyboardInterrupt(self._message)
            line = read()
            self._reading = False
            if not line:
                return
            yield line

    def _interrupted(self, _signal: int, _frame: FrameType | None) -> None:
        self._wanted = True
        if self._reading:
            raise KeyboardInterrupt(self._message)
