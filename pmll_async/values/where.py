"""The `where` language: filters on a line's context, checked once and evaluated by column.

    {"topic": "recursion", "step": {"$gte": 3}, "$not": {"pmll.run": "r1"}}

The entries of a filter must all hold. A key is a field; its dots reach into objects (never into
arrays), so a context's own key "a.b", with a dot in it, cannot be named. What stands at a field is
a value, which means equality, or a mapping of operators, which must all hold:

    $eq $ne $in $nin      JSON equality: 1 is 1.0, true is not 1, an object's keys have no order
    $gt $gte $lt $lte     two numbers, or two strings by code point; no other operand is accepted
    $contains             a substring of a string, a member of an array, a key of an object
    $exists               true or false

Values of different JSON types never compare: they are unequal, and neither is the greater. A
missing field passes `$ne`, `$nin` and `$exists: false` alone. `$and` and `$or` take an array of
filters, `$not` one filter, at any depth; `$not` is the plain complement, so it holds for a missing
field wherever the filter under it does not. `{}` and `$and: []` match everything, `$or: []` and
`$in: []` nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType
from typing import Final

from pmll_async.errors import InvalidFilterError, InvalidInputError
from pmll_async.values.checks import lone_surrogate
from pmll_async.values.filters import (
    And,
    FieldPath,
    Filter,
    Happened,
    JsonValue,
    Not,
    Or,
    Test,
    kind_of,
)
from pmll_async.values.moments import Moment, moment

# As deep as a context may be. A filter of the user's could contain itself.
_MAX_DEPTH: Final = 64


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the user's mapping the parser is."""

    path: str = ""
    depth: int = 0

    def key(self, name: str) -> _Place:
        return _Place(f"{self.path}.{name}" if self.path else name, self.depth + 1)

    def item(self, index: int) -> _Place:
        return _Place(f"{self.path}[{index}]", self.depth + 1)

    def error(self, reason: str) -> InvalidFilterError:
        return InvalidFilterError(self.path, reason)


def parse(where: Mapping[str, JsonValue] | None) -> Filter | None:
    """Check a filter and compile it; None if it lets everything pass.

    The operands are copied, so that changing the mapping later changes nothing here.
    Raises `InvalidFilterError` with the path of the offence.
    """
    try:
        # Equal to what `{}` and `$and: []` come to.
        parsed = And(()) if where is None else _filter(where, _Place())
    except InvalidFilterError:
        raise
    # A mapping may be anybody's class: whatever it raises, it cannot be read.
    except Exception as exc:
        raise InvalidFilterError("", f"reading it raised {type(exc).__name__}") from exc
    return None if parsed == And(()) else parsed


def narrowed(
    where: Mapping[str, JsonValue] | None, since: Moment | None, until: Moment | None
) -> Filter | None:
    """`parse`, for lines from `since` on and before `until`, where these are given."""
    first = float("-inf") if since is None else moment(since, "since")
    stop = float("inf") if until is None else moment(until, "until")
    if first > stop:
        raise InvalidInputError(
            f"since is after until, so that nothing is between: {since}, {until}"
        )
    parsed = parse(where)
    if since is None and until is None:
        return parsed
    happened = Happened(first, stop)
    return happened if parsed is None else And((happened, parsed))


def _filter(where: object, place: _Place) -> Filter:
    return _all(_entry(name, value, at) for name, value, at in _members(where, place, "a filter"))


def _filters(where: object, place: _Place) -> tuple[Filter, ...]:
    return tuple(_filter(member, at) for member, at in _items(where, place, "an array of filters"))


def _all(parts: Iterable[Filter]) -> Filter:
    found = tuple(parts)
    return found[0] if len(found) == 1 else And(found)


def _entry(name: str, value: object, place: _Place) -> Filter:
    match name:
        case "$and":
            return And(_filters(value, place))
        case "$or":
            return Or(_filters(value, place))
        case "$not":
            return Not(_filter(value, place))
        case _ if name in _OPERANDS:
            raise place.error("this operator belongs under a field")
        case _ if name.startswith("$"):
            raise place.error("unknown operator; here may stand $and, $or and $not")
        case _:
            return _field(tuple(name.split(".")), value, place)


def _field(path: FieldPath, value: object, place: _Place) -> Filter:
    if not _has_operators(value):
        return Test(path, "$eq", _literal(value, place))
    return _all(_test(path, op, operand, at) for op, operand, at in _members(value, place, ""))


def _has_operators(value: object) -> bool:
    return isinstance(value, Mapping) and any(map(_is_operator, value))


def _is_operator(name: object) -> bool:
    return isinstance(name, str) and name.startswith("$")


def _test(path: FieldPath, op: str, operand: object, place: _Place) -> Test:
    if not op.startswith("$"):
        raise place.error("a plain key beside operators; use $eq to compare with an object")
    if op not in _OPERANDS:
        raise place.error(f"unknown operator; at a field may stand {' '.join(_OPERANDS)}")
    return Test(path, op, _OPERANDS[op](operand, place))


def _literal(value: object, place: _Place) -> JsonValue:
    """A value compared without `$eq`: an operator somewhere in it was surely meant to act."""
    # A mistake that would silently match nothing.
    if _has_operators(value):
        raise place.error("an operator inside a value; join the keys with dots, or use $eq")
    return _json(value, place, _literal)


def _operand(value: object, place: _Place) -> JsonValue:
    return _json(value, place, _operand)


def _array(value: object, place: _Place) -> JsonValue:
    return tuple(_operand(member, at) for member, at in _items(value, place, "an array"))


def _bound(value: object, place: _Place) -> JsonValue:
    if kind_of(value) not in ("number", "string"):
        raise place.error(f"only numbers and strings have an order, not {_name(value)}")
    return _operand(value, place)


def _flag(value: object, place: _Place) -> JsonValue:
    if not isinstance(value, bool):
        raise place.error(f"expected true or false, not {_name(value)}")
    return value


_OPERANDS: Final[Mapping[str, Callable[[object, _Place], JsonValue]]] = {
    **dict.fromkeys(("$eq", "$ne"), _operand),
    **dict.fromkeys(("$gt", "$gte", "$lt", "$lte"), _bound),
    **dict.fromkeys(("$in", "$nin"), _array),
    "$contains": _operand,
    "$exists": _flag,
}


def _json(value: object, place: _Place, copy: Callable[[object, _Place], JsonValue]) -> JsonValue:
    """A deeply immutable copy of a JSON value in plain types; `copy` does the same to members."""
    match value:
        case None | bool():
            return value
        case str():
            return _text(value, place)
        case int():
            return int(value)
        case float() if isfinite(value):
            return float(value)
        case float():
            raise place.error(f"{value} is not JSON")
        case list() | tuple():
            return tuple(copy(member, at) for member, at in _items(value, place, ""))
        case Mapping():
            members = _members(value, place, "")
            return MappingProxyType({name: copy(member, at) for name, member, at in members})
        case _:
            raise place.error(f"{type(value).__name__} is not a JSON type")


def _text(value: str, place: _Place) -> str:
    if lone_surrogate(value) is not None:
        raise place.error("a lone surrogate is not text, so no stored string holds it")
    return str.__str__(value)


def _members(value: object, place: _Place, expected: str) -> Iterator[tuple[str, object, _Place]]:
    if not isinstance(value, Mapping):
        raise place.error(f"expected {expected}, not {_name(value)}")
    _check_depth(place)
    for key, member in value.items():
        if not isinstance(key, str):
            raise place.error(f"keys are strings, not {type(key).__name__}")
        name = _text(key, place)
        yield name, member, place.key(name)


def _items(value: object, place: _Place, expected: str) -> Iterator[tuple[object, _Place]]:
    if not isinstance(value, list | tuple):
        raise place.error(f"expected {expected}, not {_name(value)}")
    _check_depth(place)
    for index, member in enumerate(value):
        yield member, place.item(index)


def _check_depth(place: _Place) -> None:
    if place.depth > _MAX_DEPTH:
        raise place.error(f"nested deeper than {_MAX_DEPTH}")


def _name(value: object) -> str:
    return kind_of(value) or type(value).__name__
