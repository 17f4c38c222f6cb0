"""Arrays that only grow: what was shown stays as it was."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmll_async.engine.ledger.arrays import AnchorMap, GrowingArray

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


@given(numbers.filter(bool), numbers, st.data())
def test_an_own_copy_leaves_views_alone(
    first: list[int], second: list[int], data: st.DataObject
) -> None:
    column = GrowingArray(np.int64)
    column.extend(np.array(first))
    shown = column.view()
    place = data.draw(st.integers(0, len(first) - 1))
    column.own()[place] = 7
    column.extend(np.array(second, dtype=np.int64))
    assert shown.tolist() == first
    assert column.view().tolist() == [*first[:place], 7, *first[place + 1 :], *second]


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.uint64, np.float64])
def test_columns_keep_their_type(dtype: type) -> None:
    column = GrowingArray(dtype)
    column.extend(np.ones(1000, dtype=dtype))
    assert column.view().dtype == dtype
    assert column.own().dtype == dtype


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
pieces = st.lists(few, max_size=6) | st.builds(lambda a: [a] * 600, few)


@given(st.lists(st.tuples(pieces, st.booleans()), max_size=6))
def test_the_lines_of_an_anchor(steps: list[tuple[list[int], bool]]) -> None:
    column, model = GrowingArray(np.uint64), Model()
    known = AnchorMap(column)
    for anchors, ask_between in steps:
        column.extend(np.array(anchors, dtype=np.uint64))
        known.extend(model.count, model.count + len(anchors))
        model.extend(anchors)
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
    column = GrowingArray(np.uint64)
    known = AnchorMap(column)
    for first, stop in [(0, 2000), (2000, 4000), (4000, 4003), (4003, 5000)]:
        column.extend(anchors[first:stop])
        known.extend(first, stop)
    for line in range(0, 5000, 37):
        assert known.find(f"{int(anchors[line]):016x}", 5000) == [line]
        assert known.find(f"{int(anchors[line]):016x}", line) == []
