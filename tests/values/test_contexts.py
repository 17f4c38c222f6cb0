"""Our canonical JSON is RFC 8785's, whichever way it was written."""

from __future__ import annotations

import json
import math
from enum import IntEnum, StrEnum
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from pmll_async import InvalidContextError
from pmll_async.values.contexts import (
    MAX_BYTES,
    FrozenDict,
    FrozenList,
    StampedContext,
    canonical_number,
    canonical_string,
    decode_context,
    encode_at_once,
    encode_context,
    encode_in_steps,
    freeze,
    is_canonical,
    parse_json,
    reencode_context,
    stamp,
    thaw,
)

MOST = 2**53 - 1
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = texts.filter(lambda name: name != "pmll")
integers = st.integers(-MOST, MOST)
floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | integers | floats | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
contexts = st.dictionaries(names, values, max_size=6)


@given(contexts)
@example({"é": 1, "e": 2, "€": 3, "😀": 4, "\uffff": 5})
@example({"a": {"😀": 1, "\uffff": 2}})
@example({"\u2028": '\u2029\x7f\x00\x1f\\"/'})
def test_contexts(context: dict[str, Any]) -> None:
    assert encode_context(context) == rfc8785.dumps(context)


@given(contexts)
@example({"x": 1e16})
@example({"x": [2.0**53, -(2.0**53), 1e20, 123456789012345680000.0]})
@example({"x": 5e-324, "y": 1.7976931348623157e308, "z": -0.0})
def test_contexts_come_back(context: dict[str, Any]) -> None:
    encoded = encode_context(context)
    decoded = decode_context(encoded)
    assert decoded == context
    assert encode_context(StampedContext(decoded)) == encoded
    assert is_canonical(encoded)


@given(contexts, st.data())
def test_other_texts_are_told_as_writing_them_again_tells(
    context: dict[str, Any], data: st.DataObject
) -> None:
    """Changed by a letter, or written by another encoder."""
    other = bytearray(encode_context(context))
    if data.draw(st.booleans()):
        other = bytearray(json.dumps(context, separators=(",", ":")).encode())
    else:
        letters = st.sampled_from(b'0123456789.eE+-"\\u/,:{}[] \x7f\x80')
        other[data.draw(st.integers(1, len(other) - 1))] = data.draw(letters)
    try:
        value = parse_json(bytes(other))
        expected = isinstance(value, dict) and reencode_context(value) == other
    except (ValueError, RecursionError):
        expected = False
    try:
        assert is_canonical(bytes(other)) is expected
    except ValueError:
        assert not expected


@given(st.one_of(floats, st.integers(-MOST, MOST)))
@example(-0.0)
@example(1e-4)
@example(9.999999999999999e-5)
@example(1e15)
@example(999999999999999.9)
@example(1e21)
@example(0.1)
def test_numbers(number: float) -> None:
    assert canonical_number(number).encode() == rfc8785.dumps(number)


@given(texts)
def test_strings(text: str) -> None:
    assert canonical_string(text).encode() == rfc8785.dumps(text)


@given(contexts, st.randoms())
def test_the_order_of_keys_changes_nothing(context: dict[str, Any], random: Any) -> None:
    items = list(context.items())
    random.shuffle(items)
    assert encode_context(dict(items)) == encode_context(context)


@given(values)
def test_freezing(value: Any) -> None:
    frozen = freeze(value)
    assert frozen == value
    assert thaw(frozen) == value
    assert json.dumps(frozen) == json.dumps(value)
    assert freeze(frozen) == frozen


def test_frozen_values_refuse_changes() -> None:
    frozen = decode_context(b'{"a":[1,{"b":2}]}')
    assert isinstance(frozen, FrozenDict)
    assert isinstance(frozen["a"], FrozenList)
    changes = [
        lambda: frozen.update(a=1),
        lambda: frozen.pop("a"),
        lambda: frozen["a"].append(1),
        frozen["a"].sort,
        frozen["a"][1].clear,
        lambda: frozen["a"][1].__setitem__("b", 3),
        lambda: frozen["a"].__iadd__([1]),
        lambda: frozen.__ior__({}),
    ]
    for change in changes:
        with pytest.raises(TypeError, match="immutable"):
            change()


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


def test_subclasses_are_stored_as_what_they_are() -> None:
    assert encode_context({"a": Colour.RED, Colour.RED: Level.HIGH}) == b'{"a":"red","red":3}'


def nested(depth: int) -> Any:
    """An array that is `depth` arrays deep."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


REFUSED = {
    "NaN": ({"a": {"b": [0, math.nan]}}, "a.b[1]"),
    "infinity": ({"a": math.inf}, "a"),
    "a large integer": ({"a": 2**53 + 1}, "a"),
    "a small integer": ({"a": -(2**53) - 1}, "a"),
    "a huge integer": ({"a": 10**400}, "a"),
    "bytes": ({"a": b"x"}, "a"),
    "a set": ({"a": {1}}, "a"),
    "an object": ({"a": object()}, "a"),
    "a number as a key": ({"a": {1: 2}}, "a.1"),
    "a lone surrogate": ({"a": "\ud800"}, "a"),
    "a lone surrogate in a key": ({"\udfff": 1}, "\udfff"),
    "nesting": ({"a": nested(64)}, "a" + "[0]" * 63),
    "our key": ({"pmll": 1}, "pmll"),
    "no mapping": ([("a", 1)], ""),
    "an empty list": ([], ""),
    "a false": (False, ""),
}


@pytest.mark.parametrize(("context", "path"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(context: Any, path: str) -> None:
    with pytest.raises(InvalidContextError) as caught:
        encode_context(context)
    assert caught.value.path == path


def test_the_largest_integers() -> None:
    assert (
        encode_context({"a": MOST, "b": -MOST}) == b'{"a":9007199254740991,"b":-9007199254740991}'
    )


@pytest.mark.parametrize("number", [2**53, -(2**53)])
def test_two_to_the_53_is_treated_the_same_beside_anything(number: int) -> None:
    def outcome(context: dict[str, Any]) -> str:
        try:
            encode_context(context)
        except InvalidContextError:
            return "refused"
        return "stored"

    assert outcome({"a": number}) == outcome({"a": number, "b": 0.5})


def test_nesting_up_to_the_limit() -> None:
    assert encode_context({"a": nested(63)})
    with pytest.raises(InvalidContextError):
        encode_context({"a": nested(100_000)})


def test_size() -> None:
    around = len(b'{"a":""}')
    assert len(encode_context({"a": "x" * (1000 - around)}, max_bytes=1000)) == 1000
    with pytest.raises(InvalidContextError):
        encode_context({"a": "x" * (1001 - around)}, max_bytes=1000)
    with pytest.raises(InvalidContextError):
        encode_context({"a": "é" * 500}, max_bytes=1000)


def test_nothing_and_empty_are_the_same() -> None:
    assert encode_context(None) == encode_context({}) == encode_context(FrozenDict()) == b"{}"


def test_stamping() -> None:
    stamped = stamp({"a": 1}, {"run": "r1"})
    assert encode_context(stamped) == b'{"a":1,"pmll":{"run":"r1"}}'
    with pytest.raises(InvalidContextError):
        stamp({"pmll": 1}, {})


def test_what_is_small_is_one_step() -> None:
    """So that calls are committed in the order in which they were made, however long each took."""
    contexts = [{}, {"a": 1}, {"a": [1e-7, 1.0, {"😀": 1}]}, {"a": list(range(1000))}]
    for context in [*contexts, {"a": "x" * 100_000}, {f"{n}": n for n in range(500)}]:
        assert list(encode_in_steps(context)) == []


def test_most_contexts_are_written_at_once() -> None:
    context = {"topic": "a", "step": 3, "score": 0.25, "done": False, "none": None, "in": {"b": 1}}
    assert encode_at_once(context, MAX_BYTES) == rfc8785.dumps(context)
    assert encode_at_once(None, MAX_BYTES) == b"{}"
