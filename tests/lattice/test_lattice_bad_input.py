"""What can be no line is refused before any I/O, with the error that says what to change."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from enum import Enum
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from lattice_support import DIM, SpyStore, axis, near, proposing, topics
from numpy.typing import ArrayLike

from pmll_async import (
    Candidate,
    ConflictError,
    DimensionMismatchError,
    InvalidContextError,
    InvalidFilterError,
    InvalidVectorError,
    Lattice,
    LatticeView,
    NoWinnerError,
    PmllError,
    StaleAnchorError,
)
from pmll_async.protocols import Clock


def with_one(odd: float) -> list[float]:
    return [1.0] * (DIM - 1) + [odd]


NO_DIRECTION: dict[str, ArrayLike] = {
    "zero": [0.0] * DIM,
    "minus zero": [-0.0] * DIM,
    "zero in float32": [1e-50] * DIM,
}
NO_NUMBERS: dict[str, Any] = {
    "nan": with_one(math.nan),
    "inf": with_one(math.inf),
    "minus inf": with_one(-math.inf),
    "nan float16": np.full(DIM, np.nan, dtype=np.float16),
    "beyond float32": with_one(1e39),
    "beyond float64": with_one(10**400),
    "scalar": 1.0,
    "matrix": np.ones((1, DIM)),
    "column": np.ones((DIM, 1)),
    "ragged": [[1.0], [1.0, 2.0]],
    "object": np.array([Fraction(1, 2)] * DIM),
    "strings": ["1"] * DIM,
    "bytes": b"12345678",
    "text": "12345678",
    "bool": [True] * DIM,
    "complex": np.ones(DIM, dtype=np.complex64),
    "dates": np.zeros(DIM, dtype="datetime64[s]"),
    "structured": np.zeros(DIM, dtype=[("x", "f4")]),
    "mapping": {0: 1.0},
    "generator": (1.0 for _ in range(DIM)),
    "nothing": [None] * DIM,
}
BAD_VECTORS = NO_NUMBERS | NO_DIRECTION


async def refused(
    lattice: Lattice, store: SpyStore, call: Callable[[], Awaitable[object]], error: type[Exception]
) -> Any:
    """The error, once it is seen that the store was asked for nothing."""
    calls, revision, digest = list(store.calls), lattice.revision, lattice.digest
    with pytest.raises(error) as caught:
        await call()
    assert isinstance(caught.value, PmllError)
    assert (store.calls, lattice.revision, lattice.digest) == (calls, revision, digest)
    return caught.value


@pytest.mark.parametrize("vector", BAD_VECTORS.values(), ids=BAD_VECTORS)
async def test_a_key_without_direction_is_refused(
    lattice: Lattice, store: SpyStore, vector: Any
) -> None:
    async with lattice:
        error = await refused(lattice, store, lambda: lattice.put(vector), InvalidVectorError)
        assert isinstance(error, ValueError)
        assert error.what == "key"
        await refused(lattice, store, lambda: lattice.query(vector), InvalidVectorError)
        await refused(lattice, store, lambda: lattice.bias_vector(vector), InvalidVectorError)
        race = proposing(Candidate(key=axis(0)))
        await refused(lattice, store, lambda: lattice.race([race], query=vector), ValueError)


@pytest.mark.parametrize("vector", NO_NUMBERS.values(), ids=NO_NUMBERS)
async def test_a_value_that_is_no_vector_is_refused(
    lattice: Lattice, store: SpyStore, vector: Any
) -> None:
    async with lattice:
        error = await refused(
            lattice, store, lambda: lattice.put(axis(0), vector), InvalidVectorError
        )
        assert error.what == "value"


@pytest.mark.parametrize("length", [0, 1, DIM - 1, DIM + 1])
async def test_another_dimension_is_refused_by_name(
    lattice: Lattice, store: SpyStore, length: int
) -> None:
    short = np.ones(length)
    async with lattice:
        for call in (lambda: lattice.put(short), lambda: lattice.query(short)):
            error = await refused(lattice, store, call, DimensionMismatchError)
            assert (error.expected, error.actual) == (DIM, length)
            assert str(DIM) in str(error)
            assert str(length) in str(error)


def converted() -> dict[str, Any]:
    plain = np.arange(1, DIM + 1, dtype=np.float32)
    padded = np.zeros(2 * DIM, dtype=np.float32)
    padded[::2] = plain
    return {
        "list": plain.tolist(),
        "tuple": tuple(plain.tolist()),
        "ints": list(range(1, DIM + 1)),
        "int8": plain.astype(np.int8),
        "uint64": plain.astype(np.uint64),
        "float16": plain.astype(np.float16),
        "float64": plain.astype(np.float64),
        "longdouble": plain.astype(np.longdouble),
        "big-endian float32": plain.astype(">f4"),
        "big-endian float64": plain.astype(">f8"),
        "big-endian int32": plain.astype(">i4"),
        "strided": padded[::2],
        "reversed twice": plain[::-1].copy()[::-1],
        "column of a matrix": np.stack([plain, plain], axis=1)[:, 0],
        "read-only": np.frombuffer(plain.tobytes(), dtype=np.float32),
    }


@pytest.mark.parametrize("kind", converted())
async def test_other_arrays_are_converted_to_the_same_anchor(
    lattice: Lattice, clock: Clock, kind: str
) -> None:
    async with lattice:
        plain = await lattice.put(np.arange(1, DIM + 1, dtype=np.float32))
        await lattice.rollback(0)
        assert await lattice.put(converted()[kind]) == plain
        assert (await lattice.get(plain)).key.tolist() == list(range(1, DIM + 1))


async def test_minus_zero_is_zero(lattice: Lattice) -> None:
    async with lattice:
        plain = await lattice.put(axis(0))
        await lattice.rollback(0)
        assert await lattice.put([1.0] + [-0.0] * (DIM - 1)) == plain


async def test_the_callers_array_is_neither_kept_nor_changed(lattice: Lattice) -> None:
    key = with_minus_zero = np.array([1.0] + [-0.0] * (DIM - 1), dtype=np.float32)
    async with lattice:
        waiting = asyncio.create_task(lattice.put(key))
        await asyncio.sleep(0)
        assert np.signbit(with_minus_zero[1])
        key[:] = 5.0
        line = await lattice.get(await waiting)
        assert line.key.tolist() == axis(0).tolist()


@pytest.mark.parametrize("scale", [3e38, 1e-40, 1e-45])
async def test_extreme_magnitudes_rank_by_direction(lattice: Lattice, scale: float) -> None:
    async with lattice:
        for cosine in (0.2, 0.9, 0.5):
            await lattice.put(near(0, cosine), context={"topic": cosine})
        whole = await lattice.put(axis(0, scale), axis(1, scale), {"topic": "all of it"})
        for query in (axis(0), axis(0, 3e38), axis(0, 1e-40)):
            lines = await lattice.query(query, k=3)
            assert [line.context["topic"] for line in lines] == ["all of it", 0.9, 0.5]
            assert lines[0].similarity == pytest.approx(1.0)
        assert np.isfinite(await lattice.bias_vector(axis(0), k=4)).all()
        assert (await lattice.get(whole)).similarity == pytest.approx(0.9)


def nested(depth: int) -> dict[str, Any]:
    inside: Any = 1
    for number in range(depth):
        inside = {"a": inside} if number % 2 or number == depth - 1 else [inside]
    return {"a": inside} if not isinstance(inside, dict) else inside


class Colour(Enum):
    RED = "red"


BAD_CONTEXTS: dict[str, tuple[Any, str]] = {
    "nan": ({"a": {"b": [1, math.nan]}}, "a.b[1]"),
    "inf": ({"a": math.inf}, "a"),
    "minus inf": ({"a": [-math.inf]}, "a[0]"),
    "big int": ({"a": 2**53 + 1}, "a"),
    "small int": ({"a": [0, -(2**53) - 1]}, "a[1]"),
    "surrogate": ({"a": {"b": "x\ud800"}}, "a.b"),
    "surrogate key": ({"a": {"\udfff": 1}}, "a.\udfff"),
    "int key": ({"a": {1: 2}}, "a.1"),
    "none key": ({None: 2}, "None"),
    "bytes": ({"a": b"x"}, "a"),
    "set": ({"a": {1}}, "a"),
    "numpy int": ({"a": np.int64(1)}, "a"),
    "array": ({"a": np.zeros(2)}, "a"),
    "enum": ({"a": Colour.RED}, "a"),
    "object": ({"a": object()}, "a"),
    "reserved": ({"pmll": {"run": "r"}}, "pmll"),
    "list": ([("a", 1)], ""),
    "empty list": ([], ""),
    "text": ("a", ""),
    "number": (3, ""),
}


@pytest.mark.parametrize(("context", "path"), BAD_CONTEXTS.values(), ids=BAD_CONTEXTS)
async def test_a_context_that_is_no_json_is_refused_with_its_place(
    lattice: Lattice, store: SpyStore, context: Any, path: str
) -> None:
    async with lattice:
        for call in (
            lambda: lattice.put(axis(0), None, context),
            lambda: lattice.note(context),
        ):
            error = await refused(lattice, store, call, InvalidContextError)
            assert isinstance(error, ValueError)
            assert error.path == path


async def test_a_context_may_be_64_deep_and_no_deeper(lattice: Lattice, store: SpyStore) -> None:
    loop: dict[str, Any] = {}
    loop["a"] = [loop]
    async with lattice:
        await lattice.note(nested(64))
        for context in (nested(65), loop, nested(5000)):
            await refused(lattice, store, lambda c=context: lattice.note(c), InvalidContextError)


async def test_a_context_may_have_256_kib_and_no_more(lattice: Lattice, store: SpyStore) -> None:
    room = 256 * 1024 - len('{"a":""}')
    async with lattice:
        await lattice.note({"a": "x" * room})
        for text in ("x" * (room + 1), "é" * (room // 2 + 1), '"' * room):
            await refused(
                lattice, store, lambda t=text: lattice.note({"a": t}), InvalidContextError
            )


@pytest.mark.parametrize("beside", [0, 0.5, "\U0001f600"])
async def test_integers_up_to_2_to_the_53_keep_their_digits(
    lattice: Lattice, beside: float | str
) -> None:
    context = {"a": 2**53 - 1, "b": -(2**53) + 1, "c": beside}
    async with lattice:
        anchor = await lattice.note(context)
        assert dict((await lattice.get(anchor)).context) == context


@pytest.mark.parametrize("beside", [0, 0.5])
@pytest.mark.parametrize("edge", [2**53, -(2**53)])
async def test_2_to_the_53_itself_is_stored_or_refused_but_never_a_foreign_error(
    lattice: Lattice, edge: int, beside: float
) -> None:
    stored = 0
    async with lattice:
        for context in ({"a": edge}, {"a": edge, "b": beside}):
            try:
                await lattice.note(context)
            except InvalidContextError:
                continue
            stored += 1
        assert stored in (0, 2), "one rule for every context"


BAD_FILTERS: list[dict[str, Any]] = [
    {"a": {"$near": 1}},
    {"$xor": []},
    {"a": {"$gte": None}},
    {"a": {"$in": "x"}},
    {"a": math.nan},
    {"$and": {}},
]


@pytest.mark.parametrize("where", BAD_FILTERS, ids=str)
async def test_an_unknown_filter_is_refused(
    lattice: Lattice, store: SpyStore, where: dict[str, Any]
) -> None:
    async with lattice:
        await lattice.put(axis(0))

        async def rewind() -> object:
            return [line async for line in lattice.rewind(where=where)]

        for call in (
            lambda: lattice.query(axis(0), where=where),
            lambda: lattice.bias_vector(axis(0), where=where),
            rewind,
        ):
            error = await refused(lattice, store, call, InvalidFilterError)
            assert isinstance(error, ValueError)


async def test_a_bad_candidate_of_a_race_is_a_failure_and_nothing_is_written(
    lattice: Lattice, store: SpyStore
) -> None:
    bad: list[dict[str, Any]] = [
        {"key": np.ones(DIM + 1)},
        {"key": np.zeros(DIM)},
        {"key": axis(0), "value": np.ones(3)},
        {"key": axis(0), "revises": ("no anchor",)},
        {"key": axis(0), "revises": ("0" * 16, "0" * 16)},
        {"key": axis(0), "idempotency_key": "k"},
        {"key": axis(0), "timestamp": math.nan},
    ]

    def racer(fields: dict[str, Any]) -> Callable[[LatticeView], Awaitable[Candidate]]:
        async def propose(view: LatticeView) -> Candidate:
            return Candidate(**fields)

        return propose

    async with lattice:
        error = await refused(
            lattice, store, lambda: lattice.race([racer(fields) for fields in bad]), NoWinnerError
        )
        assert len(error.failures) == len(bad)
        assert await topics(lattice) == []


async def test_a_reused_key_with_other_content_conflicts(lattice: Lattice) -> None:
    async with lattice:
        first = await lattice.put(axis(0), idempotency_key="k")
        assert await lattice.put(axis(0), idempotency_key="k", timestamp=3.0) == first
        for call in (
            lambda: lattice.put(axis(1), idempotency_key="k"),
            lambda: lattice.put(axis(0), axis(1), idempotency_key="k"),
            lambda: lattice.put(axis(0), None, {"a": 1}, idempotency_key="k"),
            lambda: lattice.note({}, idempotency_key="k"),
            lambda: lattice.race([proposing(Candidate(key=axis(0)))], idempotency_key="k"),
        ):
            with pytest.raises(ConflictError) as caught:
                await call()
            assert (caught.value.key, caught.value.anchor) == ("k", first)
        assert lattice.revision == 1


async def test_a_stale_head_is_named_with_the_current_one(lattice: Lattice) -> None:
    async with lattice:
        first = await lattice.put(axis(0), None, None, "0" * 16)
        second = await lattice.put(axis(1), None, None, first)
        for call in (
            lambda: lattice.put(axis(2), None, None, first),
            lambda: lattice.note({}, first),
            lambda: lattice.race([proposing(Candidate(key=axis(2)))], prev_anchor=first),
        ):
            with pytest.raises(StaleAnchorError) as caught:
                await call()
            assert (caught.value.given, caught.value.current) == (first, second)
        assert lattice.revision == 2
