"""Keeping the text index: behind the log by nothing, whoever wrote to it, when it is asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.loop.breathing import Breather
from pmll_async.protocols import Sidecar
from pmll_async.text.index.file import IndexFile, Shelved
from pmll_async.text.index.neighbours import NONE
from pmll_async.text.index.play import Play
from pmll_async.text.index.rows import RowBlock, TextRows
from pmll_async.values.anchors import ROOT_ANCHOR
from pmll_async.values.contexts import parse_json
from pmll_async.views import LogState, Survey

FILE: Final = "text.sqlite"
"""The store's sidecar that an index waits in, unless it is told of another file."""
# Bounds what is in memory at once, and what is read again after an error.
_LINES_AT_ONCE: Final = 512
# A block costs a transaction and a row of the file; what waits costs a crash that much reading.
_SHELVED_FROM: Final = 1024


class TextIndexer:
    """Brings `rows` up to the state that is asked for. Methods block."""

    def __init__(self, place: Sidecar | None = None) -> None:
        self.rows = TextRows()
        self._place = place
        self._shelf: IndexFile | None = None
        self._lock = threading.Lock()
        self._log = LogState(0, 0, 0.0, ROOT_ANCHOR)
        self._is_loaded = False
        self._plays: dict[bool, tuple[object, Play]] = {}
        self._waiting: list[RowBlock] = []
        self._erased: Callable[[], bool] = lambda: False
        """Whether a line was erased since the index was loaded."""

    def follow(self, survey: Survey) -> TextRows:
        """Take in what the log has up to the surveyed state.

        An error leaves the index with whole records, and the next call goes on behind them.
        """
        if self._log.records < survey.revision or not self._is_loaded:
            with self._lock:
                if not self._is_loaded:
                    # Before, so that a shelf that cannot be loaded is not tried for ever.
                    self._is_loaded = True
                    self._load(survey)
                breathe = Breather()
                while self._log.records < survey.revision:
                    self._read(survey, breathe)
        return self.rows

    def play(self, survey: Survey, *, branches: bool) -> Play:
        """The rows in play without a filter; kept for the next search in the same state."""
        kept = self._plays.get(branches)
        # Threads may do this twice, and then both have the same: it needs no lock.
        if kept is None or kept[0] is not survey.state:
            kept = self._plays[branches] = survey.state, _play(survey, self.rows, branches=branches)
        return kept[1]

    def close(self) -> None:
        """Put on the shelf what waits for it."""
        with self._lock:
            self._shelve()

    def _load(self, survey: Survey) -> None:
        erasures, before = survey.erasures, len(survey.erasures.lines)
        self._erased = lambda: len(erasures.lines) != before
        place = self._place or survey.sidecar(FILE)
        if place is None:
            return
        self._shelf = IndexFile(place)
        with closing(self._shelf.load()) as blocks:
            for shelved in blocks:
                if not self._follows(shelved, survey):
                    return
                self.rows.adopt(shelved.block)
                self._add(shelved.block, survey)
                self._log = shelved.log

    def _follows(self, shelved: Shelved, survey: Survey) -> bool:
        """Whether the shelved block was made from this log, and of the lines behind the index."""
        records = shelved.log.records
        return (
            self._log.records < records <= survey.revision
            and shelved.log == survey.log_after(records)
            and shelved.stop == survey.rows_after(records)
        )

    def _read(self, survey: Survey, breathe: Breather) -> None:
        """Take in some records, all of them or none."""
        first, log = (
            self._log,
            survey.log_after(survey.batch_stop(self._log.records, _LINES_AT_ONCE)),
        )
        if log.lines > first.lines:
            contexts = survey.contexts(first.records, log.records)
            rows = slice(len(self.rows), len(self.rows) + len(contexts))
            timestamps = survey.columns.timestamps[rows].tolist()
            block = self.rows.read(_parsed(contexts, breathe), timestamps)
            self._add(block, survey)
            # Notes alone have no rows, and a block without any would have its neighbour's place.
            if contexts:
                self._waiting.append(block)
        self._log = log
        if sum(len(block.lengths) for block in self._waiting) >= _SHELVED_FROM:
            self._shelve()

    def _add(self, block: RowBlock, survey: Survey) -> None:
        stop, columns = len(self.rows) + len(block.lengths), survey.columns
        self.rows.add(block, columns.chain[:stop], columns.timestamps[:stop])

    def _shelve(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self._shelf is None:
            return
        if self._erased():
            # What waits and what is there has words of lines that are erased since.
            self._shelf.throw_away()
            self._shelf = None
            return
        if not waiting:
            return
        block = _merged(waiting)
        self._shelf.keep(Shelved(len(self.rows) - len(block.lengths), block, self._log))


def _play(survey: Survey, rows: TextRows, *, branches: bool) -> Play:
    columns = survey.columns
    in_play: NDArray[np.bool_] = columns.live & (rows.session[: columns.count] != NONE)
    in_play &= ~survey.revised
    if not branches:
        in_play &= columns.chain
    neighbours = rows.order.of(rows.session[: columns.count], columns.chain, columns.timestamps)
    return Play(rows, in_play, columns.timestamps, neighbours)


def _parsed(contexts: Sequence[bytes], breathe: Breather) -> Iterator[dict[str, Any]]:
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
