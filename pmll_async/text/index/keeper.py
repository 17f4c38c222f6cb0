"""Keeping the text index: behind the log by nothing, whoever wrote to it, when it is asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.engine.ledger.snapshot import Snapshot
from pmll_async.engine.queries.reader import Reader
from pmll_async.loop.breathing import Breather
from pmll_async.records.blocks import NOTE
from pmll_async.text.index.file import IndexFile, Shelved
from pmll_async.text.index.play import Play
from pmll_async.text.index.rows import NONE, RowBlock, TextRows
from pmll_async.values.anchors import ROOT_ANCHOR
from pmll_async.values.contexts import parse_json

_LINES_AT_ONCE: Final = 512
_SHELVED_FROM: Final = 1024
"""So many rows wait in memory before they are put on the shelf together."""


class TextIndexer:
    """Brings `rows` up to the state that is asked for. Methods block."""

    def __init__(self, shelf: IndexFile | None) -> None:
        self.rows = TextRows()
        self._shelf = shelf
        self._lock = threading.Lock()
        self._records = 0
        self._lines = 0
        self._is_loaded = False
        self._plays: dict[bool, tuple[Snapshot, Play]] = {}
        self._waiting: list[RowBlock] = []
        self._state = 0.0, ROOT_ANCHOR

    def follow(self, snapshot: Snapshot, reader: Reader) -> TextRows:
        """Take in what the log has up to the snapshot.

        An error leaves the index with whole records, and the next call goes on behind them.
        """
        if self._records < snapshot.revision or not self._is_loaded:
            with self._lock:
                if not self._is_loaded:
                    self._is_loaded = True
                    self._load(snapshot)
                breathe = Breather()
                while self._records < snapshot.revision:
                    self._read(snapshot, reader, breathe)
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
        self._shelf.settle()
        if not snapshot.revision:
            return
        with closing(self._shelf.load()) as blocks:
            for shelved in blocks:
                if not self._follows(shelved, snapshot):
                    return
                self.rows.adopt(shelved.block)
                self._add(shelved.block, snapshot)
                self._records, self._lines = shelved.records, shelved.lines

    def _follows(self, shelved: Shelved, snapshot: Snapshot) -> bool:
        """Whether the shelved block was made from this log, and of the lines behind the index."""
        lines = shelved.lines
        if not self._records < shelved.records <= snapshot.revision:
            return False
        if snapshot.line_starts[shelved.records] != lines or lines <= self._lines:
            return False
        rows = np.count_nonzero(snapshot.kinds[self._lines : lines] != NOTE)
        state = shelved.time, shelved.anchor
        return rows == len(shelved.block.lengths) and state == _state(
            snapshot, shelved.records, lines
        )

    def _read(self, snapshot: Snapshot, reader: Reader, breathe: Breather) -> None:
        """Take in some records, all of them or none."""
        stop, lines = _some(snapshot, self._records)
        if lines > self._lines:
            first = len(self.rows)
            kinds = snapshot.kinds[self._lines : lines].tolist()
            contexts = _ranked(kinds, reader.contexts(self._records, stop))
            timestamps = snapshot.columns.timestamps[first : first + len(contexts)].tolist()
            block = self.rows.read(_parsed(contexts, breathe), timestamps)
            self._add(block, snapshot)
            if contexts:
                self._waiting.append(block)
        self._records, self._lines, self._state = stop, lines, _state(snapshot, stop, lines)
        if sum(len(block.lengths) for block in self._waiting) >= _SHELVED_FROM:
            self._shelve()

    def _add(self, block: RowBlock, snapshot: Snapshot) -> None:
        span = slice(len(self.rows), len(self.rows) + len(block.lengths))
        self.rows.add(block, snapshot.columns.chain[span])

    def _shelve(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self._shelf is None or not waiting:
            return
        block = _merged(waiting)
        first = len(self.rows) - len(block.lengths)
        self._shelf.keep(Shelved(first, block, self._records, self._lines, *self._state))


def _play(snapshot: Snapshot, rows: TextRows, *, branches: bool) -> Play:
    columns = snapshot.columns
    in_play: NDArray[np.bool_] = columns.live & (rows.session[: columns.count] != NONE)
    in_play &= ~snapshot.revised[snapshot.ranked_lines]
    if not branches:
        in_play &= columns.chain
    return Play(rows, in_play, columns.timestamps)


def _state(snapshot: Snapshot, records: int, lines: int) -> tuple[float, str]:
    """What tells the log at this place from another: a time and an anchor."""
    anchor = snapshot.anchor(lines - 1) if lines else ROOT_ANCHOR
    return float(snapshot.times[records]), anchor


def _some(snapshot: Snapshot, record: int) -> tuple[int, int]:
    """Where the next lot of records ends, at least one of them, and where their lines do."""
    starts = snapshot.line_starts
    most = np.int32(min(int(starts[record]) + _LINES_AT_ONCE, int(starts[-1])))
    stop = max(record + 1, int(np.searchsorted(starts, most, side="right")) - 1)
    return stop, int(starts[stop])


def _ranked(kinds: list[int], contexts: Iterator[bytes]) -> list[bytes]:
    """The contexts of those lines that have a row."""
    return [context for kind, context in zip(kinds, contexts, strict=True) if kind != NOTE]


def _parsed(contexts: list[bytes], breathe: Breather) -> Iterator[dict[str, Any]]:
    for context in contexts:
        breathe()
        yield parse_json(context)


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
