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

Size: the language, its meaning and its refusals are one idea and change together.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from math import isfinite
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from pmll_async.errors import InvalidFilterError

JsonValue: TypeAlias = (
    "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
)
FieldPath: TypeAlias = tuple[str, ...]
Kind: TypeAlias = Literal["null", "boolean", "number", "string", "array", "object"]
Mask: TypeAlias = NDArray[np.bool_]

MAX_DEPTH: Final = 64


class Missing(Enum):
    """The type of `MISSING`, which `lookup` returns where a context has no such field."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


class Column(Protocol):
    """One field of all rows: each row's value as the number of a distinct value.

    Equal values, by `equality_key`, share a code. A column may have grown past the rows that are
    asked for; `values` then holds at least every value that those rows refer to.
    """

    @property
    def codes(self) -> NDArray[np.int32]:
        """For each row an index into `values`, or -1 where the field is missing."""

    @property
    def values(self) -> Sequence[JsonValue]:
        """The distinct values, in the order of their codes."""

    def code_of(self, key: Hashable, /) -> int | None:
        """The code of the value that has this `equality_key`; None if no row has held it."""


Columns: TypeAlias = Callable[[FieldPath], Column]


_KINDS: Final[Mapping[type, Kind]] = {
    str: "string",
    bool: "boolean",  # before int, which it derives from
    int: "number",
    float: "number",
    type(None): "null",
    Mapping: "object",
    list: "array",
    tuple: "array",
}


@lru_cache(maxsize=128)
def _kind_of_type(python_type: Any) -> Kind | None:
    return next((kind for base, kind in _KINDS.items() if issubclass(python_type, base)), None)


def kind_of(value: object) -> Kind | None:
    """The JSON type of a value, None for a Python type that JSON has no word for."""
    return _kind_of_type(cast(Hashable, type(value)))


def equality_key(value: JsonValue) -> Hashable:
    """A key that two JSON values share exactly if they are equal as JSON.

    Strings, numbers and null are their own: Python compares int with float exactly, at any size.
    """
    match kind_of(value):
        case "string" | "number" | "null":
            return cast(Hashable, value)
        case "boolean":
            return ("boolean", value)
        case "array":
            return ("array", tuple(map(equality_key, cast(Sequence[JsonValue], value))))
        case "object":
            members = cast(Mapping[str, JsonValue], value).items()
            return ("object", frozenset((name, equality_key(member)) for name, member in members))
        case None:
            raise TypeError(f"{type(value).__name__} is not a JSON type")


def lookup(context: Mapping[str, JsonValue], path: FieldPath) -> JsonValue | Missing:
    """The value at a path of object keys, or `MISSING`."""
    value: JsonValue = context
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return MISSING
        value = value[name]
    return value


class Filter(ABC):
    """A checked filter: immutable, hashable, equal to one with the same tests in the same order."""

    __slots__ = ()

    @abstractmethod
    def paths(self) -> frozenset[FieldPath]:
        """Every field that is tested."""

    @abstractmethod
    def matches(self, context: Mapping[str, JsonValue]) -> bool:
        """Whether one context passes; `mask` gives the same answer for many."""

    @abstractmethod
    def mask(self, columns: Columns, rows: int) -> Mask:
        """Which of the first `rows` rows pass: a new array of shape (rows,)."""


@dataclass(frozen=True, slots=True)
class And(Filter):
    """All parts hold; without parts, everything does."""

    parts: tuple[Filter, ...]

    def paths(self) -> frozenset[FieldPath]:
        return frozenset().union(*(part.paths() for part in self.parts))

    def matches(self, context: Mapping[str, JsonValue]) -> bool:
        return all(part.matches(context) for part in self.parts)

    def mask(self, columns: Columns, rows: int) -> Mask:
        passed = np.ones(rows, dtype=np.bool_)
        for part in self.parts:
            passed &= part.mask(columns, rows)
        return passed


@dataclass(frozen=True, slots=True)
class Or(Filter):
    """At least one part holds; without parts, nothing does."""

    parts: tuple[Filter, ...]

    def paths(self) -> frozenset[FieldPath]:
        return frozenset().union(*(part.paths() for part in self.parts))

    def matches(self, context: Mapping[str, JsonValue]) -> bool:
        return any(part.matches(context) for part in self.parts)

    def mask(self, columns: Columns, rows: int) -> Mask:
        passed = np.zeros(rows, dtype=np.bool_)
        for part in self.parts:
            passed |= part.mask(columns, rows)
        return passed


@dataclass(frozen=True, slots=True)
class Not(Filter):
    """The part does not hold."""

    part: Filter

    def paths(self) -> frozenset[FieldPath]:
        return self.part.paths()

    def matches(self, context: Mapping[str, JsonValue]) -> bool:
        return not self.part.matches(context)

    def mask(self, columns: Columns, rows: int) -> Mask:
        return ~self.part.mask(columns, rows)


_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


@dataclass(frozen=True, slots=True)
class Test(Filter):
    """One operator at one field, with an operand that `parse` has checked.

    `keys` are the equality keys of the operand, of its members for `$in` and `$nin`.
    """

    __test__ = False  # pytest would collect it for its name

    path: FieldPath
    op: str
    operand: JsonValue = field(compare=False)
    keys: frozenset[Hashable] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        members = self.operand if self.op in ("$in", "$nin") else (self.operand,)
        keys = frozenset(map(equality_key, cast(Sequence[JsonValue], members)))
        object.__setattr__(self, "keys", keys)

    @property
    def accepts_missing(self) -> bool:
        """Whether a context without the field passes."""
        return self.op in ("$ne", "$nin") or (self.op == "$exists" and self.operand is False)

    def accepts(self, value: JsonValue) -> bool:
        """Whether a value that is present passes."""
        match self.op:
            case "$eq" | "$in":
                return equality_key(value) in self.keys
            case "$ne" | "$nin":
                return equality_key(value) not in self.keys
            case "$exists":
                return self.operand is True
            case _:
                return any(self._answers((value,)))

    def paths(self) -> frozenset[FieldPath]:
        return frozenset((self.path,))

    def matches(self, context: Mapping[str, JsonValue]) -> bool:
        value = lookup(context, self.path)
        return self.accepts_missing if value is MISSING else self.accepts(value)

    def mask(self, columns: Columns, rows: int) -> Mask:
        column = columns(self.path)
        codes = column.codes[:rows]
        match self.op:
            case "$eq" | "$in":
                return self._equal(codes, column)
            case "$ne" | "$nin":
                return ~self._equal(codes, column)
            case "$exists":
                return codes >= 0 if self.operand else codes < 0
            case _:
                return self._table(column.values)[codes]

    def _equal(self, codes: NDArray[np.int32], column: Column) -> Mask:
        wanted = [code for key in self.keys if (code := column.code_of(key)) is not None]
        if len(wanted) == 1:
            return np.equal(codes, wanted[0])
        return np.isin(codes, np.array(wanted, dtype=np.int32))

    def _table(self, values: Sequence[JsonValue]) -> Mask:
        """The answers for all distinct values, then False, which the code -1 of no value finds."""
        count = len(values)
        table = np.zeros(count + 1, dtype=np.bool_)
        table[:count] = np.fromiter(self._answers(values), dtype=np.bool_, count=count)
        return table

    def _answers(self, values: Sequence[JsonValue]) -> Iterable[bool]:
        """`$contains` and the orders, which alone must look at every distinct value."""
        kinds, test = self._comparison()
        operand = self.operand
        # Types are told apart once for all values: their number is what costs.
        fitting = {one for one in set(map(type, values)) if _kind_of_type(one) in kinds}
        return (type(value) in fitting and bool(test(value, operand)) for value in values)

    def _comparison(self) -> tuple[set[Kind | None], Callable[[Any, Any], bool]]:
        if self.op != "$contains":
            return {kind_of(self.operand)}, _ORDER[self.op]
        if isinstance(self.operand, str):
            return {"string", "array", "object"}, operator.contains
        return {"array"}, _has_member


def _has_member(array: Sequence[JsonValue], member: JsonValue) -> bool:
    return equality_key(member) in map(equality_key, array)


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
        parsed = And(()) if where is None else _filter(where, _Place())
    except InvalidFilterError:
        raise
    # A mapping may be anybody's class: whatever it raises, it cannot be read.
    except Exception as exc:
        raise InvalidFilterError("", f"reading it raised {type(exc).__name__}") from exc
    return None if parsed == And(()) else parsed


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
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
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
    if place.depth > MAX_DEPTH:
        raise place.error(f"nested deeper than {MAX_DEPTH}")


def _name(value: object) -> str:
    return kind_of(value) or type(value).__name__
