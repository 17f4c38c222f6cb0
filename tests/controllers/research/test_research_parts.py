"""What research reads in a question, and how it weighs what look-ups found."""

from __future__ import annotations

import pytest

from controllers.research.evidence import (
    POOL,
    Found,
    Rarity,
    best_of,
    coverage,
    gathered,
    learned,
    ranked,
    worth,
)
from controllers.research.lookups import LookUps
from controllers.research.questions import MOST_WORDS, asks_several, asks_when, content_of, named_in
from pmll_async.text import Recollection


def text(said: str, anchor: str = "a", session: str | None = None, **more: object) -> Recollection:
    return Recollection(anchor, said, None, session, 0.0, 1.0, **more)


TEXTS = [text("I keep bees in the garden"), text("the garden is wet"), text("the roof is wet")]
RARITY = Rarity.of(TEXTS)


@pytest.mark.parametrize(
    ("question", "when", "several"),
    [
        ("When did Ann move?", True, False),
        ("In which month does the ferry stop?", True, False),
        ("How long has she played?", True, False),
        ("What books has Ann read?", False, True),
        ("Which two kinds of bees does he keep?", False, True),
        ("How many cats are there?", False, True),
        ("Where have they been?", False, True),
        ("What do Ann and Ben have in common?", False, True),
        ("What is Ann's address?", False, False),
        ("What does Ann teach?", False, False),
        ("What news did Ben bring?", False, False),
        ("Whose bus was late?", False, False),
        ("Does Ben like herrings?", False, False),
        ("", False, False),
    ],
)
def test_the_shape_of_a_question(question: str, when: bool, several: bool) -> None:
    assert (asks_when(question), asks_several(question)) == (when, several)


def test_who_is_named_and_what_it_is_about() -> None:
    named = named_in("What kind of bees does ann keep?", ["Ben Hill", "Ann Lee", "", "?!"])
    assert named == ("Ann Lee",)
    assert content_of("What kind of bees does ann keep, which bees?", named) == ("bees", "keep")
    assert content_of("who did what to whom", ()) == ()


def test_endless_questions_are_cut() -> None:
    assert len(content_of(" ".join(f"w{n}" for n in range(1000)), ())) == MOST_WORDS
    assert content_of("x" * 10_000, ()) == ()


def test_rare_words_weigh_more_and_unheard_ones_most() -> None:
    assert RARITY("bee") > RARITY("garden") > 0 == RARITY("whale")
    assert RARITY.weight("whale") > RARITY.weight("bee") == RARITY("bee")
    assert Rarity.of([]).weight("whale") > 0


def test_coverage_tells_what_is_missing() -> None:
    share, missing = coverage(["bees", "gardens", "whale"], [TEXTS[0].text], RARITY)
    assert missing == ("whale",)
    assert 0 < share < 1
    assert coverage(["bees"], [TEXTS[0].text], RARITY) == (1.0, ())
    assert coverage(["bees"], [], RARITY) == (0.0, ("bees",))
    assert coverage([], [], RARITY) == (1.0, ())
    less, _ = coverage(["bees", "gardens", "whale"], [TEXTS[1].text], RARITY)
    assert less < share


def test_a_text_is_worth_more_if_it_tells_of_its_speaker_to_the_point_or_opens_a_session() -> None:
    plain = worth(text("bees swarm"), RARITY)
    assert worth(text("my bees"), RARITY) > plain
    assert worth(text("bees " * 20), RARITY) < plain
    assert worth(text("bees swarm", session="1"), RARITY) > plain
    before = (text("hello"),)
    assert worth(text("bees swarm", session="1", before=before), RARITY) == plain
    assert worth(text(""), RARITY) == 0


def test_what_look_ups_found_adds_up_by_their_weights() -> None:
    pool = gathered((), "one", [("a", 0.5, 1.0), ("b", 0.25, 0.0)], 1.0)
    pool = gathered(pool, "two", [("b", 1.0, 0.0)], 0.5)
    pool = gathered(pool, "words", [("c", 0.75, 0.0), ("b", 0.5, 0.0)], 0.0)
    a, b, c = pool
    assert a == Found("a", 0.5, 0.5, 0.0, 1.0, {"one": 1})
    assert b == Found("b", 1.0, 0.75, 0.5, 0.0, {"one": 2, "two": 1, "words": 2})
    assert c == Found("c", 0.75, 0.0, 0.75, 0.0, {"words": 1})
    assert best_of(pool) == (b, a, c)
    assert b.total > c.total


def test_the_pool_is_bounded() -> None:
    pool = gathered((), "one", [(f"{n:03}", 1 / (n + 1), 0.0) for n in range(3 * POOL)], 1.0)
    assert [each.anchor for each in best_of(pool)] == [f"{n:03}" for n in range(POOL)]


def test_the_first_of_the_plain_recall_stay_in_front() -> None:
    rows = [("a", 0.3, 0.0), ("b", 0.2, 0.0), ("c", 0.1, 5.0)]
    pool = gathered((), "plain", rows, 1.0)
    pool = gathered(pool, "other", [("d", 0.9, 9.0)], 1.0)
    assert [each.anchor for each in ranked(pool, "plain", 0)] == ["d", "c", "a", "b"]
    assert [each.anchor for each in ranked(pool, "plain", 2)] == ["a", "b", "d", "c"]
    assert [each.anchor for each in ranked(pool, "plain", POOL)] == ["a", "b", "c", "d"]


def test_words_are_learned_from_good_texts_if_they_are_rare_and_new() -> None:
    best = [(TEXTS[0].text, 1.0), (TEXTS[1].text, 0.5)]
    assert learned(best, ["keep"], RARITY) == ("bees", "garden", "wet")
    assert learned(best, ["bee", "keeping", "gardens", "wet"], RARITY) == ()
    assert len(learned([("one two red blue ten six nine four", 1.0)], [], RARITY)) <= 5


def test_filters_are_joined() -> None:
    look_ups = LookUps(1, 5, named=("Ann",))
    spoken = {"pmll.speaker": {"$in": ["Ann"]}}
    assert look_ups.where("as_asked", None) is None
    assert look_ups.where("as_asked", {"user": 1}) == {"user": 1}
    assert look_ups.where("words_alone", None) == spoken
    assert look_ups.where("words_alone", {"user": 1}) == {"$and": [spoken, {"user": 1}]}
    assert LookUps(1, 5).where("words_alone", None) is None
