"""Columns: what a run of records adds to a lattice, as arrays.

A store hands these over when it is opened and the trace makes one for every batch, so that a
lattice grows in one way only. Everything here can be derived from the records again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from pmll_async.loop.breathing import Breather
from pmll_async.records.content import LineRecord
from pmll_async.records.record import Record, RollbackRecord, leaf
from pmll_async.values.anchors import fold
from pmll_async.values.concert import Float32, Float64

LINE: Final = 0
NOTE: Final = 1
BRANCH: Final = 2
MarkKind = Literal["decay", "revise", "forget", "rollback"]
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


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """The columns of records `first` … `first + len(times) - 1`.

    By record: `times` float64, `line_counts` int64. By line, in record order, the line on the
    chain before its branches: `anchors` uint64, `kinds` uint8 (0 line, 1 note, 2 branch),
    `strengths` float64 at birth. By line that has vectors: `keys` float32 (m, dim), `norms`,
    `timestamps`, `novelties` float64 (m,). `digest` is h after the last record.
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

    @classmethod
    def of(cls, records: Sequence[Record], first: int, digest: bytes, dim: int) -> Block:
        """The columns of records that follow `first` others whose digest is `digest`."""
        breathe = Breather()
        for record in records:
            breathe()
            digest = fold(digest, leaf(record))
        lines = [(record, line) for record in records for line in record.lines]
        vectors = [(record, line) for record, line in lines if line.kind != "note"]
        raw = b"".join([line.content.key for _, line in vectors])
        return cls(
            first=first,
            digest=digest,
            times=np.array([record.t for record in records], dtype=np.float64),
            line_counts=np.array([len(record.lines) for record in records], dtype=np.int64),
            anchors=np.array([int(line.anchor, 16) for _, line in lines], dtype=np.uint64),
            kinds=np.array([KIND_CODES[line.kind] for _, line in lines], dtype=np.uint8),
            strengths=_floats(line.strength for _, line in lines),
            keys=np.frombuffer(raw, dtype="<f4").reshape(len(vectors), dim),
            norms=_floats(line.content.norm for _, line in vectors),
            timestamps=_floats(_timestamp(record, line) for record, line in vectors),
            novelties=_floats(line.novelty for _, line in vectors),
            marks=tuple(chain.from_iterable(_marks(r, n) for n, r in enumerate(records, first))),
            key_uses=tuple(
                use for n, record in enumerate(records, first) if (use := _key_use(record, n))
            ),
        )


def _floats(numbers: Iterable[float]) -> Float64:
    return np.array(list(numbers), dtype=np.float64)


def _timestamp(record: Record, line: LineRecord) -> float:
    return record.t if line.timestamp is None else line.timestamp


def _marks(record: Record, n: int) -> list[Mark]:
    if isinstance(record, RollbackRecord):
        return [Mark(n, "rollback", revision=record.revision)]
    return [Mark(n, effect.kind, effect.anchor, effect.factor) for effect in record.effects]


def _key_use(record: Record, n: int) -> KeyUse | None:
    if record.idempotency_key is None:
        return None
    line = record.lines[0]
    return KeyUse(n, record.idempotency_key, line.anchor, line.content.digests, record.op == "race")
