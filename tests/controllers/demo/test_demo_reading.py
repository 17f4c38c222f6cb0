"""The demo's passages, and how well it judges them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.demo.passages import Passage, passages, reference
from controllers.demo.relevance import Page, QuestionWords, Vocabulary, tokens

TOPIC = """The "demo" statement
********************

A first paragraph{long}.

demo.run(times)

   Run the demo{long}.

   New in version 0.1.

Details
=======

* an item that
  goes on

   demo_stmt ::= "demo"

See also:

  **PEP 0** - Nothing

-[ Footnotes ]-

[1] Not here.
"""


@pytest.fixture(scope="module")
def cut() -> list[Passage]:
    return passages(reference())


def test_a_topic_is_cut_at_its_headings_and_terms() -> None:
    first, second = passages({"demo": TOPIC.format(long=", and so on" * 60)})
    assert first == Passage("demo", ('The "demo" statement',), first.text)
    assert first.text.startswith("A first paragraph")
    # A term comes with its definition, and what is short with its neighbours.
    assert second.heading == ('The "demo" statement',)
    assert second.text.startswith("demo.run(times)\n\n   Run the demo, and so on")
    assert second.text.endswith("**PEP 0** - Nothing")


def test_a_short_topic_is_one_passage() -> None:
    (only,) = passages({"demo": TOPIC.format(long="")})
    assert only.text.startswith("A first paragraph.\n\ndemo.run(times)\n\n   Run the demo.")


def test_nothing_of_the_reference_is_lost(cut: list[Passage]) -> None:
    kept = {word for passage in cut for word in re.findall(r"\w+", passage.text)}
    for topic, text in reference().items():
        body = text.partition("-[ Footnotes ]-")[0]
        # Of a text that stands under two headings only one heading is kept.
        without_headings = re.sub(r".+\n([*=\-~])\1+\n", "", body)
        assert set(re.findall(r"\w+", without_headings)) <= kept, topic


def test_passages_are_of_a_readable_size(cut: list[Passage]) -> None:
    lengths = sorted(len(passage.text) for passage in cut)
    assert len(cut) > 300
    assert 300 < lengths[len(cut) // 2] < 1_000
    assert lengths[-1] <= 1_600


def test_a_text_in_two_topics_is_kept_once(cut: list[Passage]) -> None:
    seen = [" ".join(passage.text.split()) for passage in cut]
    assert len(seen) == len(set(seen))
    assert len({passage.key for passage in cut}) == len(cut)


def page(text: str, title: str = "Title") -> Page:
    return Page(anchor="0" * 16, topic="t", title=title, text=text)


PAGES = [
    page("Class attributes are found by a lookup in the namespace of the class."),
    page("An attribute of a module. Classes are elsewhere, far away from here, and so on."),
    page('The "yield" expression; "==" compares.', 'The "yield" statement'),
    page("Bread is baked for forty minutes.", "Bread"),
]
VOCABULARY = Vocabulary(PAGES)


@pytest.mark.parametrize(
    ("asked", "best"),
    [
        ("How are class attributes looked up?", 0),
        ("What does yield do?", 2),
        ("What does == do?", 2),
        ("How is bread baked?", 3),
    ],
)
def test_the_right_page_scores_best(asked: str, best: int) -> None:
    question = QuestionWords.of(asked, VOCABULARY)
    scores = [question.score(page) for page in PAGES]
    assert scores.index(max(scores)) == best


def test_what_is_missing_is_named() -> None:
    question = QuestionWords.of("How is bread baked in Paris?", VOCABULARY)
    assert question.missing(PAGES[3]) == ["paris"]
    assert set(question.missing(PAGES[0])) == {"bread", "bak", "paris"}


def test_dunder_names_are_words_of_their_own() -> None:
    assert tokens("type(x).__class__ of a class") == ["type", "x", "__class__", "of", "a", "class"]


@given(st.text(), st.text(min_size=1), st.text(min_size=1))
def test_every_score_is_a_share(asked: str, title: str, text: str) -> None:
    question = QuestionWords.of(asked, VOCABULARY)
    for one in (*PAGES, page(text, title)):
        assert 0.0 <= question.score(one) <= 1.0
        assert all(0.0 <= mark <= 1.0 + 1e-9 for mark in question.marks(one).values())
