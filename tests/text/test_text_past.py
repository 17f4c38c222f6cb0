"""A past state answers for ever as it did then, bit for bit."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from drawing import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from text_support import DIM, HASHING, Told, opened, put, race, told

from pmll_async.stores.memory import MemoryStore
from pmll_async.text import ASSISTANT, DIALOGUE, NOTES, Preset, TextMemory

pytestmark = pytest.mark.usefixtures("nothing_blocks")

BY_SPELLING = replace(DIALOGUE, name="by spelling", spelling=True)
QUESTIONS = (
    "What did Ann buy in Paris?",
    "Where is Bob's red bicycle?",
    "When did Ann Lee see the heron last week?",
    "bicycle heron Paris",
    "Has Cleo been to Oslo on 14 November?",
)
WORDS = ("Ann", "Bob", "Lee", "red", "bicycle", "heron", "Paris", "Oslo", "bought", "saw", "last")
spoken = st.lists(st.sampled_from((*WORDS, "?", "week")), min_size=1, max_size=6).map(" ".join)
names = st.none() | st.sampled_from(("Ann", "Ann Lee", "Bob", "Cleo"))
sessions = st.none() | st.sampled_from(("s1", "s2"))
places = st.floats(0.0, 0.999)

Step = tuple[str, str, str | None, str | None, float]
steps = st.tuples(
    st.sampled_from(
        (
            *("remember", "remember", "remember", "put", "race", "many", "note", "bare"),
            *("supersede", "forget", "decay", "rollback"),
        )
    ),
    spoken,
    names,
    sessions,
    places,
)


class Story:
    """A memory to which steps happen; notes what was answered in every state."""

    def __init__(self, memory: TextMemory) -> None:
        self.memory = memory
        self.anchors: list[str] = []
        self.answers: dict[int, list[Told]] = {}

    async def take(self, step: Step) -> None:
        kind, text, speaker, session, place = step
        doing: Callable[..., Awaitable[None]] = getattr(self, f"_{kind}")
        await doing(text, {"speaker": speaker, "session": session}, place)
        self.answers[self.memory.lattice.revision] = await answers(self.memory)

    async def _remember(self, text: str, said: dict[str, str], place: float) -> None:
        self.anchors.append((await self.memory.remember(text, timestamp=1.7e9, **said)).anchor)

    async def _many(self, text: str, said: dict[str, str], place: float) -> None:
        await self.memory.remember_many([text, f"{text} {place}"], batch=2)

    async def _put(self, text: str, said: dict[str, str], place: float) -> None:
        told_by = {name: value for name, value in said.items() if value is not None}
        self.anchors.append(await put(self.memory.lattice, text, **told_by))

    async def _race(self, text: str, said: dict[str, str], place: float) -> None:
        said_by_two = [f"{text} heron", f"{text} bicycle"]
        self.anchors += await race(
            self.memory, *[await self.memory.candidate(each, **said) for each in said_by_two]
        )

    async def _note(self, text: str, said: dict[str, str], place: float) -> None:
        await self.memory.lattice.note({"text": text})

    async def _bare(self, text: str, said: dict[str, str], place: float) -> None:
        await self.memory.lattice.put([1.0] * DIM, None, {"about": text})

    async def _supersede(self, text: str, said: dict[str, str], place: float) -> None:
        if (anchor := self._some(place)) is not None:
            self.anchors.append((await self.memory.supersede(anchor, text, **said)).anchor)

    async def _forget(self, text: str, said: dict[str, str], place: float) -> None:
        if (anchor := self._some(place)) is not None:
            await self.memory.forget(anchor)

    async def _decay(self, text: str, said: dict[str, str], place: float) -> None:
        if (anchor := self._some(place)) is not None:
            await self.memory.lattice.decay(anchor, 2 * place)

    async def _rollback(self, text: str, said: dict[str, str], place: float) -> None:
        await self.memory.lattice.rollback(int(place * self.memory.lattice.revision))

    def _some(self, place: float) -> str | None:
        """A line that can still be changed."""
        snapshot = self.memory.lattice._snapshot()
        there = [(anchor, snapshot.find(anchor)) for anchor in self.anchors]
        left = [
            anchor
            for anchor, line in there
            if snapshot.alive[line] and not snapshot.revised[line] and snapshot.has(line)
        ]
        return left[int(place * len(left))] if left else None


async def answers(state: TextMemory | object) -> list[Told]:
    return [
        *[await told(state, question) for question in QUESTIONS],
        await told(state, QUESTIONS[1], branches=True),
        await told(state, QUESTIONS[0], where={"pmll.speaker": "Ann"}),
    ]


async def assert_past_is_as_it_was(memory: TextMemory, noted: dict[int, list[Told]]) -> None:
    for revision, then in noted.items():
        assert await answers(memory.at(revision)) == then, revision


async def live_and_look_back(story: Sequence[Step], preset: Preset) -> None:
    store = MemoryStore()
    with tempfile.TemporaryDirectory() as folder:
        shelf = Path(folder) / "shelf"
        async with opened(store, shelf=shelf, preset=preset) as memory:
            told_of = Story(memory)
            for step in story:
                await told_of.take(step)
            await assert_past_is_as_it_was(memory, told_of.answers)
            async with TextMemory(memory.lattice, HASHING, preset=preset) as other:
                await assert_past_is_as_it_was(other, told_of.answers)
        async with opened(store, shelf=shelf, preset=preset) as memory:
            await assert_past_is_as_it_was(memory, told_of.answers)


@pytest.mark.parametrize(
    "preset", [DIALOGUE, NOTES, ASSISTANT, BY_SPELLING], ids=lambda preset: preset.name
)
@settings(max_examples=examples(4), deadline=None, suppress_health_check=list(HealthCheck))
@given(story=st.lists(steps, min_size=1, max_size=10))
def test_the_past_answers_as_it_did_then_bit_for_bit(preset: Preset, story: list[Step]) -> None:
    asyncio.run(live_and_look_back(story, preset))


async def test_names_terms_and_sessions_that_came_later_change_nothing_in_the_past() -> None:
    async with opened() as memory:
        await memory.remember("I bought a red bicycle in Paris", speaker="Ann", session="a")
        await memory.remember("Do you like it?", speaker="Bob", session="a")
        then, revision = await answers(memory), memory.lattice.revision
        for place in range(300):
            name = ("Ann Lee", "Paris Hill", "Red", f"speaker {place}")[place % 4]
            await memory.remember(f"bicycle {place} in Oslo", speaker=name, session=f"s{place}")
        assert await answers(memory.at(revision)) == then
        assert await answers(memory) != then


async def test_the_past_is_the_same_in_a_store_on_disk_with_and_without_its_shelf(
    tmp_path: Path,
) -> None:
    folder, noted = tmp_path / "m", {}
    for life in range(3):
        async with TextMemory.open(folder, sync="os") as memory:
            for number in range(8):
                await memory.remember(
                    f"Ann saw heron {number} in Paris", speaker="Bob", session=f"s{life}"
                )
                noted[memory.lattice.revision] = await answers(memory)
    for look in range(2):
        async with TextMemory.open(folder, read_only=True) as memory:
            await assert_past_is_as_it_was(memory, noted)
        if not look:
            (folder / "text.sqlite").unlink()


async def test_a_view_answers_by_an_anchor_and_knows_what_was_forgotten_since() -> None:
    async with opened() as memory:
        first = await memory.remember("a heron in the pond", session="s")
        second = await memory.remember("the heron flew away", session="s")
        await memory.forget(first.anchor)
        newer = await memory.supersede(second.anchor, "the heron came back")
        view = memory.at(second.anchor)
        assert {found.anchor for found in await view.recall("heron")} == {
            first.anchor,
            second.anchor,
        }
        assert [found.anchor for found in await view.recent()] == [second.anchor, first.anchor]
        [found] = await view.recall("pond", 1, neighbours=3)
        assert [turn.anchor for turn in found.after] == [second.anchor]
        assert [found.anchor for found in await memory.recall("heron")] == [newer.anchor]
