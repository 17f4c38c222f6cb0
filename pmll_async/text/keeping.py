"""Keeping the text index: behind the log by nothing, whoever wrote to it, when it is asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.anchors import ROOT_ANCHOR
from pmll_async.breathing import Breather
from pmll_async.canonical import parse_json
from pmll_async.columns import NOTE
from pmll_async.reader import Reader
from pmll_async.snapshot import Snapshot
from pmll_async.text.rows import NONE, RowBlock, TextRows
from pmll_async.text.search import Play
from pmll_async.text.shelf import Shelf, Shelved

_ROWS_AT_ONCE: Final = 2048
_SHELVED_FROM: Final = 1024
"""So many rows wait in memory before they are put on the shelf together."""


class IndexKeeper:
    """Brings `rows` up to the state that is asked for. Methods block."""

    def __init__(self, shelf: Shelf | None) -> None:
        self.rows = TextRows()
        self._shelf = shelf
        self._lock = threading.Lock()
        self._records = 0
        self._lines = 0
        self._anchor = ROOT_ANCHOR
        self._is_loaded = False
        self._plays: dict[bool, tuple[Snapshot, Play]] = {}
        self._waiting: list[tuple[int, RowBlock]] = []

    @property
    def revision(self) -> int:
        """How many records the index has taken in."""
        return self._records

    def follow(self, snapshot: Snapshot, reader: Reader) -> TextRows:
        """Take in what the log has up to the snapshot."""
        if self._records < snapshot.revision:
            with self._lock:
                if not self._is_loaded:
                    self._load(snapshot)
                    self._is_loaded = True
                if self._records < snapshot.revision:
                    self._read(snapshot, reader)
                    if sum(len(block.lengths) for _, block in self._waiting) >= _SHELVED_FROM:
                        self._shelve()
        return self.rows

    def play(self, snapshot: Snapshot, rows: TextRows, *, branches: bool) -> Play:
        """The rows in play without a filter; kept for the next search in the same state."""
        kept = self._plays.get(branches)
        if kept is None or kept[0] is not snapshot:
            kept = self._plays[branches] = snapshot, _play(snapshot, rows, branches=branches)
        return kept[1]

    def close(self) -> None:
        """Put on the shelf what waits for it."""
        with self._lock:
            self._shelve()

    def _load(self, snapshot: Snapshot) -> None:
        if self._shelf is None:
            return
        for first, shelved in self._shelf.load():
            if first != len(self.rows) or not _is_of(shelved, snapshot):
                return
            self.rows.adopt(shelved.block)
            self._add(shelved.block, snapshot)
            self._records, self._lines = shelved.records, shelved.lines
            self._anchor = shelved.anchor

    def _read(self, snapshot: Snapshot, reader: Reader) -> None:
        ranked = _ranked_contexts(snapshot, reader, self._records, self._lines)
        breathe = Breather()
        while batch := list(islice(ranked, _ROWS_AT_ONCE)):
            first = len(self.rows)
            timestamps = snapshot.columns.timestamps[first : first + len(batch)].tolist()
            contexts = _parsed(batch, breathe)
            block = self.rows.read(contexts, timestamps)
            self._add(block, snapshot)
            self._waiting.append((first, block))
        self._records, self._lines = snapshot.revision, snapshot.timeline.line_count
        self._anchor = snapshot.anchor(self._lines - 1) if self._lines else ROOT_ANCHOR

    def _add(self, block: RowBlock, snapshot: Snapshot) -> None:
        span = slice(len(self.rows), len(self.rows) + len(block.lengths))
        self.rows.add(block, snapshot.columns.chain[span])

    def _shelve(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self._shelf is None or not waiting:
            return
        blocks = [block for _, block in waiting]
        shelved = Shelved(_merged(blocks), self._records, self._lines, self._anchor)
        self._shelf.keep(waiting[0][0], shelved)


def _play(snapshot: Snapshot, rows: TextRows, *, branches: bool) -> Play:
    columns = snapshot.columns
    in_play: NDArray[np.bool_] = columns.live & (rows.session[: columns.count] != NONE)
    in_play &= ~snapshot.revised[snapshot.ranked_lines]
    if not branches:
        in_play &= columns.chain
    return Play(rows, in_play)


def _ranked_contexts(snapshot: Snapshot, reader: Reader, record: int, line: int) -> Iterator[bytes]:
    """The contexts of the lines from `line` on that have a row, in order."""
    kinds = snapshot.timeline.kinds[line:].tolist()
    contexts = reader.contexts(record, snapshot.revision)
    for kind, context in zip(kinds, contexts, strict=True):
        if kind != NOTE:
            yield context


def _parsed(contexts: list[bytes], breathe: Breather) -> Iterator[dict[str, Any]]:
    for context in contexts:
        breathe()
        yield parse_json(context)


def _is_of(shelved: Shelved, snapshot: Snapshot) -> bool:
    """Whether the shelved block was made from this log."""
    timeline = snapshot.timeline
    if shelved.records > timeline.revision or not 0 < shelved.lines <= timeline.line_count:
        return False
    return snapshot.anchor(shelved.lines - 1) == shelved.anchor


def _merged(blocks: list[RowBlock]) -> RowBlock:
    if len(blocks) == 1:
        return blocks[0]
    return RowBlock(
        np.concatenate([block.tokens for block in blocks]),
        np.concatenate([block.lengths for block in blocks]),
        np.concatenate([block.speaker for block in blocks]),
        np.concatenate([block.session for block in blocks]),
        np.concatenate([block.marks for block in blocks]),
        [term for block in blocks for term in block.vocabulary],
        [name for block in blocks for name in block.speakers],
        [name for block in blocks for name in block.sessions],
    )
