"""Rows in play: what a search may find, and what all searches of one state ask about them."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pmll_async.text.index.neighbours import NONE, Neighbours
from pmll_async.text.index.postings import Int64s
from pmll_async.text.index.rows import TextRows
from pmll_async.values.concert import Float64


class Play:
    """The rows that a search may find, and what all searches in one state ask about them.

    `rows` bool (count,): which rows of the state have text, are live, and fit the filter.
    `timestamps` float64 (count,): when their texts were said, in seconds since the epoch.
    `neighbours`: what was said before and after each in its session.
    """

    def __init__(
        self,
        index: TextRows,
        rows: NDArray[np.bool_],
        timestamps: Float64,
        neighbours: Neighbours,
    ) -> None:
        self.index, self.rows, self.timestamps = index, rows, timestamps
        self.neighbours = neighbours
        self.count = len(rows)
        self.size = int(np.count_nonzero(rows))

    def among(self, fitting: Int64s) -> Play:
        """The same, of these rows alone."""
        fits = np.zeros(self.count, dtype=np.bool_)
        fits[fitting] = True
        return Play(self.index, self.rows & fits, self.timestamps, self.neighbours)

    def newest(self, most: int | None) -> Int64s:
        """The rows in play by when they were said, the newest first, of equal times the later."""
        rows = np.flatnonzero(self.rows)
        times = self.timestamps[rows]
        if most is not None and 0 < most < len(rows):
            # A partition is linear in the rows, a sort is not.
            near = times >= np.partition(times, len(rows) - most)[len(rows) - most]
            rows, times = rows[near], times[near]
        return rows[np.lexsort((rows, times))][::-1][:most]

    @cached_property
    def texts(self) -> int:
        """How many rows of the state have text, in play or not."""
        return int(np.count_nonzero(self.index.session[: self.count] != NONE))

    @cached_property
    def lengths(self) -> Int64s:
        """How many terms each row in the state has (count,)."""
        return self.index.postings.lengths(self.count)

    @cached_property
    def mean_length(self) -> float:
        """The mean length of the rows in play, at least 1."""
        return max(1.0, float(self.lengths @ self.rows) / max(1, self.size))

    @cached_property
    def frequencies(self) -> Int64s:
        """How many rows of the state hold each term (terms,), by its number."""
        return self.index.postings.frequencies(self.count)

    @cached_property
    def _spoke(self) -> NDArray[np.bool_]:
        speakers = self.index.speaker[: self.count][self.rows]
        return np.bincount(speakers[speakers != NONE], minlength=len(self.index.speakers)) > 0

    def speakers_with(self, word: str) -> list[int]:
        """The numbers of the speakers in play who have the word in their names."""
        # The index may know speakers who came after this state.
        numbers = self.index.speakers_with(word)
        return [n for n in numbers if n < len(self._spoke) and self._spoke[n]]

    @cached_property
    def session_lengths(self) -> Float64:
        """How many terms each session has in the rows in play (sessions,)."""
        sessions = self.index.session[: self.count]
        named = self.rows & (sessions >= 0)
        size = len(self.index.sessions)
        lengths = self.lengths[named].astype(np.float64)
        return np.bincount(sessions[named], lengths, minlength=size).astype(np.float64, copy=False)
