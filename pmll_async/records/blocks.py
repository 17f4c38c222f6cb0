"""Columns: what a run of records adds to a lattice, as arrays.

A store hands these over when it is opened and the trace makes one for every batch, so that a
lattice grows in one way only. Everything here can be derived from the records again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pmll_async.loop.breathing import Breather
from pmll_async.records.changes import RollbackRecord
from pmll_async.records.content import LineRecord
from pmll_async.records.record import Record, leaf
from pmll_async.values.anchors import fold
from pmll_async.values.concert import Float32, Float64

# The cache on disk has these numbers.
LINE: Final = 0
NOTE: Final = 1
BRANCH: Final = 2
ERASED: Final = 4
"""Added to the kind of a line whose content was erased: it has no vectors any more."""
MarkKind = Literal["decay", "revise", "forget", "erase", "rollback"]
KIND_CODES: Final = {"line": LINE, "note": NOTE, "branch": BRANCH}


@dataclass(frozen=True, slots=True)
class Mark:
    """What record `n` does to what was before it.

    An effect on the line `anchor`, or a rollback to the state after `revision` records.
    """

    n: int
    kind: MarkKind
    anchor: str = ""
    factor: float = 1.0
    revision: int = 0


@dataclass(frozen=True, slots=True)
class KeyUse:
    """Record `n` holds an idempotency key; `content` is what it stands for, the digests joined."""

    n: int
    key: str
    anchor: str
    content: bytes
    race: bool


@dataclass(frozen=True, eq=False)
class Block:
    """The columns of records `first` … `first + len(times) - 1`.

    By record: `times` float64, `line_counts` int64. By line, in record order, the line on the
    chain before its branches: `anchors` uint64, `kinds` uint8 (0 line, 1 note, 2 branch, and 4 more
    if it is erased), `strengths` float64 at birth. By line that has vectors: `keys` float32
    (m, dim), `norms`, `timestamps`, `novelties` float64 (m,). `digest` is h after the last record.
    """

    first: int
    digest: bytes
    times: Float64
    line_counts: NDArray[np.int64]
    anchors: NDArray[np.uint64]
    kinds: NDArray[np.uint8]
    strengths: Float64
    keys: Float32
    norms: Float64
    timestamps: Float64
    novelties: Float64
    marks: tuple[Mark, ...]
    key_uses: tuple[KeyUse, ...]

    @property
    def stop(self) -> int:
        """The revision after this block."""
        return self.first + len(self.times)

    @staticmethod
    def of(
        records: Sequence[Record],
        first: int,
        digest: bytes,
        dim: int,
        leaves: Sequence[bytes] | None = None,
    ) -> RecordBlock:
        """The columns of records that follow `first` others whose digest is `digest`.

        `leaves` are L_n of each, where they are known.
        """
        marks: list[Mark] = []
        key_uses: list[KeyUse] = []
        made: list[bytes] = []
        # A digest takes some 10 µs, so that a large batch would keep the event loop waiting.
        breathe = Breather()
        for n, record in enumerate(records, first):
            breathe()
            made.append(leaf(record) if leaves is None else leaves[n - first])
            digest = fold(digest, made[-1])
            if isinstance(record, RollbackRecord):
                marks.append(Mark(n, "rollback", revision=record.revision))
            marks += [Mark(n, each.kind, each.anchor, each.factor) for each in record.effects]
            if record.idempotency_key is not None:
                key_uses.append(_key_use(record, record.idempotency_key, n))
        joined = b"".join(made)
        return RecordBlock(records, first, digest, dim, tuple(marks), tuple(key_uses), joined)


class RecordBlock(Block):
    """The block of records that are at hand.

    Its columns are made when the first of them is asked for: a lone put needs none, and making
    them would take a tenth of its time.
    """

    def __init__(
        self,
        records: Sequence[Record],
        first: int,
        digest: bytes,
        dim: int,
        marks: tuple[Mark, ...] = (),
        key_uses: tuple[KeyUse, ...] = (),
        leaves: bytes = b"",
    ) -> None:
        self.__dict__.update(records=records, first=first, digest=digest, dim=dim)
        self.__dict__.update(marks=marks, key_uses=key_uses, leaves=leaves)

    records: Sequence[Record]
    dim: int
    leaves: bytes
    """L_n of each record, joined."""

    @property
    def stop(self) -> int:
        """The revision after this block."""
        return self.first + len(self.records)

    @classmethod
    def joined(cls, blocks: Sequence[RecordBlock]) -> RecordBlock:
        """One block of several that follow each other."""
        return cls(
            list(chain.from_iterable(block.records for block in blocks)),
            blocks[0].first,
            blocks[-1].digest,
            blocks[0].dim,
            tuple(chain.from_iterable(block.marks for block in blocks)),
            tuple(chain.from_iterable(block.key_uses for block in blocks)),
            b"".join([block.leaves for block in blocks]),
        )

    def __getattr__(self, name: str) -> Any:
        """A column, where none was asked for before."""
        if name not in Block.__dataclass_fields__:
            raise AttributeError(name)
        self.__dict__.update(self._columns())
        return self.__dict__[name]

    def _columns(self) -> dict[str, NDArray[Any]]:
        records = self.records
        lines = [(record.t, line) for record in records for line in record.lines]
        vectors = [(t, line) for t, line in lines if line.content.key]
        raw = b"".join([line.content.key for _, line in vectors])
        times = [t if line.timestamp is None else line.timestamp for t, line in vectors]
        return {
            "times": np.array([record.t for record in records], np.float64),
            "line_counts": np.array([len(record.lines) for record in records], np.int64),
            "anchors": np.array([int(line.anchor, 16) for _, line in lines], np.uint64),
            "kinds": np.array([_kind_of(line) for _, line in lines], np.uint8),
            "strengths": np.array([line.strength for _, line in lines], np.float64),
            "keys": np.frombuffer(raw, dtype="<f4").reshape(len(vectors), self.dim),
            "norms": np.array([line.content.norm for _, line in vectors], np.float64),
            "timestamps": np.array(times, np.float64),
            "novelties": np.array([line.novelty for _, line in vectors], np.float64),
        }


def have_vectors(kinds: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which lines of these kinds have vectors: neither notes nor what is left of erased ones."""
    plain: NDArray[np.bool_] = (kinds & (NOTE | ERASED)) == 0
    return plain


def _kind_of(line: LineRecord) -> int:
    return KIND_CODES[line.kind] | (ERASED if line.content.erased else 0)


def _key_use(record: Record, key: str, n: int) -> KeyUse:
    line = record.lines[0]
    return KeyUse(n, key, line.anchor, line.content.digests, record.op == "race")
