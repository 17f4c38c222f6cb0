"""Postings: which rows hold a term, and which terms a row holds. Both only grow.

Forward, the terms of all rows lie one after the other. Inverted, runs of rows are sealed into
segments that are sorted by term; eight neighbours of a size become one, up to a limit, and the last
few rows are not sealed yet and looked through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pmll_async.text.index.vocabulary import Numbering
from pmll_async.values.arrays import GrowingArray

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]

# So many of the last rows are looked through: sealing each batch would sort for a few rows.
_SMALLEST_SEGMENT: Final = 256
# So each posting is sorted a few times in all, and few segments are asked for each term.
_MERGED_AT_ONCE: Final = 8
_LARGEST_SEGMENT: Final = 16384  # sorting its postings takes some 30 ms


@dataclass(frozen=True, slots=True, eq=False)
class PostingSegment:
    """The postings of rows `first` … `stop - 1`.

    `terms` int32 are distinct and ascending; those of the i-th are `rows` and `counts` from
    `offsets[i]` to `offsets[i + 1]`, rows ascending.
    """

    first: int
    stop: int
    terms: Int32s
    offsets: Int64s
    rows: Int32s
    counts: Int32s

    def find(self, terms: Int32s) -> tuple[Int64s, Int64s]:
        """Where the postings of each term (m,) begin and end; equal where it does not occur."""
        if not len(self.terms):
            nowhere = np.zeros(len(terms), dtype=np.int64)
            return nowhere, nowhere
        places = np.minimum(np.searchsorted(self.terms, terms), len(self.terms) - 1)
        first = self.offsets[places]
        # Where another term stands, the span is empty.
        stop = np.where(self.terms[places] == terms, self.offsets[places + 1], first)
        return first, stop


@dataclass(frozen=True, slots=True, eq=False)
class Posted:
    """One term's rows (n,) int32, ascending, and how often each holds it (n,) int32."""

    rows: Int32s
    counts: Int32s


def either(one: Posted, other: Posted) -> Posted:
    """The rows of both; where a row is in both, the larger count."""
    rows, places = np.unique(np.concatenate([one.rows, other.rows]), return_inverse=True)
    counts = np.zeros(len(rows), dtype=np.int32)
    np.maximum.at(counts, places, np.concatenate([one.counts, other.counts]))
    return Posted(rows, counts)


class Postings(Numbering):
    """Numbers terms and keeps their postings. One thread adds; any may read what was added."""

    def __init__(self) -> None:
        super().__init__()
        self._tokens, self._starts = GrowingArray(np.int32), GrowingArray(np.int64)
        self._starts.extend(np.zeros(1, np.int64))
        self._segments: tuple[PostingSegment, ...] = ()

    def __len__(self) -> int:
        return len(self._starts) - 1

    def extend(self, tokens: Int32s, lengths: Int64s) -> None:
        """Append rows of so many numbered terms each."""
        start = len(self._tokens)
        self._tokens.extend(tokens)
        self._starts.extend(start + np.cumsum(lengths))
        self._seal()

    def find(self, terms: Sequence[int], count: int) -> list[Posted]:
        """The postings of each term in the first `count` rows."""
        wanted = np.array(terms, dtype=np.int32)
        rows: list[list[Int32s]] = [[] for _ in terms]
        counts: list[list[Int32s]] = [[] for _ in terms]
        segments = [segment for segment in self._segments if segment.first < count]
        for segment in segments:
            for place, (first, stop) in enumerate(zip(*segment.find(wanted), strict=True)):
                if first < stop:
                    rows[place].append(segment.rows[first:stop])
                    counts[place].append(segment.counts[first:stop])
        sealed = segments[-1].stop if segments else 0
        for place, term in enumerate(terms if sealed < count else ()):
            found = self._find_unsealed(term, sealed, count)
            rows[place].append(found.rows)
            counts[place].append(found.counts)
        return [_within(*parts, count) for parts in zip(rows, counts, strict=True)]

    def frequencies(self, count: int) -> Int64s:
        """How many of the first `count` rows hold each term (terms,), by its number."""
        found = np.zeros(len(self.vocabulary), dtype=np.int64)
        sealed = 0
        for segment in self._segments:
            if segment.stop > count:
                break
            found[segment.terms] += np.diff(segment.offsets)
            sealed = segment.stop
        rest = np.arange(sealed, count, dtype=np.int64)
        tokens, bounds = self.tokens_of(rest)
        # Row and term in one number: one sort tells which rows hold which terms.
        pairs = np.unique((np.repeat(rest, np.diff(bounds)) << 32) | tokens)
        held = np.bincount(pairs & 0xFFFFFFFF, minlength=len(found))
        return found + held[: len(found)]

    def lengths(self, count: int) -> Int64s:
        """How many terms each of the first `count` rows has."""
        return np.diff(self._starts.view()[: count + 1])

    def tokens_of(self, rows: Int64s) -> tuple[Int32s, Int64s]:
        """The terms of the rows one after the other, and where each row's begin (n + 1,)."""
        starts = self._starts.view()
        first, lengths = starts[rows], starts[rows + 1] - starts[rows]
        bounds = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(lengths, out=bounds[1:])
        places = np.arange(bounds[-1]) + np.repeat(first - bounds[:-1], lengths)
        return self._tokens.view()[places], bounds

    def _find_unsealed(self, term: int, first: int, stop: int) -> Posted:
        starts = self._starts.view()
        begin = int(starts[first])
        places = np.flatnonzero(self._tokens.view()[begin : int(starts[stop])] == term) + begin
        owners = np.searchsorted(starts, places, side="right") - 1
        rows, counts = np.unique(owners, return_counts=True)
        return Posted(rows.astype(np.int32), counts.astype(np.int32))

    # --- sealing -------------------------------------------------------------------------------

    def _seal(self) -> None:
        segments = list(self._segments)
        sealed = segments[-1].stop if segments else 0
        while len(self) - sealed >= _SMALLEST_SEGMENT:
            # What is loaded at once is sealed at once.
            size = _SMALLEST_SEGMENT
            while size < _LARGEST_SEGMENT and len(self) - sealed >= size * _MERGED_AT_ONCE:
                size *= _MERGED_AT_ONCE
            size = min(size, _LARGEST_SEGMENT)
            segments.append(self._segment(sealed, sealed + size))
            sealed += size
            self._merge(segments)
            # A new tuple: who is reading goes on with the one that they have.
            self._segments = tuple(segments)

    def _merge(self, segments: list[PostingSegment]) -> None:
        while len(segments) >= _MERGED_AT_ONCE:
            last = segments[-_MERGED_AT_ONCE:]
            size = last[-1].stop - last[-1].first
            same = all(segment.stop - segment.first == size for segment in last)
            if not same or size * _MERGED_AT_ONCE > _LARGEST_SEGMENT:
                return
            segments[-_MERGED_AT_ONCE:] = [self._segment(last[0].first, last[-1].stop)]

    def _segment(self, first: int, stop: int) -> PostingSegment:
        starts = self._starts.view()[first : stop + 1]
        tokens = self._tokens.view()[int(starts[0]) : int(starts[-1])]
        rows = np.repeat(np.arange(first, stop, dtype=np.int64), np.diff(starts))
        pairs, counts = np.unique((tokens.astype(np.int64) << 32) | rows, return_counts=True)
        numbers = (pairs >> 32).astype(np.int32)
        firsts = np.flatnonzero(np.diff(numbers, prepend=np.int32(-1)))
        return PostingSegment(
            first,
            stop,
            terms=numbers[firsts],
            offsets=np.append(firsts, len(numbers)),
            rows=(pairs & 0xFFFFFFFF).astype(np.int32),
            counts=counts.astype(np.int32),
        )


def _within(rows: Sequence[Int32s], counts: Sequence[Int32s], count: int) -> Posted:
    """Pieces of postings joined, of the first `count` rows."""
    if not rows:
        return Posted(np.empty(0, np.int32), np.empty(0, np.int32))
    every = np.concatenate(rows)
    stop = int(np.searchsorted(every, np.int32(count)))
    return Posted(every[:stop], np.concatenate(counts)[:stop])
