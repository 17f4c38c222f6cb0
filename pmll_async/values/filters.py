"""Filters on a line's context: the JSON values that they know, and evaluation, also by column."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any, Final, Literal, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

JsonValue: TypeAlias = (
    "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
)
FieldPath: TypeAlias = tuple[str, ...]
Kind: TypeAlias = Literal["null", "boolean", "number", "string", "array", "object"]
Mask: TypeAlias = NDArray[np.bool_]


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


class Columns(Protocol):
    """What filters are evaluated on."""

    def __call__(self, path: FieldPath, /) -> Column:
        """The column of a field."""

    def happened(self, since: float, until: float, rows: int) -> Mask:
        """Which of the first `rows` rows happened from `since` on and before `until`."""


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
class _Joined(Filter):
    parts: tuple[Filter, ...]

    def paths(self) -> frozenset[FieldPath]:
        return frozenset().union(*(part.paths() for part in self.parts))


class And(_Joined):
    """All parts hold; without parts, everything does."""

    __slots__ = ()

    def matches(self, context: Mapping[str, JsonValue]) -> bool:
        return all(part.matches(context) for part in self.parts)

    def mask(self, columns: Columns, rows: int) -> Mask:
        passed = np.ones(rows, dtype=np.bool_)
        for part in self.parts:
            passed &= part.mask(columns, rows)
        return passed


class Or(_Joined):
    """At least one part holds; without parts, nothing does."""

    __slots__ = ()

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


@dataclass(frozen=True, slots=True)
class Happened(Filter):
    """Lines from `since` on and before `until`, in epoch seconds, by their timestamps."""

    since: float
    until: float

    def paths(self) -> frozenset[FieldPath]:
        return frozenset()

    def matches(self, context: Mapping[str, JsonValue]) -> bool:
        raise TypeError("a context does not tell when its line happened")

    def mask(self, columns: Columns, rows: int) -> Mask:
        return columns.happened(self.since, self.until, rows)


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
        # Filters are compared and hashed by them: an operand that is an object has no hash.
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
        # Per distinct value and not per row: a field has few values and many rows.
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
