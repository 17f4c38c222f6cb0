"""Facts of conversations: proposed by a model, checked by turns, replaced in the order of time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from text_support import HASHING, opened, texts

from pmll_async import InvalidInputError
from pmll_async.moving.reembed import reembed
from pmll_async.stores.jsonl import JsonlStore
from pmll_async.text import Consolidated, Fact, Recollection, TextMemory, Utterance, is_supported

NOON = 1_714_737_600.0
HOME = "Ann's home"


class Model:
    """Answers with the facts that each turn's text stands for, and notes what it was asked."""

    def __init__(self, *facts: tuple[str, str, str], **more: Any) -> None:
        self.facts, self.more = facts, more
        self.asked: list[list[str]] = []

    async def __call__(self, turns: Sequence[Recollection]) -> list[Fact]:
        self.asked.append([turn.text for turn in turns])
        return [
            Fact(text=text, about=about, turns=[turn.anchor], **self.more)
            for turn in turns
            for part, about, text in self.facts
            if part in turn.text
        ]


ROME = ("Rome", HOME, "Ann lives in Rome.")
OSLO = ("Oslo", HOME, "Ann lives in Oslo.")


def said(text: str, hours: float = 0, **more: Any) -> Utterance:
    return Utterance(text=text, speaker="Ann", timestamp=NOON + 3600 * hours, **more)


async def facts_of(memory: TextMemory) -> list[str]:
    known = await memory.recent(None, where={"pmll.fact": {"$exists": True}})
    return [fact.text for fact in known[::-1]]


# --- storing ----------------------------------------------------------------------------------


async def test_without_a_model_turns_are_stored_and_nothing_else() -> None:
    async with opened() as memory:
        done = await memory.remember_turns(
            [
                "Hello.",
                said("I live in Rome.", session="other"),
                {"role": "user", "content": "I like tea.", "id": "m1"},
                {"role": "assistant", "name": "Botty", "content": "Noted.", "timestamp": NOON},
            ],
            session="s",
            context={"user": "ann"},
        )
        found = [await memory.get(anchor) for anchor in done.turns]
        assert [(each.speaker, each.text, each.session) for each in found] == [
            (None, "Hello.", "s"),
            ("Ann", "I live in Rome.", "other"),
            ("user", "I like tea.", "s"),
            ("Botty", "Noted.", "s"),
        ]
        assert {each.context["user"] for each in found} == {"ann"}
        assert found[3].timestamp == NOON
        assert (done.facts, done.kept_back, len(memory.lattice)) == ((), (), 4)
        again = await memory.remember_turns(
            [{"role": "user", "content": "I like tea.", "id": "m1"}],
            session="s",
            context={"user": "ann"},
        )
        assert again.turns == done.turns[2:3]


@pytest.mark.parametrize(
    "messages",
    ["one text", {"role": "user", "content": "x"}, [5], [{"role": "user", "content": None}]],
)
async def test_what_is_no_list_of_turns_is_refused(messages: Any) -> None:
    async with opened() as memory:
        with pytest.raises(InvalidInputError):
            await memory.remember_turns(messages)
        assert len(memory.lattice) == 0


async def test_a_fact_has_its_turns_for_parents_and_their_trust() -> None:
    async with opened() as memory:
        page = memory.as_writer("example.org", trust=0.25)
        turn = await page.remember("Ann moved to Rome.", timestamp=NOON)
        done = await memory.consolidate(Model(ROME))
        [anchor] = done.facts
        fact = await memory.get(anchor)
        assert fact.source is not None
        assert (fact.source.parents, fact.source.trust) == ((turn.anchor,), 0.25)
        assert (fact.text, fact.timestamp) == ("Ann lives in Rome.", NOON)
        line = await memory.lattice.get(anchor)
        assert line.context["pmll"]["fact"]["about"] == HOME
        # What the turn's author wrote is gone with its author, and what came of it.
        await memory.lattice.revoke("example.org")
        assert await texts(memory, "Where does Ann live?") == []


# --- rivals and time --------------------------------------------------------------------------


async def test_a_later_fact_replaces_an_earlier_one_whatever_comes_first() -> None:
    async with opened() as memory:
        first = await memory.remember_turns([said("I live in Rome.")], extract=Model(ROME))
        second = await memory.remember_turns([said("I live in Oslo now.", 5)], extract=Model(OSLO))
        assert await facts_of(memory) == ["Ann lives in Oslo."]
        assert (await memory.get(first.facts[0])).text == "Ann lives in Rome."
        # Told late, of a time between the two.
        bern = ("Bern", HOME, "Ann lives in Bern.")
        late = await memory.remember_turns([said("I live in Bern.", 2)], extract=Model(bern))
        assert late.facts == ()
        assert [each.reason for each in late.kept_back] == ["older"]
        assert await facts_of(memory) == ["Ann lives in Oslo."]
        assert (await memory.get(second.facts[0])).text == "Ann lives in Oslo."


async def test_of_one_conversation_too_the_latest_stands() -> None:
    async with opened() as memory:
        turns = [said("I live in Oslo now.", 5), said("I live in Rome.")]
        done = await memory.remember_turns(turns, extract=Model(ROME, OSLO))
        assert len(done.facts) == 2
        assert await facts_of(memory) == ["Ann lives in Oslo."]


async def test_of_one_time_the_surest_wins_and_the_other_is_its_branch() -> None:
    async with opened() as memory:
        [turn] = (await memory.remember_turns([said("Rome or Oslo, I live there.")])).turns

        async def extract(turns: Sequence[Recollection]) -> list[Fact]:
            return [
                Fact(text="Ann lives in Rome.", about=HOME, turns=[turn], confidence=0.3),
                Fact(text="Ann lives in Oslo.", about=HOME, turns=[turn], confidence=0.6),
            ]

        [winner] = (await memory.consolidate(extract)).facts
        assert (await memory.get(winner)).text == "Ann lives in Oslo."
        [loser] = await memory.lattice.branches(winner)
        assert loser.context["pmll"]["text"] == "Ann lives in Rome."
        assert list(loser.context["pmll"]["source"]["parents"]) == [turn]


async def test_what_is_known_already_is_not_stored_again() -> None:
    async with opened() as memory:
        first = await memory.remember_turns([said("I live in Rome.")], extract=Model(ROME))
        again = await memory.remember_turns([said("Rome, as ever.", 5)], extract=Model(ROME))
        assert again.facts == first.facts


async def test_a_fact_of_less_trust_does_not_replace_one_of_more() -> None:
    async with opened() as memory:
        await memory.remember_turns([said("I live in Rome.")], extract=Model(ROME))
        page = memory.as_writer("example.org", trust=0.25)
        await page.remember("Ann lives in Oslo.", timestamp=NOON + 3600)
        done = await memory.consolidate(Model(OSLO))
        assert [each.reason for each in done.kept_back] == ["less trusted"]
        assert await facts_of(memory) == ["Ann lives in Rome."]


async def test_users_of_one_lattice_have_matters_of_their_own() -> None:
    async with opened() as memory:
        for user, city in (("ann", "Rome"), ("ben", "Oslo")):
            await memory.remember_turns(
                [said(f"I live in {city}.", context={"user": user, "page": 1})]
            )
        home = [("Rome", "home", "Lives in Rome."), ("Oslo", "home", "Lives in Oslo.")]
        model = Model(*home)
        await memory.consolidate(model, carry=["user"])
        assert model.asked == [["I live in Rome."], ["I live in Oslo."]]
        assert await facts_of(memory) == ["Lives in Rome.", "Lives in Oslo."]
        [fact] = await memory.recent(None, where={"user": "ben", "pmll.fact.about": "home"})
        assert (fact.text, dict(fact.context)) == ("Lives in Oslo.", {"user": "ben"})


async def test_who_is_overtaken_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as memory:
        first = await memory.remember_turns([said("I live in Rome.")], extract=Model(ROME))
        race, overtaken = memory.lattice.race, [False]

        async def late(*args: Any, **options: Any) -> Any:
            if not overtaken[0]:
                overtaken[0] = True
                await memory.supersede(first.facts[0], "Ann lives in Bern.", timestamp=NOON + 60)
            return await race(*args, **options)

        monkeypatch.setattr(memory.lattice, "race", late)
        await memory.remember_turns([said("I live in Oslo.", 5)], extract=Model(OSLO))
        assert overtaken == [True]
        assert (await facts_of(memory))[-1] == "Ann lives in Oslo."


# --- what no turn supports --------------------------------------------------------------------


async def test_what_no_turn_supports_is_kept_back_until_it_is_released() -> None:
    async with opened() as memory:
        [turn] = (await memory.remember_turns([said("I live in Rome.")])).turns

        async def dreaming(turns: Sequence[Recollection]) -> Iterable[Fact]:
            return [
                Fact(text="Ann lives in Rome.", about=HOME, turns=[turn]),
                Fact(text="Bob owns forty ships.", about="Bob", turns=[turn]),
                Fact(text="Ann lives in Rome.", about="of nothing", turns=["0123456789abcdef"]),
            ]

        done = await memory.consolidate(dreaming)
        assert len(done.facts) == 1
        assert [each.reason for each in done.kept_back] == ["unsupported"] * 2
        assert await facts_of(memory) == ["Ann lives in Rome."]
        await memory.lattice.release(done.kept_back[0].anchor)
        assert "Bob owns forty ships." in await facts_of(memory)


@pytest.mark.parametrize(
    ("fact", "turn", "is_said"),
    [
        ("Ann lives in Oslo.", "I moved to Oslo.", True),
        ("Ann has 3 cats.", "My 3 cats are grey.", True),
        ("Ann has 4 cats.", "My 3 cats are grey.", False),
        ("Ann does not eat nuts.", "I can't eat nuts.", False),
        ("Ann does not eat nuts.", "I do not eat nuts.", True),
        ("Ann does not eat nuts.", "I eat nuts.", False),
        ("Bob owns a ship.", "I moved to Oslo.", False),
        ("It is.", "I moved to Oslo.", False),
        ("安住在奥斯陆", "我住在奥斯陆", True),
    ],
)
def test_a_fact_is_supported_by_half_of_its_words_all_its_numbers_and_its_denials(
    fact: str, turn: str, is_said: bool
) -> None:
    told = Recollection("0" * 16, turn, "Ann", None, NOON, 1.0)
    assert is_supported(Fact(text=fact, about="x", turns=[]), [told]) is is_said


async def test_what_supports_a_fact_may_be_the_users_to_say() -> None:
    async with opened() as memory:
        model = Model(("Rome", HOME, "Anna wohnt da."))
        await memory.remember_turns([said("Rome it is.")])
        done = await memory.consolidate(model, supports=lambda fact, turns: bool(turns))
        assert (len(done.facts), done.kept_back) == (1, ())


@pytest.mark.parametrize(
    "wrong",
    [
        "no fact",
        Fact(text="x", about=" ", turns=[]),
        Fact(text="x", about=5, turns=[]),  # type: ignore[arg-type]  # what is refused
        Fact(text="x", about="y", turns=[], timestamp=float("nan")),
    ],
)
async def test_what_is_no_fact_is_refused_before_anything_is_stored(wrong: Any) -> None:
    async def extract(turns: Sequence[Recollection]) -> list[Any]:
        return [Fact(text="Ann lives in Rome.", about=HOME, turns=[turns[0].anchor]), wrong]

    async with opened() as memory:
        await memory.remember_turns([said("I live in Rome.")])
        with pytest.raises(InvalidInputError):
            await memory.consolidate(extract)
        assert len(memory.lattice) == 1


# --- in the background ------------------------------------------------------------------------


async def test_each_turn_is_read_once_in_batches_of_its_session() -> None:
    async with opened() as memory:
        for number in range(5):
            await memory.remember(f"turn {number}", session="a" if number % 2 else "b")
        model = Model()
        done = await memory.consolidate(model, batch=2)
        assert model.asked == [["turn 0", "turn 2"], ["turn 4"], ["turn 1", "turn 3"]]
        assert len(done.turns) == 5
        await memory.remember("turn 5", session="a")
        await memory.remember_turns(["turn 6"], extract=model)
        model.asked.clear()
        await memory.consolidate(model)
        assert model.asked == [["turn 5"]]
        assert await memory.consolidate(model) == Consolidated()


async def test_facts_and_what_was_made_of_turns_are_no_turns() -> None:
    async with opened() as memory:
        [turn] = (await memory.remember_turns([said("I live in Rome.")], extract=Model(ROME))).turns
        await memory.as_writer("agent").derived_from(turn).remember("In short: Rome.")
        await memory.remember("Hidden.", context={"kind": "tool"})
        model = Model()
        await memory.consolidate(model, where={"kind": {"$exists": False}})
        assert model.asked == []


async def stopped_at(model: Callable[..., Any], memory: TextMemory, batch: int) -> None:
    """Consolidation, cancelled while the model thinks about that batch."""
    thinking = asyncio.Event()
    asked = 0

    async def slow(turns: Sequence[Recollection]) -> Any:
        nonlocal asked
        asked += 1
        if asked == batch:
            thinking.set()
            await asyncio.Event().wait()
        return await model(turns)

    work = asyncio.create_task(memory.consolidate(slow, batch=1))
    await thinking.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work


async def test_stopped_anywhere_it_goes_on_where_it_was() -> None:
    async with opened() as memory:
        await memory.remember_turns([said("I live in Rome."), said("I live in Oslo.", 5)])
        await stopped_at(Model(ROME, OSLO), memory, 2)
        assert await facts_of(memory) == ["Ann lives in Rome."]
        model = Model(ROME, OSLO)
        await memory.consolidate(model)
        assert model.asked == [["I live in Oslo."]]
        assert await facts_of(memory) == ["Ann lives in Oslo."]


async def test_interrupted_before_it_is_noted_a_batch_stores_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened() as memory:
        await memory.remember_turns([said("I live in Rome.")])
        dream = ("Rome", "Bob", "Bob owns forty ships.")

        async def failing(*_: Any, **__: Any) -> str:
            raise OSError("the disk is gone")

        with monkeypatch.context() as broken:
            broken.setattr(memory.lattice, "note", failing)
            with pytest.raises(OSError, match="gone"):
                await memory.consolidate(Model(ROME, dream))
        stored = len(memory.lattice)
        # A model says a thing in other words the second time.
        other = ("Rome", HOME, "Rome is where Ann lives.")
        done = await memory.consolidate(Model(other, dream))
        assert (len(done.facts), len(done.kept_back)) == (1, 1)
        assert await facts_of(memory) == ["Ann lives in Rome."]
        assert len(memory.lattice) == stored + 1  # the note


async def test_a_copy_with_other_anchors_knows_what_was_read(tmp_path: Path) -> None:
    async with TextMemory.open(tmp_path / "old") as memory:
        await memory.remember_turns([said("I live in Rome.")], extract=Model(ROME))
    old, new = JsonlStore(tmp_path / "old", read_only=True), JsonlStore(tmp_path / "new")
    await reembed(old, new, HASHING)
    async with TextMemory.open(tmp_path / "new", HASHING) as memory:
        model = Model(OSLO)
        assert await memory.consolidate(model) == Consolidated()
        await memory.remember_turns([said("I live in Oslo.", 5)])
        await memory.consolidate(model)
        assert await facts_of(memory) == ["Ann lives in Oslo."]
