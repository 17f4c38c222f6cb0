"""Scores: within bounds, explained, the same however lines came in, and low for a greeting."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from text_conversation import GREETINGS, QUESTIONS, TURNS
from text_support import opened, race, texts, told

from pmll_async.stores.memory import MemoryStore
from pmll_async.text import ASSISTANT, DIALOGUE, NOTES, Part, Preset, TextMemory, Utterance
from pmll_async.text.index.play import Play
from pmll_async.text.scorers import dated, lexical, window

pytestmark = pytest.mark.usefixtures("nothing_blocks")

PRESETS = [DIALOGUE, NOTES, ASSISTANT, replace(DIALOGUE, name="by spelling", spelling=True)]
by_name: Any = pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
SAID = [
    Utterance(text=text, speaker=speaker, session=session, timestamp=1_700_000_000.0 + 60 * place)
    for place, (session, speaker, text) in enumerate(TURNS)
]


async def remember(memory: TextMemory, said: Sequence[Utterance] = SAID) -> None:
    await memory.remember_many(said)


# --- what a score is -----------------------------------------------------------------------------


@by_name
async def test_scores_are_explained_to_the_last_bit(preset: Preset) -> None:
    async with opened(preset=preset) as memory:
        await remember(memory)
        await memory.lattice.decay(memory.lattice.head, 0.5)
        for question in (*QUESTIONS, *GREETINGS):
            every = await memory.recall(question, 100, explain=True)
            totals, strengths, best = [], [], set()
            for found in every:
                points = dict(found.given or {})
                strengths.append(points.pop("strength"))
                best.add(points.pop("best"))
                assert list(points) == [part.name for part in preset.parts]
                total = 0.0
                for each in points.values():
                    total += each
                totals.append(total)
            if every:
                scores = preset.scores(np.array(totals), best.pop()) * np.array(strengths)
                assert [found.score for found in every] == scores.tolist()
                assert not best
        [plain] = await memory.recall("beagle", 1)
        assert plain.given is None


words = st.sampled_from(
    ("Ann", "ann", "Bob", "red", "bicycle", "Paris?", "what", "did", "the", "1999", "week", "!", "")
)
sentences = st.lists(words, max_size=8).map(" ".join)


@by_name
@settings(max_examples=examples(15), deadline=None)
@given(
    said=st.lists(
        st.tuples(sentences.filter(str.strip), st.none() | st.sampled_from(("Ann", "Bob", ""))),
        max_size=9,
    ),
    asked=sentences,
)
def test_scores_lie_between_0_and_1_and_fall(
    preset: Preset, said: list[tuple[str, str | None]], asked: str
) -> None:
    async def main() -> None:
        async with opened(preset=preset) as memory:
            await memory.remember_many(
                Utterance(text=text, speaker=speaker, session=speaker and "s")
                for text, speaker in said
            )
            found = await memory.recall(asked, 100)
            scores = [each.score for each in found]
            assert all(0.0 <= score <= 1.0 for score in scores)
            assert scores == sorted(scores, reverse=True)
            rows = {each.anchor: -row for row, each in enumerate(await memory.recent(100))}
            order = [(-each.score, -rows[each.anchor]) for each in found]
            assert order == sorted(order), "of equal scores the later row"

    asyncio.run(main())


async def test_min_score_is_a_floor() -> None:
    async with opened() as memory:
        await remember(memory)
        question = "What breed is the dog Biscuit?"
        every = await memory.recall(question, 100)
        for least in (0.0, every[3].score, every[0].score, 1.0):
            found = await memory.recall(question, 100, min_score=least)
            assert found == [each for each in every if each.score >= least]


async def test_k_only_cuts() -> None:
    async with opened() as memory:
        await remember(memory)
        for question in QUESTIONS:
            every = await told(memory, question, 10**9)
            assert len(every) <= len(TURNS)
            for k in (0, 1, 5, 40):
                assert await told(memory, question, k) == every[:k]


async def test_equal_lines_come_the_later_first() -> None:
    async with opened(preset=NOTES) as memory:
        stored = [await memory.remember("the heron", timestamp=1.0) for _ in range(5)]
        found = await memory.recall("heron", branches=True)
        assert len({each.score for each in found[1:]}) == 1
        assert [each.anchor for each in found] == [each.anchor for each in stored[::-1]]


BY_WORDS = Preset("words", (Part("lexical", lexical()), Part("window", window())))


async def test_the_points_of_a_line_do_not_depend_on_its_place() -> None:
    for count in (5, 17, 130):
        async with opened(preset=BY_WORDS) as memory:
            await memory.remember_many(["the red heron stands in the blue pond"] * count)
            found = await told(memory, "which red heron stands in this pond of blue", 500)
            assert len(found) == count
            assert len({points for _, _, points in found}) == 1


# --- determinism ---------------------------------------------------------------------------------


async def in_batches(size: int, store: MemoryStore) -> None:
    async with opened(store) as memory:
        for start in range(0, len(SAID), size):
            await memory.remember_many(SAID[start : start + size], batch=size)
            await memory.recall("hello")


async def one_by_one(store: MemoryStore) -> None:
    async with opened(store) as memory:
        for said in SAID:
            await memory.remember(
                said.text, speaker=said.speaker, session=said.session, timestamp=said.timestamp
            )


@by_name
async def test_scores_do_not_depend_on_how_the_lines_came_in(
    preset: Preset, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    for size in (1, 7, len(SAID), 0):
        monkeypatch.setattr("pmll_async.text.index.postings._SMALLEST_SEGMENT", 3 + 9 * size)
        monkeypatch.setattr("pmll_async.text.index.keeper._LINES_AT_ONCE", 5 + size)
        store = MemoryStore()
        await (in_batches(size, store) if size else one_by_one(store))
        async with opened(store, preset=preset) as memory:
            answers.append([await told(memory, each) for each in (*QUESTIONS, *GREETINGS)])
    assert answers[0] == answers[1] == answers[2] == answers[3]


async def test_questions_asked_together_are_answered_as_alone() -> None:
    async with opened() as memory:
        await remember(memory)
        alone = [await told(memory, question) for question in QUESTIONS]
        together = await asyncio.gather(*(told(memory, question) for question in QUESTIONS))
        assert together == alone


# --- what is around a line -----------------------------------------------------------------------


async def test_neighbours_are_the_turns_around_in_order() -> None:
    async with opened() as memory:
        await remember(memory)
        [found] = await memory.recall("Who is called Biscuit, a beagle?", 1, neighbours=2)
        assert found.text.startswith("He is called Biscuit")
        assert [turn.text for turn in found.before] == [
            "Good for you. I have to look after the dog this week.",
            "Oh, you have a dog? What is his name?",
        ]
        assert [turn.text for turn in found.after] == [
            "Ha, that is a good name.",
            "Yes. He ate my passport on Thursday.",
        ]
        [found] = await memory.recall("Who is called Biscuit, a beagle?", 1, neighbours=1000)
        turns = [*found.before, found, *found.after]
        assert [turn.text for turn in turns] == [each[2] for each in TURNS if each[0] == "monday"]


async def test_neighbours_keep_to_the_filter_and_to_what_is_there() -> None:
    async with opened() as memory:
        anchors = [
            (await memory.remember(f"turn {number} heron", speaker=who, session="s")).anchor
            for number, who in enumerate(("Ann", "Bob", "Ann", "Ann", "Bob", "Ann", "Ann"))
        ]
        await memory.remember("turn 3 elsewhere", session="t", speaker="Ann")
        await memory.remember("turn 3 alone", speaker="Ann")
        await race(memory, *[await memory.candidate(f"x {i}", session="s") for i in range(2)])
        await memory.forget(anchors[2])
        newer = await memory.supersede(anchors[5], "turn 5 goose")

        async def around(**options: Any) -> tuple[list[str], list[str]]:
            [found] = [
                each
                for each in await memory.recall("turn 3 heron", 50, neighbours=9, **options)
                if each.anchor == anchors[3]
            ]
            assert all(turn.score == 1.0 for turn in found.before)
            return [turn.anchor for turn in found.before], [turn.text for turn in found.after]

        before, after = await around()
        assert before == anchors[:2]
        assert after == ["turn 4 heron", "turn 6 heron", "x 0", "turn 5 goose"]
        before, after = await around(where={"pmll.speaker": "Ann"})
        assert before == anchors[:1]
        assert after == ["turn 6 heron", "turn 5 goose"]
        assert newer.anchor == (await memory.recent(1))[0].anchor
        [lonely] = [
            each for each in await memory.recall("alone", neighbours=3) if "alone" in each.text
        ]
        assert lonely.before == lonely.after == ()


async def test_filters_on_speakers_and_on_fields_of_ones_own() -> None:
    async with opened() as memory:
        for number in range(12):
            await memory.remember(
                f"heron {number}",
                speaker=("Ann", "Bob")[number % 2],
                session=f"s{number % 3}",
                context={"n": number, "deep": {"even": number % 2 == 0}},
            )
        for where, expected in (
            ({"pmll.speaker": "Ann"}, range(0, 12, 2)),
            ({"pmll.session": "s1"}, range(1, 12, 3)),
            ({"n": {"$gte": 9}}, range(9, 12)),
            ({"deep.even": False, "pmll.session": "s0"}, (3, 9)),
            ({"pmll.text": "heron 4"}, (4,)),
            ({"missing": 1}, ()),
        ):
            found = await texts(memory, "heron", where=where)
            assert sorted(found) == sorted(f"heron {number}" for number in expected)


# --- what scores are good for --------------------------------------------------------------------


@by_name
async def test_greetings_find_nothing(preset: Preset) -> None:
    async with opened(preset=preset) as memory:
        await remember(memory)
        for greeting in GREETINGS:
            found = await memory.recall(greeting, 1)
            assert not found or found[0].score < 0.3, (greeting, found)


async def test_questions_find_their_answers_first_and_above_what_any_greeting_finds() -> None:
    async with opened() as memory:
        await remember(memory)
        assert 55 <= len(TURNS) <= 70
        for question, answer in QUESTIONS.items():
            [found] = await memory.recall(question, 1)
            assert answer in found.text, (question, found)
            assert found.score > 0.3, (question, found)


async def test_the_strength_of_a_line_scales_its_score() -> None:
    async with opened() as memory:
        await remember(memory)
        [best] = await memory.recall("What breed is the dog Biscuit?", 1)
        await memory.lattice.decay(best.anchor, 0.0)
        found = {
            each.anchor: each.score
            for each in await memory.recall("What breed is the dog Biscuit?", 100)
        }
        assert found[best.anchor] == 0.0


async def test_a_name_that_is_said_often_is_looked_up_no_more_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    speakers_with = Play.speakers_with

    def noting(play: Play, word: str) -> list[int]:
        asked.append(word)
        return speakers_with(play, word)

    monkeypatch.setattr(Play, "speakers_with", noting)
    async with opened() as memory:
        await remember(memory)
        await memory.recall("Did Ann see Biscuit?")
        once = len(asked)
        await memory.recall("Did Ann see Biscuit?" + " Ann Biscuit" * 100)
    assert len(asked) == 2 * once


@pytest.mark.parametrize(
    ("text", "is_dated"),
    [
        ("we met LAST summer", True),
        ("wé met LAST summer", True),
        ("we met in 1999", True),
        ("the blast was in room 19990", False),
        ("thé blast was in room 19990", False),
    ],
)
async def test_a_line_speaks_of_a_time_in_any_case(text: str, is_dated: bool) -> None:
    preset = Preset("dated", (Part("lexical", lexical()), Part("dated", dated())))
    async with opened(preset=preset) as memory:
        await memory.remember(text)
        [found] = await memory.recall("When have we met in the room?", explain=True)
        assert found.given is not None
        assert found.given["dated"] == is_dated


def test_a_part_has_a_name_of_its_own() -> None:
    names = [part.name for preset in PRESETS for part in preset.parts]
    assert not {"strength", "best"} & set(names)
    assert all(isinstance(part, Part) for part in DIALOGUE.parts)
