"""What was said later counts as later, in whatever order it was stored."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from drawing import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from text_support import opened, texts

from pmll_async.text import ASSISTANT, DIALOGUE, NOTES, Preset, Recollection, TextMemory, Utterance
from pmll_async.text.index.neighbours import NONE, SessionOrder

BEGIN = datetime(2024, 5, 3, tzinfo=UTC).timestamp()
SAID = [
    Utterance(text=text, speaker=speaker, session=session, timestamp=BEGIN + 60 * minute)
    for minute, (session, speaker, text) in enumerate(
        [
            ("1", "Ann", "Where did you put the cello?"),
            ("1", "Bob", "It stands in the attic, behind the boxes."),
            ("1", "Ann", "I will fetch it on Friday."),
            ("2", "Bob", "Did you fetch the cello?"),
            ("2", "Ann", "Yes, and a string of it is broken."),
            ("1", "Bob", "Mind the stairs to the attic."),
            ("2", "Bob", "I know a shop that has strings."),
            ("1", "Ann", "I will mind the stairs."),
        ]
    )
]
QUESTIONS = (
    "Where is the cello?",
    "What is broken?",
    "Who minds the stairs?",
    "a shop for strings",
)


def seen(found: list[Recollection]) -> list[tuple[object, ...]]:
    return [
        (each.text, pytest.approx(each.score, abs=1e-12), *around(each.before), *around(each.after))
        for each in found
    ]


def around(turns: tuple[Recollection, ...]) -> list[str]:
    return [turn.text for turn in turns]


async def answers(memory: TextMemory) -> list[list[tuple[object, ...]]]:
    found = [await memory.recall(question, 100, neighbours=2) for question in QUESTIONS]
    return [seen(each) for each in (*found, await memory.recent(None))]


@pytest.mark.parametrize("preset", [DIALOGUE, NOTES, ASSISTANT], ids=lambda preset: preset.name)
async def test_an_import_from_the_newest_on_gives_the_same_recall(preset: Preset) -> None:
    async with opened(preset=preset) as oldest_first, opened(preset=preset) as newest_first:
        await oldest_first.remember_many(SAID)
        for said in SAID[::-1]:
            await newest_first.remember_many([said])
        expected = await answers(oldest_first)
        assert await answers(newest_first) == expected
        async with opened(preset=preset) as mixed:
            await mixed.remember_many([*SAID[4:], *SAID[:4]])
            assert await answers(mixed) == expected


async def test_an_older_state_has_the_neighbours_that_it_had() -> None:
    async with opened() as memory, opened() as grown:
        views = []
        for said in (SAID[7], SAID[0], SAID[5], SAID[2], SAID[1]):
            await memory.remember_many([said])
            views.append(await answers(memory))
        await grown.remember_many([SAID[7], SAID[0], SAID[5], SAID[2], SAID[1]])
        for revision, then in enumerate(views, 1):
            view = grown.at(revision)
            found = [await view.recall(question, 100, neighbours=2) for question in QUESTIONS]
            assert [seen(each) for each in (*found, await view.recent(None))] == then


async def test_a_backfilled_fact_is_as_old_as_it_says() -> None:
    async with opened(preset=NOTES) as memory:
        await memory.remember("Ben lives in Oslo.", timestamp=datetime(2024, 1, 1, tzinfo=UTC))
        await memory.remember("Ben lives in Bergen.", timestamp=datetime(2019, 1, 1, tzinfo=UTC))
        expected = ["Ben lives in Oslo.", "Ben lives in Bergen."]
        assert await texts(memory, "Where does Ben live?") == expected
        assert [found.text for found in await memory.recent(1)] == expected[:1]
        assert [found.text for found in await memory.recent(None)] == expected


async def test_of_equal_times_the_later_line_is_the_newer() -> None:
    async with opened() as memory:
        for number in range(300):
            await memory.remember(f"t{number}", timestamp=BEGIN)
        assert [found.text for found in await memory.recent(2)] == ["t299", "t298"]


Row = tuple[int, int, bool]
rows = st.tuples(st.integers(-2, 1), st.integers(0, 3), st.booleans())


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.lists(rows, min_size=1, max_size=5), max_size=6))
def test_neighbours_are_those_of_a_sorted_session(batches: list[list[Row]]) -> None:
    order, every = SessionOrder(), list[Row]()
    for batch in batches:
        # A race's winner comes before its branches.
        every += [(batch[0][0], batch[0][1], True), *batch[1:]]
        session, times, chain = (np.array(column) for column in zip(*every, strict=True))
        order.add(session.astype(np.int32), chain, times.astype(np.float64))
    for count in range(1, len(every) + 1):
        session, times, chain = (np.array(column) for column in zip(*every[:count], strict=True))
        found = order.of(session.astype(np.int32), chain, times.astype(np.float64))
        before, after = brute(every[:count])
        assert found.before[:count].tolist() == before
        # What comes later is none.
        assert [row if row < count else NONE for row in found.after[:count].tolist()] == after


def brute(every: list[Row]) -> tuple[list[int], list[int]]:
    before, after = [NONE] * len(every), [NONE] * len(every)
    for session in (0, 1):
        turns = sorted(
            (time, row) for row, (own, time, on) in enumerate(every) if own == session and on
        )
        for (_, one), (_, next_one) in pairwise(turns):
            before[next_one], after[one] = one, next_one
    winner = NONE
    for row, (own, _, on) in enumerate(every):
        winner = row if on else winner
        if not on and own >= 0 and every[winner][0] == own:
            before[row] = before[winner]
    return before, after


async def test_recall_and_recent_take_a_span_of_time() -> None:
    async with opened() as memory:
        await memory.remember_many(SAID[::-1])
        since, until = BEGIN + 60, datetime.fromtimestamp(BEGIN + 180, UTC)
        for asked in (memory, memory.at(8)):
            found = await asked.recent(since=since, until=until)
            assert [each.text for each in found] == [SAID[2].text, SAID[1].text]
            assert await texts(asked, "Where is the cello?", since=BEGIN + 180)
            assert await texts(asked, "Where is the attic?", since=since, until=until)
            assert await asked.recall("Where is the cello?", since=BEGIN + 999) == []
            named = {"pmll.speaker": "Bob"}
            found = await asked.recent(where=named, since=since, until=until)
            assert [each.text for each in found] == [SAID[1].text]
