"""Canonical parts: RFC 8785 text by Python's C encoder, wherever that provably writes the same.

A step at a time, for an event loop that others have turns on: a large value is cut up.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import chain
from json.encoder import encode_basestring
from types import NoneType
from typing import Any, Final, NamedTuple

import numpy as np
import rfc8785

from pmll_async.values.frozen import ARRAYS, NESTED, OBJECTS

MAX_NESTING: Final = 64
MAX_INTEGER: Final = 2**53
_AT_ONCE: Final = 1024
"""So many values are written in one step: a third of a millisecond, where all are floats."""
# Cutting a run in halves costs a look at each; below this, writing the items costs less.
_ONE_BY_ONE: Final = 256
_FEW: Final = 8
# Below this a loop in Python is faster than setting up a look at all, or an array.
_SMALL: Final = 32
# About a millisecond of sorting, in which no other thread or task has a turn.
_SORTED_AT_ONCE: Final = 4096
FLOATS: Final[frozenset[type]] = frozenset({float, np.float64})
KINDS: Final = NESTED | FLOATS | {str, int, bool, NoneType}
# RFC 8785 sorts by UTF-16, in which what is above U+FFFF comes before U+E000.
ABOVE: Final = re.compile(r"[\ud800-\U0010ffff]")

_NAMES: Final = {None: "null", True: "true", False: "false"}

encode_plain: Final = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False
).encode
"""A value by the C encoder: canonical, unless numbers or rare characters in keys are not."""


class UnusualError(Exception):
    """Something that needs the slower, exact way: it is no JSON, or of a type of its own."""


def canonical_number(number: float) -> str:
    """One number as RFC 8785 writes it."""
    if 1e-4 <= number < 1e15 and number % 1:
        return repr(number)
    if -MAX_INTEGER < number < MAX_INTEGER and not number % 1:
        return str(int(number))
    return rfc8785.dumps(number).decode()


canonical_string: Final[Callable[[str], str]] = encode_basestring
"""One string, with its quotes, as RFC 8785 writes it."""


class _Neighbours(NamedTuple):
    """Neighbours in an array, or keys of the object `source`, at a depth."""

    items: Sequence[Any]
    depth: int
    source: Mapping[str, Any] | None = None


def canonical_parts(context: Any) -> Iterator[str]:
    """The text in parts, each made in one step, some empty; `UnusualError` where it cannot tell.

    A lone surrogate goes through: encoding the text refuses it.
    """
    text = small_text(context, 1) or _at_once(context, 1)
    if text is not None:
        yield text
        return
    todo: list[str | _Neighbours] = [*_opened(context, (yield from _sorted_keys(context)), 1)]
    while todo:
        run = todo.pop()
        if isinstance(run, str):
            yield run
            continue
        text = None if len(run.items) > _AT_ONCE else _at_once(_whole(run), run.depth)
        if text is not None:
            yield text[1:-1]
        elif len(run.items) > _ONE_BY_ONE or (len(run.items) > _FEW and not _is_flat(run)):
            half = len(run.items) // 2
            later, sooner = run.items[half:], run.items[:half]
            todo += [run._replace(items=later), ",", run._replace(items=sooner)]
        elif len(run.items) > 1 or _is_flat(run):
            todo += _one_by_one(run)
        else:
            [value] = run.items if run.source is None else [run.source[run.items[0]]]
            if run.source is not None:
                yield f"{canonical_string(run.items[0])}:"
            keys = (yield from _sorted_keys(value)) if type(value) in OBJECTS else None
            todo += _opened(value, keys, run.depth + 1)


def _is_flat(run: _Neighbours) -> bool:
    values = run.items if run.source is None else map(run.source.__getitem__, run.items)
    return NESTED.isdisjoint(map(type, values))


def _whole(run: _Neighbours) -> Any:
    return run.items if run.source is None else {key: run.source[key] for key in run.items}


def _one_by_one(run: _Neighbours) -> list[str | _Neighbours]:
    """The items, or the members, from the last to the first, with commas between them."""
    texts: list[str | _Neighbours] = []
    for item in run.items:
        value = item if run.source is None else run.source[item]
        name = "" if run.source is None else f"{canonical_string(item)}:"
        if type(value) in NESTED:
            texts += [f",{name}", _Neighbours([value], run.depth)]
        else:
            texts.append(f",{name}{_leaf(value)}")
    first = str(texts[0])[1:]
    if len(texts) == len(run.items):
        return [first + "".join(map(str, texts[1:]))]
    return [*texts[:0:-1], first]


def _opened(value: Any, keys: list[str] | None, depth: int) -> tuple[str | _Neighbours, ...]:
    """The end, the inside and the beginning of an object or an array."""
    if keys is None:
        return "]", _Neighbours(list(value), depth), "["
    return "}", _Neighbours(keys, depth, value), "{"


def _sorted_keys(value: Mapping[Any, Any]) -> Generator[str, None, list[str]]:
    """The keys as RFC 8785 sorts them; yields nothing, between the steps."""
    keys: list[Any] = list(value)
    if not set(map(type, keys)) <= {str}:
        raise UnusualError
    by_utf16 = bool(ABOVE.search("".join(keys)))
    if len(keys) <= _SORTED_AT_ONCE:
        return sorted(keys, key=_to_utf16 if by_utf16 else None)
    yield ""
    for part in _slices(keys):
        keys[part] = sorted(map(_to_utf16, keys[part]) if by_utf16 else keys[part])
        yield ""
    # What is sorted in parts needs few comparisons more.
    keys.sort()
    yield ""
    if by_utf16:
        for part in _slices(keys):
            keys[part] = map(_of_utf16, keys[part])
            yield ""
    return keys


def _slices(keys: list[Any]) -> Iterator[slice]:
    return (slice(first, first + _SORTED_AT_ONCE) for first in range(0, len(keys), _SORTED_AT_ONCE))


def _leaf(value: Any) -> str:
    kind = type(value)
    if kind in FLOATS:
        if not math.isfinite(value):
            raise UnusualError
        return canonical_number(float(value))
    _check_kinds({kind})
    if kind is int and not -MAX_INTEGER < value < MAX_INTEGER:
        raise UnusualError
    return encode_plain(value)


def small_text(value: Any, depth: int = 1) -> str | None:
    """The text of what most contexts are: ASCII names, texts, flags, whole numbers, objects.

    None for anything else. A context is written by this at every put: a general encoder takes
    three times as long for a few fields.
    """
    if type(value) not in OBJECTS or len(value) > _SMALL or depth > MAX_NESTING:
        return None
    parts = []
    for key, item in value.items():
        # The very type, since a subclass may print or compare in its own way.
        if type(key) is not str or not key.isascii():
            return None
        kind = type(item)
        if kind is str:
            text = encode_basestring(item)
        elif kind is int:
            if not -MAX_INTEGER < item < MAX_INTEGER:
                return None
            text = str(item)
        elif kind is bool or item is None:
            text = _NAMES[item]
        elif kind is float:
            if not (1e-4 <= item < 1e15 and item % 1):
                return None
            text = repr(item)
        else:
            nested = small_text(item, depth + 1)
            if nested is None:
                return None
            text = nested
        parts.append((key, text))
    parts.sort()
    return "{" + ",".join([f"{encode_basestring(key)}:{text}" for key, text in parts]) + "}"


def _at_once(value: Any, depth: int) -> str | None:
    """The text by the C encoder; None if it would write another, or be long at it.

    Looks at all values of one depth together, which costs a tenth of a look at each.
    """
    level, left = [value], _AT_ONCE
    while True:
        kinds = set(map(type, level))
        _check_kinds(kinds)
        if not _writes_numbers(level, kinds):
            return None
        nested = [] if kinds.isdisjoint(NESTED) else [v for v in level if type(v) in NESTED]
        if not nested:
            return encode_plain(value)
        left -= sum(map(len, nested))
        if left < 0:
            return None
        if depth > MAX_NESTING:
            raise UnusualError
        depth += 1
        # C sorts keys by code point, which is the order of RFC 8785 but for rare characters.
        objects = [v for v in nested if type(v) in OBJECTS]
        if not _sorts_keys(objects):
            return None
        arrays = (v for v in nested if type(v) in ARRAYS)
        level = [*chain.from_iterable(arrays), *chain.from_iterable(map(dict.values, objects))]


def _check_kinds(kinds: set[type]) -> None:
    if not all(issubclass(kind, str) for kind in kinds - KINDS):
        raise UnusualError


def check_whole(values: list[Any], kinds: set[type]) -> None:
    """`UnusualError` where one of the whole numbers loses digits in JSON."""
    if int in kinds:
        whole = [value for value in values if type(value) is int]
        if max(whole) >= MAX_INTEGER or min(whole) <= -MAX_INTEGER:
            raise UnusualError


def _writes_numbers(level: list[Any], kinds: set[type]) -> bool:
    """Whether the C encoder writes all numbers among them as RFC 8785 does."""
    check_whole(level, kinds)
    if kinds.isdisjoint(FLOATS):
        return True
    floats = [v for v in level if type(v) in FLOATS]
    if len(floats) < _SMALL:
        return all(1e-4 <= abs(v) < 1e15 and v % 1 for v in floats)
    sizes = np.abs(np.array(floats, dtype=np.float64))
    return bool(((sizes >= 1e-4) & (sizes < 1e15) & (np.trunc(sizes) != sizes)).all())


def _sorts_keys(objects: list[Any]) -> bool:
    """Whether the C encoder sorts the keys of all objects as RFC 8785 does."""
    keys = list(chain.from_iterable(objects))
    if not set(map(type, keys)) <= {str}:
        raise UnusualError
    return not ABOVE.search("".join(keys))


def _to_utf16(text: str) -> bytes:
    return text.encode("utf-16-be")


def _of_utf16(encoded: bytes) -> str:
    return encoded.decode("utf-16-be")
