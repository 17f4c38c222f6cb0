"""Postings against dictionaries, over every kind of segment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from pmll_async.text.index import postings as module
from pmll_async.text.index.postings import Postings

Row = Sequence[str]
rows = st.lists(st.sampled_from("abcdefgh"), max_size=5)
batches = st.lists(st.lists(rows, max_size=12), max_size=8)


@pytest.fixture(autouse=True, scope="module")
def small_segments() -> object:
    """Segments of 2 rows, of 6 and of 18."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SMALLEST_SEGMENT", 2)
        patch.setattr(module, "_MERGED_AT_ONCE", 3)
        patch.setattr(module, "_LARGEST_SEGMENT", 18)
        yield


def extend(postings: Postings, batch: Sequence[Row]) -> None:
    tokens = [postings.numbered(term) for row in batch for term in row]
    lengths = [len(row) for row in batch]
    postings.extend(np.array(tokens, np.int32), np.array(lengths, np.int64))


def grown(story: Sequence[Sequence[Row]]) -> tuple[Postings, list[Row]]:
    postings = Postings()
    for batch in story:
        extend(postings, batch)
    return postings, [row for batch in story for row in batch]


def check(postings: Postings, model: Sequence[Row], count: int) -> None:
    vocabulary = postings.vocabulary
    expected = {
        term: [(place, row.count(term)) for place, row in enumerate(model[:count]) if term in row]
        for term in vocabulary
    }
    found = postings.find(range(len(vocabulary)), count)
    for term, posted in zip(vocabulary, found, strict=True):
        pairs = list(zip(posted.rows.tolist(), posted.counts.tolist(), strict=True))
        assert pairs == expected[term]
    assert postings.frequencies(count).tolist() == [len(expected[term]) for term in vocabulary]
    assert postings.lengths(count).tolist() == [len(row) for row in model[:count]]


@settings(max_examples=examples(75), deadline=None)
@given(batches, st.randoms(use_true_random=False))
def test_postings_say_what_the_rows_hold_for_every_count(
    story: list[list[Row]], random: object
) -> None:
    postings, model = grown(story)
    assert len(postings) == len(model)
    for count in range(len(model) + 1):
        check(postings, model, count)
    some = random.choices(range(len(model)), k=4) if model else []
    tokens, bounds = postings.tokens_of(np.array(some, np.int64))
    told = [postings.vocabulary[number] for number in tokens]
    assert [told[begin:end] for begin, end in pairwise(bounds.tolist())] == [
        list(model[row]) for row in some
    ]


@settings(max_examples=examples(25), deadline=None)
@given(batches, st.data())
def test_an_older_count_answers_the_same_however_much_came_since(
    story: list[list[Row]], data: st.DataObject
) -> None:
    postings = Postings()
    model: list[Row] = []
    for batch in story:
        extend(postings, batch)
        model += batch
        check(postings, model, data.draw(st.integers(0, len(model))))


def test_rows_are_the_same_in_one_batch_and_one_by_one() -> None:
    model = [list("ab"), [], list("bbc"), list("a"), [], [], [], list("cab")] * 9
    together, _ = grown([model])
    single, _ = grown([[row] for row in model])
    for postings in (together, single):
        check(postings, model, len(model))
        check(postings, model, 31)
    sizes = Counter(segment.stop - segment.first for segment in together._segments)
    assert sizes == Counter(segment.stop - segment.first for segment in single._segments)
    assert max(sizes) == 18


def test_segments_of_rows_without_a_term_hold_nothing() -> None:
    postings, model = grown([[[]] * 20, [list("ab")], [[]] * 20])
    check(postings, model, 41)
    check(postings, model, 7)


def test_no_rows_and_no_terms_are_no_matter() -> None:
    postings = Postings()
    assert postings.find([], 0) == []
    assert postings.number("a") is None
    assert postings.lengths(0).tolist() == []
    extend(postings, [list("a")])


def test_a_number_is_known_only_when_its_term_is() -> None:
    postings = Postings()

    class Witness(list[str]):
        def append(self, term: str) -> None:
            assert postings.number(term) is None
            super().append(term)

    postings.vocabulary = Witness()
    assert [postings.numbered(term) for term in "abca"] == [0, 1, 2, 0]
    assert [postings.number(term) for term in "abcd"] == [0, 1, 2, None]
