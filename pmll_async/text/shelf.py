"""The shelf: where a text index waits for the next opening, in an SQLite file of its own.

Everything on it can be derived from the log again, so that it is written without waiting for the
disk and thrown away at the first doubt.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import google_crc32c
import numpy as np

from pmll_async.text.rows import RowBlock
from pmll_async.text.terms import TERMS_ID

_SCHEMA: Final = """
    create table if not exists blocks (
        first integer primary key, records integer, lines integer, anchor text,
        names blob, tokens blob, lengths blob, speaker blob, session blob, marks blob, crc integer
    ) strict
"""
_COLUMNS: Final = "records, lines, anchor, names, tokens, lengths, speaker, session, marks, crc"


@dataclass(frozen=True, slots=True, eq=False)
class Shelved:
    """A block, and the state of the log that it leads up to.

    `records` and `lines` so far, and the last line's anchor, which tells another log.
    """

    block: RowBlock
    records: int
    lines: int
    anchor: str


class Shelf:
    """A file of blocks. An unusable one is an empty one; it never makes its user fail."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path, self._read_only = path, read_only

    def load(self) -> Iterator[tuple[int, Shelved]]:
        """The blocks with their first rows, in order, up to the first that fails its check."""
        if not self._path.exists():
            return
        try:
            with closing(self._connect()) as file:
                for first, *row in file.execute(
                    f"select first, {_COLUMNS} from blocks order by first"  # noqa: S608  # constant
                ):
                    shelved = _decoded(row)
                    if shelved is None:
                        return
                    yield first, shelved
        except sqlite3.Error:
            return

    def keep(self, first: int, shelved: Shelved) -> None:
        """Append a block whose first row is `first`; one that is there already stays."""
        if self._read_only:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as file, file:
                file.execute(
                    "insert or ignore into blocks values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (first, *_encoded(shelved)),
                )
        except (sqlite3.Error, OSError):
            # The next opening derives from the log what is missing here.
            self._path.unlink(missing_ok=True)

    def _connect(self) -> sqlite3.Connection:
        file = sqlite3.connect(self._path, timeout=1.0)
        try:
            file.execute("pragma synchronous = off")
            file.execute(_SCHEMA)
            stored = file.execute("pragma application_id").fetchone()[0]
            if stored not in (0, _application()):
                raise sqlite3.DatabaseError("terms of another version")
            file.execute(f"pragma application_id = {_application()}")
        except sqlite3.Error:
            file.close()
            raise
        return file


def _application() -> int:
    return int(google_crc32c.value(f"pmll terms {TERMS_ID}".encode())) & 0x7FFFFFFF


def _encoded(shelved: Shelved) -> tuple[object, ...]:
    block = shelved.block
    names = json.dumps([list(block.vocabulary), list(block.speakers), list(block.sessions)])
    blobs = (
        names.encode(),
        *(part.tobytes() for part in (block.tokens, block.lengths, block.speaker, block.session)),
        block.marks.tobytes(),
    )
    facts = (shelved.records, shelved.lines, shelved.anchor)
    return *facts, *blobs, _checksum(facts, blobs)


def _decoded(row: list[object]) -> Shelved | None:
    records, lines, anchor, names, tokens, lengths, speaker, session, marks, crc = row
    blobs = (names, tokens, lengths, speaker, session, marks)
    if crc != _checksum((records, lines, anchor), blobs):  # type: ignore[arg-type]
        return None
    vocabulary, speakers, sessions = json.loads(names)  # type: ignore[arg-type]
    block = RowBlock(
        np.frombuffer(tokens, np.int32),  # type: ignore[call-overload]
        np.frombuffer(lengths, np.int64),  # type: ignore[call-overload]
        np.frombuffer(speaker, np.int32),  # type: ignore[call-overload]
        np.frombuffer(session, np.int32),  # type: ignore[call-overload]
        np.frombuffer(marks, np.uint8),  # type: ignore[call-overload]
        vocabulary,
        speakers,
        sessions,
    )
    return Shelved(block, int(records), int(lines), str(anchor))  # type: ignore[call-overload]


def _checksum(facts: tuple[object, ...], blobs: tuple[bytes, ...]) -> int:
    return int(google_crc32c.value(repr(facts).encode() + b"".join(blobs)))
