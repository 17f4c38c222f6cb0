"""Codes: keys in 8 bits a number, so that a look at all of them reads a quarter of the bytes.

A unit vector x is coded as whole numbers c and a step a with x = a·c + e, |e| = ε. Of two coded
vectors |x·q - a·b·(c·d)| ≤ ε + (1 + ε)·φ, where φ is the other's error; c·d is a sum of whole
numbers and so the same however it is computed. Such products select; float64 decides.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pmll_async.loop.logs import logger
from pmll_async.loop.workers import CALLS
from pmll_async.values.concert import Float32
from pmll_async.values.room import fresh_bytes

CHUNK_ROWS: Final = 128
"""Rows that are coded at once, in 0.2 ms; those behind them are few enough for float32 products."""
_PACK_ROWS: Final = (64 * CHUNK_ROWS, 8 * CHUNK_ROWS, CHUNK_ROWS)
"""Rows that the kernel gets in one piece, which grow together: a call costs as much as the product
of 50 rows."""
_LARGEST: Final = 127
_UNIT_ERROR: Final = 2e-6
"""What float32 leaves of a unit vector and of its error, several times over."""


class ProductLibrary:
    """The library of whole-number products, if it is installed: it belongs to the extra `fast`.

    It is none of the core's dependencies, since it unpacks to 46 MB.
    """

    def __init__(self) -> None:
        self._library: Any = None
        self._is_asked_for = False

    @property
    def library(self) -> Any:
        """None until it is imported, for which the first to ask does not wait: it takes 0.1 s."""
        if not self._is_asked_for:
            self._is_asked_for = True
            # Without it everything goes on as it does now, also where no thread can be started.
            with suppress(RuntimeError):
                CALLS.submit(self.load)
        return self._library

    def load(self) -> None:
        """Import it now."""
        self._is_asked_for = True
        try:
            self._library = import_module("numkong") if find_spec("numkong") else None
        # A wheel for another machine, say: nothing depends on it but speed.
        except (ImportError, OSError) as exc:
            logger("pmll.index").warning("index.codes_unavailable", error=repr(exc))

    def need(self) -> None:
        """`load`, and `ImportError` where that is not possible."""
        if self._library is None:
            self.load()
        if self._library is None:
            raise ImportError(
                "numkong, which makes products of codes, cannot be imported here; keep keys in "
                'memory instead: resident="memory"',
                name="numkong",
            )


PRODUCTS: Final = ProductLibrary()


class CodedVectors(NamedTuple):
    """Codes int8 (m, dim), the steps float32 (m,), and the largest error ε."""

    codes: NDArray[np.int8]
    steps: Float32
    error: float


def encode(vectors: Float32, reciprocals: Float32) -> CodedVectors:
    """The codes of vectors (m, dim) at length 1; `reciprocals` (m,) are one over their lengths."""
    tops = np.maximum(vectors.max(axis=1), -vectors.min(axis=1))
    # A vector of zeros, which stands for one that float32 cannot carry, has the code 0.
    steps = np.where(tops > 0.0, tops, np.float32(1.0)) * np.float32(1.0 / _LARGEST)
    scaled = vectors * (np.float32(1.0) / steps)[:, None]
    rounded = np.rint(scaled)
    scaled -= rounded
    errors = np.sqrt(np.vecdot(scaled, scaled)) * steps * reciprocals
    error = float(errors.max(initial=0.0)) * 1.0001 + _UNIT_ERROR
    return CodedVectors(rounded.astype(np.int8), steps * reciprocals, error)


class _Pack(NamedTuple):
    """Chunks of coded rows in the kernel's own layout, and their steps."""

    first: int
    rows: Any
    steps: Float32


class Look(NamedTuple):
    """Some queries, and the coded rows as they were when these were asked."""

    queries: CodedVectors
    packs: tuple[_Pack, ...]
    coded: int
    margin: float
    """How wrong a product may be, as a cosine."""

    def fill(self, cosines: Float32, first: int) -> None:
        """Nearly the cosines (queries, rows) of the coded rows from row `first` on."""
        stop = first + cosines.shape[1]
        for pack in self.packs:
            start, end = max(first, pack.first), min(stop, pack.first + len(pack.steps))
            if start < end:
                # Whole, because its rows are in the kernel's own layout.
                dots = np.asarray(PRODUCTS.library.dots_packed(self.queries.codes, pack.rows))
                rows = slice(start - pack.first, end - pack.first)
                part = cosines[:, start - first : end - first]
                # In steps: numpy converts and multiplies at once five times more slowly.
                part[...] = dots[:, rows]
                part *= pack.steps[rows]
        cosines *= self.queries.steps[:, None]


class Codes:
    """The codes of an index's rows, appended chunk by chunk in one thread, looked at in any."""

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._begin_pack()
        self._state: tuple[tuple[_Pack, ...], int, float] = ((), 0, 0.0)
        """Packs, how many rows they have, and the largest error; one value, so that it is whole."""

    def _begin_pack(self) -> None:
        """Make room for what the next largest pack will be made of; it is filled little by little.

        New room each time: what nobody has written into takes no memory.
        """
        room = fresh_bytes(_PACK_ROWS[0] * self._dim).view(np.int8)
        self._recent: NDArray[np.int8] = room.reshape(_PACK_ROWS[0], self._dim)
        self._steps: Float32 = np.empty(_PACK_ROWS[0], np.float32)

    @property
    def count(self) -> int:
        """How many rows are coded."""
        return self._state[1]

    def add(self, vectors: Float32, reciprocals: Float32) -> None:
        """Append vectors, some times CHUNK_ROWS; `reciprocals` are one over their lengths.

        Many at once take half the time that they take in chunks.
        """
        done, many = 0, _PACK_ROWS[1]
        while done < len(vectors):
            is_whole = self.count % many == 0 and len(vectors) - done >= many
            span = slice(done, done + (many if is_whole else CHUNK_ROWS))
            self._append(vectors[span], reciprocals[span])
            done = span.stop

    def _append(self, vectors: Float32, reciprocals: Float32) -> None:
        packs, count, error = self._state
        coded, place = encode(vectors, reciprocals), count % _PACK_ROWS[0]
        if not place:
            self._begin_pack()
        stop = place + len(vectors)
        self._recent[place:stop], self._steps[place:stop] = coded.codes, coded.steps
        place = stop - next(rows for rows in _PACK_ROWS if stop % rows == 0)
        first = count + len(vectors) - (stop - place)
        rows, steps = (
            PRODUCTS.library.dots_pack(self._recent[place:stop]),
            self._steps[place:stop].copy(),
        )
        kept = [pack for pack in packs if pack.first < first]
        self._state = (
            (*kept, _Pack(first, rows, steps)),
            count + len(vectors),
            max(error, coded.error),
        )

    def look(self, units: Float32) -> Look:
        """Ask for products with unit vectors (m, dim)."""
        packs, count, error = self._state
        queries = encode(units, np.ones(len(units), dtype=np.float32))
        return Look(queries, packs, count, error + (1.0 + error) * queries.error)
