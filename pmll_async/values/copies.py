"""A frozen copy of a context: what decoding its canonical bytes gives, without writing them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from pmll_async.values.canonical import (
    FLOATS,
    KINDS,
    MAX_INTEGER,
    MAX_NESTING,
    UnusualError,
    check_whole,
)
from pmll_async.values.frozen import ARRAYS, NESTED, OBJECTS, FrozenDict, FrozenList

# Fewer are faster one by one than as an array.
_MANY: Final = 32


def frozen_copy(context: Mapping[str, Any]) -> FrozenDict | None:
    """The copy; None where only the exact way can tell what it is, or why it is no JSON."""
    try:
        return FrozenDict(_members(context, 1))
    except (UnusualError, UnicodeEncodeError):
        return None


def _members(value: Mapping[str, Any], depth: int) -> Any:
    if type(value) not in OBJECTS or not set(map(type, value)) <= {str}:
        raise UnusualError
    names = sorted(value)
    if not "".join(names).isascii():
        # RFC 8785 sorts by UTF-16, which may be another order.
        raise UnusualError
    return zip(names, _items([value[name] for name in names], depth), strict=True)


def _items(values: list[Any], depth: int) -> list[Any]:
    """Neighbours, looked at together, which costs a tenth of a look at each."""
    kinds = set(map(type, values))
    if depth > MAX_NESTING or not kinds <= KINDS:
        raise UnusualError
    if str in kinds:
        # Encoding refuses half a surrogate pair; joined, it does so for all texts at once.
        "".join([item for item in values if type(item) is str]).encode()
    check_whole(values, kinds)
    if not kinds.isdisjoint(FLOATS):
        values = _numbers(values, kinds)
    if not kinds.isdisjoint(NESTED):
        values = [_nested(item, depth + 1) if type(item) in NESTED else item for item in values]
    return values


def _nested(value: Any, depth: int) -> Any:
    if not value and depth <= MAX_NESTING:
        return FrozenList() if type(value) in ARRAYS else FrozenDict()
    if type(value) in ARRAYS:
        return FrozenList(_items(list(value), depth))
    return FrozenDict(_members(value, depth))


def _numbers(values: list[Any], kinds: set[type]) -> list[Any]:
    if len(values) < _MANY or not kinds <= FLOATS:
        return [_number(float(item)) if type(item) in FLOATS else item for item in values]
    numbers = np.array(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise UnusualError
    found: list[Any] = numbers.tolist()
    for i in np.flatnonzero((np.trunc(numbers) == numbers) & (np.abs(numbers) < MAX_INTEGER)):
        found[i] = int(found[i])
    return found


def _number(value: float) -> float | int:
    if value - value != 0.0:
        raise UnusualError
    # Whole numbers are written, and so read back, without a point.
    return int(value) if value % 1 == 0.0 and -MAX_INTEGER < value < MAX_INTEGER else value
