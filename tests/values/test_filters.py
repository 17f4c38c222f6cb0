"""The `where` language: what each operator means, what is refused, and masks against matches.

Size: it is tables of cases and one hypothesis grammar for the whole language.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pmll_async.errors import InvalidFilterError
from pmll_async.values.filters import (
    MISSING,
    And,
    FieldPath,
    Filter,
    JsonValue,
    Missing,
    Not,
    Or,
    Test,
    equality_key,
    kind_of,
    lookup,
)
from pmll_async.values.where import parse

Context = Mapping[str, Any]


@dataclass
class PlainColumn:
    """A column as the lattice keeps it: codes, distinct values, and the code of each key."""

    codes: NDArray[np.int32]
    values: list[JsonValue] = field(default_factory=list)
    by_key: dict[Hashable, int] = field(default_factory=dict)

    @classmethod
    def of(cls, cells: Sequence[JsonValue | Missing]) -> PlainColumn:
        column = cls(np.full(len(cells), -1, dtype=np.int32))
        for row, cell in enumerate(cells):
            if cell is not MISSING:
                column.codes[row] = column.number(cell)
        return column

    def number(self, value: JsonValue) -> int:
        key = equality_key(value)
        if key not in self.by_key:
            self.by_key[key] = len(self.values)
            self.values.append(value)
        return self.by_key[key]

    def code_of(self, key: Hashable, /) -> int | None:
        return self.by_key.get(key)


def columns_of(contexts: Sequence[Context]) -> Callable[[FieldPath], PlainColumn]:
    return lambda path: PlainColumn.of([lookup(context, path) for context in contexts])


def parsed(where: Any) -> Filter:
    compiled = parse(where)
    assert compiled is not None
    return compiled


def passes(where: Any, context: Context) -> bool:
    """The answer for one context, which the mask must share."""
    compiled = parsed(where)
    answer = compiled.matches(context)
    assert compiled.mask(columns_of([context]), 1).tolist() == [answer]
    return answer


OPERATORS: list[tuple[str, Any, list[Any], list[Any]]] = [
    ("$eq", 1, [1, 1.0], [True, "1", 2, None, [1], {"x": 1}]),
    ("$eq", True, [True], [1, 1.0, "true", False]),
    ("$eq", None, [None], [0, False, "", [], {}]),
    ("$eq", "a", ["a"], ["A", "ab", ["a"], {"a": 1}]),
    ("$eq", [1, 2], [[1, 2], (1.0, 2)], [[2, 1], [1], [1, 2, 3], [True, 2]]),
    ("$eq", {"a": 1, "b": [2]}, [{"b": [2.0], "a": 1}], [{"a": 1}, {"a": True, "b": [2]}, {}]),
    ("$eq", {"$gt": 1}, [{"$gt": 1}], [2]),
    ("$ne", 1, [2, True, "1", None, [1]], [1, 1.0]),
    ("$in", [1, "a", None, [1]], [1.0, "a", None, [1]], [True, "b", 0, [], [[1]]]),
    ("$in", ["a"], ["a"], ["b", ["a"]]),
    ("$in", [], [], [None, 1, "", []]),
    ("$nin", [1, "a"], [True, 2, None, ["a"]], [1, 1.0, "a"]),
    ("$nin", [], [None, 1, "", []], []),
    ("$gt", 1, [2, 1.5, 2**53], [1, 1.0, 0, True, "2", None, [2], {"a": 2}]),
    ("$gte", 1, [1, 1.0, 2], [0.5, True, "1", None]),
    ("$lt", 1, [0, -1.5], [1, 1.0, False, "0", None, []]),
    ("$lte", 1, [1, 0.5, -0.0], [1.5, True, False, "1", None]),
    ("$gt", "b", ["c", "ba", "é"], ["b", "a", "B", 3, None, ["c"]]),
    ("$lte", "b", ["b", "a", ""], ["ba", 1, None]),
    ("$contains", "a", ["a", "bar", ["a"], {"a": 0}], ["", "b", ["ab"], {"b": "a"}, 1, None, True]),
    ("$contains", 1, [[1], [2, 1.0]], [[True], ["1"], "1", {"1": 1}, 1, []]),
    ("$contains", {"k": 1}, [[{"k": 1.0}]], [{"k": 1}, [{"k": True}]]),
    ("$contains", "", ["", "a", [""], {"": 1}], [[], {}, None]),
    ("$exists", True, [None, False, 0, "", [], {}], []),
    ("$exists", False, [], [None, False, 0, "", [], {}]),
]


@pytest.mark.parametrize(("op", "operand", "accepted", "refused"), OPERATORS)
def test_operator(op: str, operand: Any, accepted: list[Any], refused: list[Any]) -> None:
    where = {"f": {op: operand}}
    assert [value for value in accepted if not passes(where, {"f": value})] == []
    assert [value for value in refused if passes(where, {"f": value})] == []


@pytest.mark.parametrize(("op", "operand", "accepted", "refused"), OPERATORS)
def test_accepts_agrees(op: str, operand: Any, accepted: list[Any], refused: list[Any]) -> None:
    test = parsed({"f": {op: operand}})
    assert isinstance(test, Test)
    assert all(map(test.accepts, accepted))
    assert not any(map(test.accepts, refused))


@pytest.mark.parametrize(
    ("condition", "accepted"),
    [
        ({"$ne": 1}, True),
        ({"$ne": None}, True),
        ({"$nin": [1]}, True),
        ({"$nin": []}, True),
        ({"$exists": False}, True),
        ({"$exists": True}, False),
        (None, False),
        ({"$eq": None}, False),
        ({"$in": [None, 1]}, False),
        ({"$gt": 0}, False),
        ({"$gte": 0}, False),
        ({"$lt": 0}, False),
        ({"$lte": ""}, False),
        ({"$contains": "a"}, False),
    ],
)
@pytest.mark.parametrize("context", [{}, {"other": 1}])
def test_missing_field(condition: Any, accepted: bool, context: Context) -> None:
    test = parsed({"f": condition})
    assert isinstance(test, Test)
    assert test.accepts_missing is accepted
    assert passes(test_where := {"f": condition}, context) is accepted
    assert passes({"$not": test_where}, context) is not accepted


def test_entries_and_operators_must_all_hold() -> None:
    where = {"topic": "x", "step": {"$gte": 3, "$lt": 5}}
    assert passes(where, {"topic": "x", "step": 4})
    assert not passes(where, {"topic": "x", "step": 5})
    assert not passes(where, {"topic": "y", "step": 4})


def test_connectives_nest() -> None:
    where = {"a": 1, "$or": [{"b": 2}, {"$not": {"c": 3, "$and": [{"d": 4}, {}]}}]}
    assert passes(where, {"a": 1, "b": 2, "c": 3, "d": 4})
    assert passes(where, {"a": 1, "c": 3})
    assert not passes(where, {"a": 1, "c": 3, "d": 4})
    assert not passes(where, {"b": 2})


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"$and": []}, True),
        ({"$or": []}, False),
        ({"$or": [{}]}, True),
        ({"$and": [{}, {"$not": {}}]}, False),
    ],
)
def test_filters_without_tests(where: Any, expected: bool) -> None:
    for filter_ in (where, {"$or": [where]}):
        assert passes(filter_, {"a": 1}) is expected if parse(filter_) else expected


@pytest.mark.parametrize("where", [None, {}, {"$and": []}])
def test_nothing_asked_is_no_filter(where: Any) -> None:
    assert parse(where) is None


def test_dots_reach_into_objects_only() -> None:
    assert passes({"pmll.run": "r1"}, {"pmll": {"run": "r1"}})
    assert passes({"a.b.c": {"$gt": 1}}, {"a": {"b": {"c": 2}}})
    assert passes({"a.0": {"$exists": False}}, {"a": ["x"]})
    assert passes({"a.b": {"$exists": False}}, {"a": "b"})
    assert passes({"a.b": {"$exists": False}}, {"a.b": 1})
    assert passes({"": 1, "a.": 2}, {"": 1, "a": {"": 2}})


def test_lookup() -> None:
    context: Context = {"a": {"b": None}, "a.b": 1}
    assert lookup(context, ("a", "b")) is None
    assert lookup(context, ("a", "c")) is MISSING
    assert lookup(context, ("a", "b", "c")) is MISSING
    assert lookup(context, ()) == context


def test_an_object_without_operators_is_compared_with() -> None:
    assert passes({"f": {"a": 1}}, {"f": {"a": 1}})
    assert not passes({"f": {"a": 1}}, {"f": {"a": 1, "b": 2}})
    assert passes({"f": {}}, {"f": {}})


def test_expression_tree() -> None:
    filter_ = parsed({"a.b": 1, "$or": [{"c": 2}], "$not": {"d": {"$exists": True}}})
    assert filter_ == And(
        (
            Test(("a", "b"), "$eq", 1),
            Or((Test(("c",), "$eq", 2),)),
            Not(Test(("d",), "$exists", True)),
        )
    )
    assert filter_.paths() == {("a", "b"), ("c",), ("d",)}


def test_filters_compare_and_hash_by_json_equality() -> None:
    assert parse({"a": [1, {"b": 2, "c": 3}]}) == parse({"a": (1.0, {"c": 3, "b": 2})})
    assert len({parse({"a": {"$in": [1, 2]}}), parse({"a": {"$in": [2, 1.0]}})}) == 1
    assert len({parse({"a": one}) for one in (1, True, "1", None, [1])}) == 5
    assert parse({"a": {"$gt": 1}}) != parse({"a": {"$gte": 1}})


def test_changing_the_mapping_afterwards_changes_nothing() -> None:
    tags = ["x"]
    filter_ = parsed({"tags": {"$eq": tags}})
    tags.append("y")
    assert filter_.matches({"tags": ["x"]})
    with pytest.raises(TypeError):
        cast(Any, parsed({"a": {"$eq": {"b": 1}}})).operand["b"] = 2


class Colour(str, Enum):  # noqa: UP042  # the older spelling, whose str() is not its value
    RED = "red"


class Level(int, Enum):
    HIGH = 3


def test_subclasses_of_json_types_count_as_them() -> None:
    assert passes(
        {"c": Colour.RED, "n": Level.HIGH, "x": np.float64(0.5)}, {"c": "red", "n": 3, "x": 0.5}
    )
    assert passes({"c": "red", "n": {"$gte": 3}}, {"c": Colour.RED, "n": Level.HIGH})
    assert passes({Colour.RED: 1}, {"red": 1})


def nested(levels: int, innermost: Any = None) -> Any:
    value = innermost
    for _ in range(levels):
        value = [value]
    return value


def negated(levels: int) -> Any:
    where: Any = {}
    for _ in range(levels):
        where = {"$not": where}
    return where


INVALID: list[tuple[Any, str, str]] = [
    ([], "", "expected a filter, not array"),
    ("topic", "", "expected a filter, not string"),
    ({1: 2}, "", "keys are strings, not int"),
    ({"\ud800": 1}, "", "lone surrogate"),
    ({"a": float("nan")}, "a", "nan is not JSON"),
    ({"a": {"$gt": float("inf")}}, "a.$gt", "inf is not JSON"),
    ({"a.b": {"$in": [1, -float("inf")]}}, "a.b.$in[1]", "-inf is not JSON"),
    ({"a": {"$eq": {"b": {2: 1}}}}, "a.$eq.b", "keys are strings, not int"),
    ({"a": {"b": [b"x"]}}, "a.b[0]", "bytes is not a JSON type"),
    ({"a": {1, 2}}, "a", "set is not a JSON type"),
    ({"a": np.int64(1)}, "a", "int64 is not a JSON type"),
    ({"a": {"$eq": "\udfff"}}, "a.$eq", "lone surrogate"),
    ({"a": {"$regex": "x"}}, "a.$regex", "unknown operator"),
    ({"a": {"$not": {"$gt": 1}}}, "a.$not", "unknown operator"),
    ({"a": {"$": 1}}, "a.$", "unknown operator"),
    ({"$nor": []}, "$nor", "unknown operator"),
    ({"$gt": 1}, "$gt", "belongs under a field"),
    ({"a": {"$gt": 1, "b": 2}}, "a.b", "a plain key beside operators"),
    ({"a": {"$gt": 1, 3: 2}}, "a", "keys are strings, not int"),
    ({"a": {"b": {"$gt": 1}}}, "a.b", "an operator inside a value"),
    ({"a": [{"$gt": 1}]}, "a[0]", "an operator inside a value"),
    ({"$and": {"a": 1}}, "$and", "expected an array of filters, not object"),
    ({"$or": [{"a": 1}, 3]}, "$or[1]", "expected a filter, not number"),
    ({"$not": [{"a": 1}]}, "$not", "expected a filter, not array"),
    ({"$not": {"$or": [{"a": {"$foo": 1}}]}}, "$not.$or[0].a.$foo", "unknown operator"),
    ({"a": {"$in": "xyz"}}, "a.$in", "expected an array, not string"),
    ({"a": {"$nin": {"x": 1}}}, "a.$nin", "expected an array, not object"),
    ({"a": {"$in": {1, 2}}}, "a.$in", "expected an array, not set"),
    ({"a": {"$exists": 1}}, "a.$exists", "expected true or false, not number"),
    ({"a": {"$gt": True}}, "a.$gt", "only numbers and strings have an order, not boolean"),
    ({"a": {"$lt": None}}, "a.$lt", "have an order, not null"),
    ({"a": {"$gte": [1]}}, "a.$gte", "have an order, not array"),
    ({"a": nested(65)}, "a" + "[0]" * 64, "nested deeper than 64"),
    ({"a": {"$eq": nested(64)}}, "a.$eq" + "[0]" * 63, "nested deeper than 64"),
    (negated(65), ".".join(["$not"] * 65), "nested deeper than 64"),
]


@pytest.mark.parametrize(("where", "path", "reason"), INVALID)
def test_invalid_filters_name_the_path(where: Any, path: str, reason: str) -> None:
    with pytest.raises(InvalidFilterError) as caught:
        parse(where)
    assert caught.value.path == path
    assert reason in caught.value.reason


def test_a_filter_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"a\.\$foo"):
        parse({"a": {"$foo": 1}})


def test_cycles_are_too_deep() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidFilterError, match="nested deeper"):
        parse({"a": {"$contains": loop}})


def test_the_deepest_filter_allowed() -> None:
    assert passes({"a": {"$eq": nested(63, 1)}}, {"a": nested(63, 1.0)})
    assert passes(negated(64), {}) is True


def test_kinds() -> None:
    values = [None, True, 1, 1.5, "x", [], (), {}, b"", object()]
    names = ["null", "boolean", "number", "number", "string", "array", "array", "object"]
    assert [kind_of(value) for value in values] == [*names, None, None]


def test_equality_key_refuses_what_is_not_json() -> None:
    with pytest.raises(TypeError, match="bytes"):
        equality_key(cast(Any, b"x"))


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1, 1.0, True),
        (0.0, -0.0, True),
        (2**53, 2.0**53, True),
        (2**53 + 1, 2.0**53, False),
        (10**30, 10.0**30, False),
        (1, True, False),
        (0, False, False),
        ([1], [True], False),
        ({"a": [{"b": 1}]}, {"a": ({"b": 1.0},)}, True),
        ({}, [], False),
        ("array", ["array"], False),
        (["boolean", True], True, False),
        ({"a": 1}, [["a", 1]], False),
        ("1", 1, False),
        (None, "null", False),
    ],
)
def test_equality_key(left: Any, right: Any, equal: bool) -> None:
    assert (equality_key(left) == equality_key(right)) is equal
    assert len({equality_key(left), equality_key(right)}) == (1 if equal else 2)


def json_equal(left: Any, right: Any) -> bool:
    """JSON equality spelled out, as a second opinion."""
    if kind_of(left) != kind_of(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(json_equal, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(json_equal(left[k], right[k]) for k in left)
    return bool(left == right)


NAMES = st.sampled_from(["a", "b", "ab"])
SCALARS = st.sampled_from(
    [None, True, False, 0, 1, -1, 1.0, 0.5, 2**53 + 1, 2.0**53, "", "a", "b", "ab", "é"]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=4,
)
CONTEXTS = st.dictionaries(NAMES, VALUES, max_size=3)
BOUNDS = st.sampled_from([0, 1, 0.5, 2**53, "", "a", "b"])
CONDITIONS: st.SearchStrategy[Any] = VALUES | st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(["$eq", "$ne", "$contains"], VALUES),
        **dict.fromkeys(["$gt", "$gte", "$lt", "$lte"], BOUNDS),
        **dict.fromkeys(["$in", "$nin"], st.lists(VALUES, max_size=3)),
        "$exists": st.booleans(),
    },
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)
FILTERS: st.SearchStrategy[Any] = st.recursive(
    st.dictionaries(PATHS, CONDITIONS, max_size=2),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "$and": st.lists(inner, max_size=3),
            "$or": st.lists(inner, max_size=3),
            "$not": inner,
            "a": CONDITIONS,
        },
    ),
    max_leaves=5,
)


@given(VALUES, VALUES)
def test_equality_key_is_json_equality(left: Any, right: Any) -> None:
    assert (equality_key(left) == equality_key(right)) is json_equal(left, right)
    if json_equal(left, right):
        assert hash(equality_key(left)) == hash(equality_key(right))


@given(FILTERS, st.lists(CONTEXTS, max_size=8), st.integers(0, 8))
@example({"$or": []}, [{}], 1)
@example({"a": {"$in": [1, "b"]}}, [{"a": True}, {"a": "b"}, {}, {"a": 1.0}], 4)
def test_mask_agrees_with_matches(where: Any, contexts: list[Context], rows: int) -> None:
    filter_ = parse(where)
    assume(filter_ is not None)
    rows = min(rows, len(contexts))
    mask = filter_.mask(columns_of(contexts), rows)
    assert mask.dtype == np.bool_
    assert mask.tolist() == [filter_.matches(context) for context in contexts[:rows]]


@given(FILTERS, CONTEXTS)
def test_not_is_the_complement(where: Any, context: Context) -> None:
    assert passes({"$not": where}, context) is not parsed({"$or": [where]}).matches(context)


@given(FILTERS)
def test_paths_are_those_a_mask_asks_for(where: Any) -> None:
    filter_ = parse({"$or": [where]})
    assert filter_ is not None
    asked: set[FieldPath] = set()

    def columns(path: FieldPath) -> PlainColumn:
        asked.add(path)
        return PlainColumn.of([])

    filter_.mask(columns, 0)
    assert asked == filter_.paths()


def test_rows_and_values_of_a_growing_column() -> None:
    column = PlainColumn.of([1, 2, MISSING])
    column.values.append(99)
    filter_ = parsed({"a": {"$gt": 1}})
    assert filter_.mask(lambda _: column, 3).tolist() == [False, True, False]
    assert filter_.mask(lambda _: column, 2).tolist() == [False, True]


class Watched(list[JsonValue]):
    """Counts how many of its values are looked at."""

    looked_at = 0

    def __iter__(self) -> Iterator[JsonValue]:
        for value in super().__iter__():
            self.looked_at += 1
            yield value


@pytest.mark.parametrize(
    ("condition", "times"), [(50, 0), ({"$ne": 7}, 0), ({"$exists": True}, 0), ({"$gte": 50}, 2)]
)
def test_a_mask_looks_at_distinct_values_only_and_for_equality_at_none(
    condition: Any, times: int
) -> None:
    column = PlainColumn.of([*range(100)] * 50)
    column.values = values = Watched(column.values)
    mask = parsed({"n": condition}).mask(lambda _: column, 5_000)
    assert 0 < mask.sum() <= 5_000
    # An order asks each for its type, and then for its place.
    assert values.looked_at == times * 100
