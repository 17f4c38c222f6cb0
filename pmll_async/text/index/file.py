"""The shelf: where a text index waits for the next opening, in an SQLite file of its own.

Everything on it can be derived from the log again, so that it is written without waiting for the
disk and thrown away at the first doubt.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import unicodedata
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

import google_crc32c
import numpy as np

from pmll_async.loop.logs import logger
from pmll_async.protocols import Sidecar
from pmll_async.text.index.rows import RowBlock
from pmll_async.text.index.terms import TERMS_ID
from pmll_async.views import LogState

_APPLICATION: Final = int.from_bytes(b"pmll")
_SCHEMA: Final = """
    create table blocks (
        first integer primary key, stop integer, records integer, lines integer, time real,
        anchor text, names blob, tokens blob, lengths blob, speaker blob, session blob, marks blob,
        crc integer
    ) strict
"""
_KINDS: Final = (*(int,) * 4, float, str, *(bytes,) * 6, int)
# SQLite's header up to the application id, by which a file is known as a shelf.
_HEADER: Final = 72
_HEADER_MAGIC: Final = b"SQLite format 3\0"
# Seconds to wait for another process that has the file; then it is an unusable one.
_PATIENCE: Final = 1.0
# SQLite quotes a damaged file in its errors, which then are no UTF-8.
_UNUSABLE: Final = (sqlite3.Error, OSError, UnicodeDecodeError, OverflowError)
_DAMAGED: Final = frozenset(
    {
        *(sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB),
        *(sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG),
    }
)
"""What SQLite finds wrong with a file, and not with the disk or those who use it now."""


@dataclass(frozen=True, slots=True, eq=False)
class Shelved:
    """A block whose first row is `first`, and the log that it leads up to."""

    first: int
    block: RowBlock
    log: LogState

    @property
    def stop(self) -> int:
        """The row behind its last."""
        return self.first + len(self.block.lengths)


class IndexFile:
    """A file of blocks. An unusable one is an empty one; it never makes its user fail.

    A file that is no shelf is left as it is. It stays in the folder that is there when it is made,
    whatever becomes of the path. Everything here blocks.
    """

    def __init__(self, place: Sidecar, zone: str = "UTC") -> None:
        self._version = _version(zone)
        self._path, self._read_only = place.path.absolute(), place.read_only
        self._journal = self._path.with_name(f"{self._path.name}-journal")
        self._folder: os.stat_result | None = None
        with suppress(OSError):
            self._folder = self._path.parent.stat()

    def load(self) -> Generator[Shelved, None, None]:
        """The blocks in order, from row 0 without gaps, up to the first that fails its check."""
        try:
            with closing(self._connect("ro" if self._read_only else "rw")) as file:
                if not _is_current(file, self._version):
                    return
                stop = 0
                for row in file.execute("select * from blocks order by first"):
                    shelved = _decoded(row)
                    if shelved is None or shelved.first != stop:
                        return
                    yield shelved
                    stop = shelved.stop
        except _UNUSABLE as exc:
            if self._path.is_file():
                self._warn("text.shelf_unreadable", exc)

    def keep(self, shelved: Shelved) -> None:
        """Put a block in the place of what is there from its first row on.

        Nothing is kept behind a gap, which another memory with the same shelf may have left.
        """
        if self._read_only:
            return
        try:
            self._path.parent.mkdir(0o700, parents=True, exist_ok=True)
            with closing(self._connect("rwc")) as file:
                # Not deferred: two memories may be about to write, and one of them would fail.
                file.execute("begin immediate")
                _prepare(file, self._version)
                _put(file, shelved)
                file.execute("commit")
        except _UNUSABLE as exc:
            # The next opening derives from the log what is missing here.
            self._warn("text.shelf_not_written", exc)
            if _is_damage(exc):
                self.throw_away()

    def _connect(self, mode: Literal["ro", "rw", "rwc"]) -> sqlite3.Connection:
        self._refuse_others()
        if mode == "rwc":
            # SQLite alone would give it to everybody that the umask lets in.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        uri = f"{self._path.as_uri()}?mode={mode}"
        file = sqlite3.connect(uri, uri=True, timeout=_PATIENCE, isolation_level=None)
        try:
            # What a crash loses here is made again from the log.
            file.execute("pragma synchronous = off")
        except sqlite3.Error:
            file.close()
            raise
        return file

    def _refuse_others(self) -> None:
        """SQLite follows links and waits for FIFOs, and a folder moved away leaves another's here.

        Raises `OSError`: what cannot be used is no shelf.
        """
        for path in (self._path, self._journal):
            if path.is_symlink() or (path.exists() and not path.is_file()):
                raise OSError(errno.EINVAL, "it is no plain file", str(path))
        folder = self._path.parent.stat()
        self._folder = self._folder or folder
        if not os.path.samestat(folder, self._folder):
            raise OSError(errno.ESTALE, "its folder was moved or replaced", str(self._path))

    def throw_away(self) -> None:
        """Remove the file, if it is a shelf."""
        if self._read_only or not self._path.exists():
            return
        try:
            with self._path.open("rb") as file:
                header = file.read(_HEADER)
            if header.startswith(_HEADER_MAGIC) and header.endswith(b"pmll"):
                self._path.unlink()
                self._journal.unlink(missing_ok=True)
        except OSError as exc:
            self._warn("text.shelf_not_removed", exc)

    def _warn(self, event: str, error: Exception) -> None:
        logger("pmll.text").warning(event, path=str(self._path), error=str(error))


def _is_damage(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", -1)
    return code & 0xFF in _DAMAGED or isinstance(error, UnicodeDecodeError)


def _pragma(file: sqlite3.Connection, name: str) -> int:
    return int(file.execute(f"pragma {name}").fetchone()[0])


def _version(zone: str) -> int:
    """Of the table, of what terms a text has, of Python's letters, and of whose days count."""
    parts = ["1", TERMS_ID, unicodedata.unidata_version, *([] if zone == "UTC" else [zone])]
    return int(google_crc32c.value(" ".join(parts).encode())) & 0x7FFFFFFF


def _is_current(file: sqlite3.Connection, version: int) -> bool:
    ours = _APPLICATION, version
    return (_pragma(file, "application_id"), _pragma(file, "user_version")) == ours


def _prepare(file: sqlite3.Connection, version: int) -> None:
    """Make the table in an empty file, and anew in a shelf of another version."""
    if _is_current(file, version):
        return
    if _pragma(file, "application_id") == _APPLICATION:
        file.execute("drop table if exists blocks")
    elif _pragma(file, "schema_version"):
        raise sqlite3.OperationalError("this file is something else than a shelf")
    file.execute(_SCHEMA)
    file.execute(f"pragma application_id = {_APPLICATION}")
    file.execute(f"pragma user_version = {version}")


def _put(file: sqlite3.Connection, shelved: Shelved) -> None:
    before = file.execute("select 1 from blocks where stop = ?", (shelved.first,)).fetchone()
    # Nothing behind a gap could be loaded.
    if before is None and shelved.first:
        return
    # Another memory that went further, or another way, has left these.
    file.execute("delete from blocks where first >= ?", (shelved.first,))
    row = _encoded(shelved)
    file.execute(f"insert into blocks values ({', '.join('?' * len(row))})", row)  # noqa: S608  # only marks


def _encoded(shelved: Shelved) -> tuple[object, ...]:
    block = shelved.block
    names = json.dumps([list(block.vocabulary), list(block.speakers), list(block.sessions)])
    facts = (shelved.first, shelved.stop, *shelved.log)
    parts = block.tokens, block.lengths, block.speaker, block.session, block.marks
    blobs = names.encode(), *(part.tobytes() for part in parts)
    return *facts, *blobs, _checksum(facts, blobs)


def _decoded(row: tuple[Any, ...]) -> Shelved | None:
    if not all(isinstance(value, kind) for value, kind in zip(row, _KINDS, strict=True)):
        return None
    facts, blobs, crc = row[:6], row[6:-1], row[-1]
    if crc != _checksum(facts, blobs):
        return None
    names, tokens, lengths, speaker, session, marks = blobs
    block = RowBlock(
        np.frombuffer(tokens, np.int32),
        np.frombuffer(lengths, np.int64),
        np.frombuffer(speaker, np.int32),
        np.frombuffer(session, np.int32),
        np.frombuffer(marks, np.uint8),
        *json.loads(names),
    )
    return Shelved(facts[0], block, LogState(*facts[2:]))


def _checksum(facts: tuple[object, ...], blobs: tuple[bytes, ...]) -> int:
    return int(google_crc32c.value(repr(facts).encode() + b"".join(blobs)))
