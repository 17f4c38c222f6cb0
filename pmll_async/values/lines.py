"""The values that users hold: lines, candidates and the outcome of a race."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    SkipValidation,
    ValidationError,
)

from pmll_async.errors import InvalidInputError
from pmll_async.values.concert import Concert, Float32
from pmll_async.values.contexts import (
    MAX_BYTES,
    FrozenDict,
    check_context,
    decode_context,
    reencode_context,
)
from pmll_async.values.moments import optional_moment
from pmll_async.values.vectors import finite_norm, to_key, to_vector

Kind = Literal["line", "note", "branch"]


def _load_vector(values: ArrayLike) -> Float32:
    return to_vector(values, "vector", None)


def _load_key(values: ArrayLike) -> Float32:
    return to_key(values, "key", None)[0]


def _load_value(values: ArrayLike | None) -> Float32 | None:
    if values is None:
        return None
    vector = to_vector(values, "value", None)
    finite_norm(vector, "value")
    return vector


def _load_timestamp(value: Any) -> float | None:
    return optional_moment(value, "timestamp")


def _load_context(context: Any) -> FrozenDict:
    return decode_context(reencode_context(context))


_LIST: Final = PlainSerializer(lambda vector: vector.tolist(), return_type=list[float])
_OBJECT: Final = PlainSerializer(dict, return_type=dict[str, Any])
Vector = Annotated[SkipValidation[Float32], BeforeValidator(_load_vector), _LIST]
GivenKey = Annotated[SkipValidation[Float32], BeforeValidator(_load_key), _LIST]
GivenValue = Annotated[
    SkipValidation[Float32 | None],
    BeforeValidator(_load_value),
    PlainSerializer(lambda vector: None if vector is None else vector.tolist()),
]
Context = Annotated[SkipValidation[Mapping[str, Any]], BeforeValidator(_load_context), _OBJECT]
GivenContext = Annotated[SkipValidation[Mapping[str, Any]], BeforeValidator(check_context), _OBJECT]


class _Value(BaseModel):
    """Frozen; equality and hash go by a digest of the content."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", defer_build=True, arbitrary_types_allowed=True
    )

    @property
    def content_digest(self) -> bytes:
        """32 bytes that are equal for equal values."""
        return blake2b(_part_bytes(self), digest_size=32).digest()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.content_digest == other.content_digest

    def __hash__(self) -> int:
        return hash(self.content_digest)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        # Pickle loses that an array may not be written to.
        for part in self.__dict__.values():
            if isinstance(part, np.ndarray):
                part.flags.writeable = False


def _part_bytes(part: Any) -> bytes:
    if isinstance(part, np.ndarray):
        return b"v" + part.tobytes()
    if isinstance(part, _Value):
        fields = type(part).model_fields
        return type(part).__name__.encode() + _joined(getattr(part, name) for name in fields)
    if isinstance(part, tuple):
        return b"t" + _joined(part)
    if isinstance(part, Mapping):
        return b"c" + reencode_context(part)
    return repr(part).encode()


def _joined(parts: Iterable[Any]) -> bytes:
    # With their lengths before them, no two sequences of parts are the same bytes.
    encoded = [_part_bytes(part) for part in parts]
    return b"".join(len(part).to_bytes(8, "little") + part for part in encoded)


class MemoryLine(_Value):
    """One memory, as stored (`get`, `rewind`) or as a query sees it.

    `key` (dim,) and `value` (value_dim,) are read-only float32, empty in a note. `timestamp` and
    `committed_at` are seconds since the epoch. `position` is None off the chain. In a stored line
    `similarity` is the largest cosine at commit and `recency` is that of the commit; in a query's
    result `similarity` is the cosine to the query, and `recency` and `weight` are of its `now`.
    `forgotten`: no query returns it any more, whatever its strength.
    """

    anchor: str
    prev_anchor: str
    kind: Kind
    position: int | None
    key: Vector
    value: Vector
    context: Context
    timestamp: float
    committed_at: float
    recency: float
    novelty: float
    similarity: float
    strength: float
    weight: float
    forgotten: bool = False

    @classmethod
    def trusted(cls, fields: dict[str, Any]) -> MemoryLine:
        """A line of all its fields, unchecked: for what was checked when it was stored."""
        line = cls.__new__(cls)
        put = object.__setattr__
        put(line, "__dict__", fields)
        put(line, "__pydantic_fields_set__", set(fields))
        put(line, "__pydantic_extra__", None)
        put(line, "__pydantic_private__", None)
        return line

    def __repr__(self) -> str:
        return (
            f"MemoryLine({self.kind} {self.anchor}, position={self.position}, "
            f"weight={self.weight:.4f}, strength={self.strength:g}, context={dict(self.context)!r})"
        )

    __str__ = __repr__


class Candidate(_Value):
    """A proposed line: `key` (dim,), `value` (value_dim,) or the key when left out.

    `confidence` scores it in a race without a judge; `name` shows in the outcome; `revises` names
    lines that it replaces; `idempotency_key` is for `put_many` (a race has its own). Raises
    `InvalidVectorError` or `InvalidContextError` for what can be no line in any lattice. A context
    is checked and copied at once: one of 200 kB takes 10 ms, which `put` spreads over turns.
    """

    key: GivenKey
    value: GivenValue = None
    context: GivenContext = FrozenDict()
    timestamp: Annotated[float | None, BeforeValidator(_load_timestamp)] = None
    confidence: float = 1.0
    revises: tuple[str, ...] = ()
    idempotency_key: str | None = None
    name: str = ""

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as exc:
            raise _own_error(exc) from exc


def _own_error(error: ValidationError) -> Exception:
    for detail in error.errors():
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, InvalidInputError):
            return cause
    return error


class CandidateFailure(_Value):
    """A candidate that raised or returned what can be no line: `error` is the exception's class."""

    name: str
    error: str
    message: str

    def __str__(self) -> str:
        return f"{self.name}: {self.error}: {self.message}"


class CandidateScore(_Value):
    """What a finished candidate scored, and the anchor that its content has in this race."""

    name: str
    score: float
    anchor: str


class RaceOutcome(_Value):
    """Who won a race, who lost, who failed; `scores` in entry order, `losers` best first.

    `revised` are the anchors of the lines that the winner replaces, whose strength was halved.
    """

    winner: MemoryLine
    losers: tuple[MemoryLine, ...]
    failures: tuple[CandidateFailure, ...]
    unfinished: tuple[str, ...]
    scores: tuple[CandidateScore, ...]
    revised: tuple[str, ...] = ()


MOST_IN_A_BATCH: Final = 4096
"""The lines of a batch are compared with each other: so many make 64 MiB of cosines."""


class Limits(BaseModel):
    """Bounds that keep one lattice from eating its process.

    `context_bytes`: the largest canonical context. `batch_records` and `batch_bytes`: the most that
    one write and fdatasync takes. `cached_lines`: how many lines read from the store are kept, as
    long as they take about `cached_bytes` together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    context_bytes: int = MAX_BYTES
    batch_records: int = 256
    batch_bytes: int = 8 * 1024 * 1024
    cached_lines: int = 4096
    cached_bytes: int = 64 * 1024 * 1024

    def model_post_init(self, _: object) -> None:
        """Refuse bounds that let nothing through."""
        least = {"context_bytes": 2, "batch_records": 1, "batch_bytes": 1}
        least |= {"cached_lines": 0, "cached_bytes": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise InvalidInputError(f"{name} must be {bound} or more")
        if self.batch_records > MOST_IN_A_BATCH:
            raise InvalidInputError(f"batch_records must be {MOST_IN_A_BATCH} or less")


def build_models() -> None:
    """Build what pydantic has put off until first use; blocks.

    It looks for plugins in the file system and takes some 20 ms, which no event loop should.
    """
    for model in (MemoryLine, Candidate, RaceOutcome, Limits, Concert):
        model.model_rebuild()
