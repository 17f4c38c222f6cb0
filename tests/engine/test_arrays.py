"""Arrays that only grow: what was shown stays as it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pmll_async.engine.ledger.arrays import AnchorMap, GrowingColumns
from pmll_async.values.arrays import GrowingArray

numbers = st.lists(st.integers(-(2**40), 2**40), max_size=90)


@given(st.lists(numbers, max_size=8))
def test_views_stay_as_they_were(pieces: list[list[int]]) -> None:
    column = GrowingArray(np.int64)
    expected: list[int] = []
    shown = []
    for piece in pieces:
        column.extend(np.array(piece, dtype=np.int64))
        expected += piece
        shown.append((column.view(), list(expected)))
        assert len(column) == len(expected)
    for view, then in shown:
        assert view.tolist() == then


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.uint64, np.float64])
def test_an_array_keeps_its_type(dtype: type) -> None:
    column = GrowingArray(dtype)
    column.extend(np.ones(1000, dtype=dtype))
    assert column.view().dtype == dtype


rows = st.lists(st.tuples(st.integers(-(2**40), 2**40), st.booleans()), max_size=40)


def columns_of(some: list[tuple[int, bool]]) -> GrowingColumns:
    return GrowingColumns(
        np.array([number for number, _ in some], dtype=np.int64),
        np.array([flag for _, flag in some], dtype=np.bool_),
    )


def listed(columns: list[NDArray[Any]]) -> list[tuple[int, bool]]:
    numbers, flags = columns
    assert (numbers.dtype, flags.dtype) == (np.int64, np.bool_)
    return list(zip(numbers.tolist(), flags.tolist(), strict=True))


@given(rows, rows, st.data())
def test_columns_grow_and_views_stay(
    first: list[tuple[int, bool]], more: list[tuple[int, bool]], data: st.DataObject
) -> None:
    columns, expected = columns_of(first), list(first)
    shown = [(columns.view(), list(expected))]
    for row in more:
        if expected and data.draw(st.booleans()):
            place = data.draw(st.integers(0, len(expected) - 1))
            numbers, _ = columns.own()
            numbers[place] = 7
            expected[place] = 7, expected[place][1]
        if data.draw(st.booleans()):
            columns.append(*row)
            expected.append(row)
        else:
            columns.extend(*columns_of([row] * 3).view())
            expected += [row] * 3
        assert len(columns) == len(expected)
        shown.append((columns.view(), list(expected)))
    for views, then in shown:
        assert listed(views) == then
    assert listed(columns.view(len(first))) == expected[: len(first)]


def test_columns_leave_the_arrays_that_they_began_with_alone() -> None:
    given = np.arange(3), np.ones(3, dtype=np.bool_)
    columns = GrowingColumns(*given)
    columns.own()[0][:] = 9
    columns.append(4, False)
    assert given[0].tolist() == [0, 1, 2]


@dataclass
class Model:
    """Every line of every anchor."""

    lines: dict[int, list[int]] = field(default_factory=dict)
    count: int = 0

    def extend(self, anchors: list[int]) -> None:
        for anchor in anchors:
            self.lines.setdefault(anchor, []).append(self.count)
            self.count += 1

    def find(self, anchor: int, limit: int) -> list[int]:
        return [line for line in reversed(self.lines.get(anchor, [])) if line < limit]


few = st.integers(0, 5) | st.just(2**64 - 1)


@given(st.lists(few, max_size=40), st.lists(st.tuples(few, st.booleans()), max_size=12))
def test_the_lines_of_an_anchor(first: list[int], later: list[tuple[int, bool]]) -> None:
    known, model = AnchorMap(np.array(first, dtype=np.uint64)), Model()
    model.extend(first)
    for anchor, ask_between in later:
        known.add(anchor, model.count)
        model.extend([anchor])
        if ask_between:
            check(known, model)
    check(known, model)


def check(known: AnchorMap, model: Model) -> None:
    limits = {0, 1, 2, model.count // 2, max(0, model.count - 1), model.count, model.count + 1}
    for anchor in (*range(6), 2**64 - 1, 99):
        for limit in limits:
            assert known.find(f"{anchor:016x}", limit) == model.find(anchor, limit)


def test_many_anchors_in_any_order() -> None:
    random = np.random.default_rng(0)
    anchors = random.integers(0, 2**64, 5000, dtype=np.uint64, endpoint=False)
    known = AnchorMap(anchors[:4000])
    for line in range(4000, 5000):
        known.add(int(anchors[line]), line)
    for line in range(0, 5000, 37):
        assert known.find(f"{int(anchors[line]):016x}", 5000) == [line]
        assert known.find(f"{int(anchors[line]):016x}", line) == []
