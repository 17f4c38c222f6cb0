"""The terms of texts and of questions."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmll_async.text.index.terms import _kept_terms_of, date_terms, question_terms, terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Walking, walked and walks", ["walk", "walk", "and", "walk"]),
        ("", []),
        ("  \n\t\x00", ["\x00"]),
        ("?!", ["?", "!"]),
        ("東京都へ行く", ["東京", "京都", "都へ", "へ行", "行く"]),
        ("iPhone を買う", ["iphon", "を買", "買う"]),
        ("สวัสดี", None),
        ("I ❤ tea ☕", ["i", "tea", "❤", "☕"]),
        ("👩‍👩‍👧", ["👩", "👩", "👧"]),
        ("cafe\u0301 CAFÉ", ["café", "café"]),
        ("naïve ﬁre", ["naïve", "fire"]),
    ],
)
def test_terms_of_texts(text: str, expected: list[str] | None) -> None:
    found = terms(text)
    if expected is None:
        assert found
    else:
        assert found == expected


@given(st.text())
def test_any_text_with_something_to_see_has_terms(text: str) -> None:
    found = terms(text)
    assert bool(found) == bool(text.split())
    assert all(0 < len(term) <= 64 for term in found)


@given(st.text())
def test_any_text_is_a_question(text: str) -> None:
    asked = question_terms(text)
    assert bool(asked.wanted) == bool(text.split())
    assert len(set(asked.wanted)) == len(asked.wanted)
    assert set(asked.wanted) <= set(terms(text)) | set(asked.wanted if asked.is_empty else ())


def test_what_only_builds_a_sentence_is_asked_for_only_if_there_is_nothing_else() -> None:
    assert question_terms("What did you buy?").wanted == ("bui",)
    assert not question_terms("What did you buy?").is_empty
    asked = question_terms("How are you?")
    assert asked.is_empty
    assert asked.wanted == ("how", "ar", "you")
    assert question_terms("the concert in May").wanted == ("concert", "mai")
    assert question_terms("may I?").is_empty


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("Good morning, how is it going?", ()),
        ("How's life going", ()),
        ("Nice to meet you! See you soon.", ()),
        ("How is it going with the pottery?", ("potteri",)),
        ("Where is Ann going?", ("ann", "go")),
        ("Whom did Ann see later?", ("ann", "see", "later")),
    ],
)
def test_sayings_say_nothing_as_a_whole(question: str, wanted: tuple[str, ...]) -> None:
    asked = question_terms(question)
    assert asked.is_empty == (not wanted)
    assert asked.is_empty or asked.wanted == wanted


def test_pairs_are_neighbours_of_which_one_says_something() -> None:
    assert question_terms("the red fox in the snow").pairs == (
        ("the", "red"),
        ("red", "fox"),
        ("fox", "in"),
        ("the", "snow"),
    )


def test_a_question_of_a_book_is_asked_by_its_beginning() -> None:
    asked = question_terms(" ".join(f"word{number} red" for number in range(5000)))
    assert len(asked.wanted) == len(asked.pairs) == 512
    assert asked.wanted[:2] == ("word0", "red")


def test_pages_without_a_space_do_not_stay_in_memory() -> None:
    page = "東京" * 40_000
    assert len(terms(page)) == len(page) - 1
    assert terms("x" * 200_000) == ["x" * 64]
    size = _kept_terms_of.cache_info().currsize
    for number in range(50):
        terms(f"{'y' * 100}{number}")
    assert _kept_terms_of.cache_info().currsize == size


def test_a_time_beyond_the_years_has_no_date() -> None:
    assert date_terms(1_700_000_000) == ["14", "novemb", "2023"]
    assert date_terms(1e18) == date_terms(-1e300) == []


def test_threads_do_not_mix_up_their_words() -> None:
    words = [f"{stem}{ending}" for stem in ("walk", "talk", "jump") for ending in ("ing", "ed")]
    ready = threading.Barrier(4)

    def work() -> list[list[str]]:
        ready.wait(10)
        return [terms(f"{word} {number}") for number in range(200) for word in words]

    with ThreadPoolExecutor(4) as pool:
        answers = [job.result() for job in [pool.submit(work) for _ in range(4)]]
    assert answers[0] == answers[1] == answers[2] == answers[3]
