"""The quick way to canonical bytes says what the exact way says, errors included."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from pmll_async import InvalidContextError
from pmll_async.values import canonical as canonical_parts
from pmll_async.values import contexts as canonical
from pmll_async.values.contexts import (
    MAX_BYTES,
    FrozenDict,
    FrozenList,
    StampedContext,
    _Checker,
    check_context,
    decode_context,
    encode_at_once,
    encode_context,
    encode_in_steps,
    parse_json,
    reencode_context,
)


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Named(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Other(Mapping[str, Any]):
    def __init__(self, held: dict[Any, Any]) -> None:
        self._held = held

    def __getitem__(self, key: str) -> Any:
        return self._held[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)


# Floats of every magnitude, most of them where a way of writing them ends.
magnitudes = st.builds(
    lambda sign, digits, power: sign * float(f"{digits}e{power}"),
    st.sampled_from([1, -1]),
    st.sampled_from(["1", "1.5", "9.999999999999999", "1.2345678901234567", "4.503599627370497"]),
    st.integers(-330, 300) | st.integers(-12, 25),
)
floats = st.floats() | magnitudes | st.sampled_from([-0.0, 0.0, 1.0, 2.0**53, -(2.0**53), 1e-4])
integers = st.integers() | st.sampled_from(
    [2**53 - 1, 2**53, 2**53 + 1, -(2**53), -(2**53) - 1, 10**15, 10**16]
)
letters = st.text(max_size=4) | st.text(
    st.sampled_from('a\x00\x1f"\\é\u2028\ud7ff\ue000\uffff😀'), max_size=3
)
surrogates = st.sampled_from(["\ud800", "a\udfff", "\ud83d\ude00"])
odd = st.sampled_from(
    [Colour.RED, Level.HIGH, Named("n"), np.float64(0.5), np.float64(3), np.int64(3), b"x", 1j]
) | st.builds(object)
scalars = st.none() | st.booleans() | integers | floats | letters | letters | surrogates | odd
# One key is the framework's, and hypothesis knows it from the sources.
keys = (
    letters | letters | letters | surrogates | st.sampled_from([Colour.RED, Named("n"), 3, None])
).filter(lambda key: key != "pmll")
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | letters | magnitudes,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(letters, inner, max_size=5),
    max_leaves=25,
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.lists(inner, max_size=3).map(FrozenList)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=3).map(FrozenDict)
        | st.dictionaries(keys, inner, max_size=3).map(Other)
        | st.dictionaries(keys, inner, max_size=3).map(MappingProxyType)
    ),
    max_leaves=12,
)


def outcome(encode: Any, *args: Any) -> tuple[str, Any]:
    try:
        return "bytes", encode(*args)
    except InvalidContextError as exc:
        return exc.path, exc.reason


def exactly(context: Mapping[str, Any]) -> bytes:
    return rfc8785.dumps(_Checker().mapping(context, "", 1))


SMALL = {"_AT_ONCE": 2, "_ONE_BY_ONE": 2, "_FEW": 1, "_SMALL": 1, "_SORTED_AT_ONCE": 2}


def both_sizes() -> Iterator[str]:
    """The sizes of steps as they are, and so small that everything is cut up.

    Drawing a context takes longer than writing it, so each is written in both.
    """
    yield "whole"
    with pytest.MonkeyPatch.context() as patch:
        for name, size in SMALL.items():
            patch.setattr(canonical_parts, name, size)
        patch.setattr(canonical, "_STEP_WORK", 0)
        yield "cut small"


@given(st.dictionaries(letters.filter("pmll".__ne__), plain, max_size=6))
def test_what_is_json(context: dict[str, Any]) -> None:
    expected = rfc8785.dumps(context)
    for size in both_sizes():
        assert encode_context(context) == expected, size
        assert reencode_context(context) == expected, size
        assert decode_context(expected) == context, size


@given(st.dictionaries(keys, anything, max_size=5) | st.none(), st.sampled_from([40, MAX_BYTES]))
@example({"topic": "a", "step": 3, "deep": {"b": None, "a": 0.5}}, MAX_BYTES)
@example({"a": "x" * 40}, 40)
@example({"pmll": 1}, MAX_BYTES)
def test_what_is_written_at_once_is_what_is_written(
    context: dict[Any, Any] | None, most: int
) -> None:
    for size in both_sizes():
        encoded = encode_at_once(context, most)
        if encoded is not None:
            assert encoded == encode_context(context, most), size


@given(st.dictionaries(keys, anything, max_size=5))
@example({"😀": 2**60})
@example({"😀": object()})
@example({"a": [1e-7, 2**60]})
@example({"a": [{"b": [0.5, float("nan")]}, 1e-7, {"😀": 1, "\uffff": 2}]})
@example({"a": {3: 4}})
@example({"a": [1e-7, "\ud800"]})
def test_what_may_be_none(context: dict[Any, Any]) -> None:
    expected = outcome(exactly, context)
    for size in both_sizes():
        assert outcome(encode_context, context) == expected, size


def told(value: Any) -> Any:
    """A value with the type of each part and the order of its keys, which `==` does not look at."""
    if isinstance(value, dict):
        return type(value), [(key, told(item)) for key, item in value.items()]
    if isinstance(value, list):
        return type(value), [told(item) for item in value]
    return type(value), repr(value)


@given(
    st.dictionaries(letters.filter("pmll".__ne__), plain, max_size=6)
    | st.dictionaries(keys, anything, max_size=5)
    | st.lists(floats, min_size=32, max_size=40).map(lambda numbers: {"v": numbers})
)
@example({"b": [1.0, -0.0, 2.0**53, -(2.0**53), 1e300, np.float64(0.5)] * 6, "a": (1.0,)})
@example({"é": "東京", "b": {"z": 1, "a": None}})
@example({"a": ["\ud800"]})
@example({"a": [{"\ud800": 1}]})
@example({"v": [float("nan")] * 40})
def test_what_is_shown_is_what_will_be_read(context: dict[Any, Any]) -> None:
    for size in both_sizes():
        found, expected = outcome(check_context, context), outcome(encode_context, context, 10**9)
        if expected[0] != "bytes":
            assert found == expected, size
            continue
        shown, encoded = found[1], expected[1]
        assert told(shown) == told(decode_context(encoded)), size
        assert shown.canonical in (encoded, None), size
        assert encode_context(shown, 10**9) == shown.canonical == encoded, size


@pytest.mark.parametrize("depth", [62, 63, 64, 65, 200])
@pytest.mark.parametrize("inner", [1, 1e-7, [], {}, {"😀": 1}])
def test_nesting(depth: int, inner: Any) -> None:
    for wrap in (lambda value: [value], lambda value: {"a": value}, lambda value: (1e-9, value)):
        value = inner
        for _ in range(depth):
            value = wrap(value)
        expected = outcome(exactly, {"a": value})
        for size in both_sizes():
            assert outcome(encode_context, {"a": value}) == expected, size


LARGE: dict[str, Callable[[random.Random], Any]] = {
    "floats": lambda numbers: [numbers.gauss(0, 1) for _ in range(10_000)],
    "integers": lambda _: [number % 10 for number in range(50_000)],
    "whole": lambda _: [float(number % 10) for number in range(10_000)],
    "mixed": lambda _: [number * 1e-6 if number % 3 else number for number in range(5_000)],
    "lists": lambda _: [[]] * 10_000,
    "objects": lambda _: [{"b": number, "a": "x"} for number in range(5_000)],
    "deep": lambda _: [[[[[number]]]] for number in range(3_000)],
    "keys": lambda numbers: {f"{numbers.getrandbits(20):x}": 1 for _ in range(10_000)},
    "astral": lambda _: {chr(0x1F600 + n % 64) + str(n): n for n in range(9_000)},
    "text": lambda _: "東京é😀" * 5_000,
}


def large(name: str) -> dict[str, Any]:
    return {"v": LARGE[name](random.Random(5))}


@pytest.mark.parametrize("name", LARGE)
def test_what_is_large_is_many_steps(name: str) -> None:
    context = large(name)
    steps = encode_in_steps(context, 10**9)
    count = sum(1 for _ in steps)
    assert count >= (0 if name == "text" else 4)
    assert encode_context(context, 10**9) == rfc8785.dumps(context)


@pytest.mark.parametrize("name", sorted(set(LARGE) - {"astral", "text"}))
def test_what_is_large_is_not_written_to_be_checked(name: str) -> None:
    context = large(name)
    shown = check_context(context)
    assert shown.canonical is None
    assert told(shown) == told(decode_context(rfc8785.dumps(context)))


def test_integers_that_only_a_float_can_have_been() -> None:
    for text in ("9007199254740992", "-9007199254740993", "1" + "0" * 20, "1" * 400):
        found = parse_json(f'{{"a":[{text}]}}'.encode())["a"][0]
        assert type(found) is float
        assert found == parse_json(f'{{"a":[{text}]}}')["a"][0] == float(text)
    assert type(parse_json(b'{"a":9007199254740991,"b":"1234567890123456"}')["a"]) is int


def test_bytes_that_are_known_are_not_made_again() -> None:
    context = StampedContext({"a": 1, "pmll": {"run": "r"}})
    context.canonical = b"known"
    assert encode_context(context) == reencode_context(context) == b"known"
    with pytest.raises(InvalidContextError, match="5 bytes are over the limit of 4"):
        encode_context(context, 4)
