"""Research over a text memory: what a run finds, writes, and finds again after a crash."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from controller_support import Stop, crashing, journal, phases
from research_support import BOOKS, SESSIONS, Meaning, evidence_of, opened, remember

from controllers import Continue, Event, Reflected, time_budget
from controllers.research import Evidence, ResearchController, ResearchStoppedError
from pmll_async import LineErasedError
from pmll_async.text import HashingEmbedder, Recollection, TextMemory


@pytest.fixture
async def memory() -> AsyncIterator[TextMemory]:
    async with opened(HashingEmbedder(dim=64)) as memory:
        await remember(memory)
        yield memory


# --- what it finds --------------------------------------------------------------------------------


async def test_a_run_finds_the_texts_that_bear_on_a_question(memory: TextMemory) -> None:
    research = ResearchController(memory, k=5)
    result = await research.run(BOOKS)
    assert (result.status, result.cycles) == ("done", 2)
    assert result.text == "5 texts may bear on it"
    found = await research.findings(result)
    assert [each.anchor for each in found] == [each.anchor for each in evidence_of(result).found]
    told = " ".join(each.text for each in found)
    assert "Middlemarch" in told
    assert "Undset" in told
    first = found[0]
    assert isinstance(first, Recollection)
    assert first.speaker == "Ann"
    assert 0 < first.score <= 1
    assert first.why["as_asked"] == 1
    assert {"said_by_the_named", "words_alone", "learned_words"} <= set(first.why)
    assert [each.text for each in await research.evidence(BOOKS)] == [each.text for each in found]


async def test_the_journal_tells_what_was_planned_raced_and_learned(memory: TextMemory) -> None:
    reflected: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, Reflected):
            reflected.append(event.verdict.text)

    result = await ResearchController(memory, observers=[note]).run(BOOKS, run_id="r")
    entries = await journal(memory.lattice, "r")
    assert [(stage, status) for _, _, stage, status in phases(entries)] == [
        ("run", "started"),
        ("plan", "done"),
        ("act", "done"),
        ("reflect", "continue"),
        ("plan", "done"),
        ("act", "done"),
        ("reflect", "done"),
        ("run", "done"),
    ]
    assert entries[1].context["text"] == "looking for books, reading; Ann named"
    assert reflected == [entries[3].context["text"], result.text]
    race = await memory.lattice.outcome(entries[2].anchor)
    lines = [race.winner, *race.losers]
    assert {line.context["look_up"] for line in lines} == {
        "as_asked",
        "said_by_the_named",
        "words_alone",
    }
    coverages = {score.anchor: score.score for score in race.scores}
    assert all(coverages[line.anchor] == line.context["coverage"] for line in lines)
    assert coverages[race.winner.anchor] == max(coverages.values())
    second = await memory.lattice.outcome(entries[5].anchor)
    assert second.winner.context["look_up"] == "learned_words"


async def test_a_question_for_a_time_is_left_to_recall(memory: TextMemory) -> None:
    question = "When did Ann read Middlemarch?"
    result = await ResearchController(memory, k=6).run(question)
    assert result.cycles == 1
    assert [each.anchor for each in evidence_of(result).found] == [
        each.anchor for each in await memory.recall(question, 6)
    ]


async def test_words_that_nobody_says_are_missing(memory: TextMemory) -> None:
    result = await ResearchController(memory).run("Which harpsichord does Judith play?")
    assert evidence_of(result).missing == ("harpsichord",)
    assert result.text.endswith("; none says harpsichord")


async def test_nobody_need_be_named(memory: TextMemory) -> None:
    research = ResearchController(memory, k=2)
    found = await research.evidence("Who sells honey?")
    assert any("market" in each.text or "honey" in each.text for each in found)
    assert all("said_by_the_named" not in each.why for each in found)


async def test_a_filter_bounds_what_is_searched(memory: TextMemory) -> None:
    others = {"pmll.session": "1"}
    found = await ResearchController(memory, where=others).evidence(BOOKS)
    assert {each.session for each in found} == {"1"}
    assert len(found) == 4


async def test_one_cycle_must_do_if_no_more_are_allowed(memory: TextMemory) -> None:
    result = await ResearchController(memory, max_cycles=1).run(BOOKS)
    assert (result.status, result.cycles) == ("done", 1)
    assert evidence_of(result).found


@pytest.mark.parametrize(
    "question", ["", "  ", "🙂🙂", "of the", "?" * 300, "Ann " * 2500, "x" * 10_000, "\x00\u2028"]
)
async def test_any_question_has_an_end(memory: TextMemory, question: str) -> None:
    result = await ResearchController(memory).run(question, run_id="r")
    assert result.status == "done"
    entries = await journal(memory.lattice, "r")
    assert max(len(json.dumps(_plain(entry.context))) for entry in entries) < 64 * 1024


def _plain(value: Any) -> Any:
    if hasattr(value, "items"):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


async def test_an_empty_memory_has_no_evidence() -> None:
    async with opened(HashingEmbedder(dim=64)) as memory:
        research = ResearchController(memory)
        result = await research.run(BOOKS)
        assert (result.status, result.text, result.data) == ("done", "nothing is found", Evidence())
        assert await research.findings(result) == []


@pytest.mark.parametrize("k", [0, -1, 101])
async def test_k_is_bounded(memory: TextMemory, k: int) -> None:
    with pytest.raises(ValueError, match=f"k is between 1 and 100, not {k}"):
        ResearchController(memory, k=k)


async def test_k_is_the_most_that_is_found(memory: TextMemory) -> None:
    assert len(await ResearchController(memory, k=1).evidence(BOOKS)) == 1
    texts = sum(len(turns) for turns in SESSIONS)
    every = await ResearchController(memory, k=100).evidence(BOOKS)
    assert len(every) <= texts
    few = await ResearchController(memory, k=3).evidence(BOOKS)
    assert [each.anchor for each in every[:3]] == [each.anchor for each in few]


async def test_a_lattice_has_no_texts(memory: TextMemory) -> None:
    with pytest.raises(TypeError, match="give it a TextMemory"):
        ResearchController(memory.lattice)  # type: ignore[arg-type]  # what is tested


async def test_an_erased_text_is_no_more_evidence(memory: TextMemory) -> None:
    class Eraser(TextMemory):
        erased = ""

        async def get(self, anchor: str) -> Recollection:
            if anchor == self.erased:
                raise LineErasedError(anchor)
            return await super().get(anchor)

    async with Eraser(memory.lattice, memory.embedder) as eraser:
        research = ResearchController(eraser, k=3)
        result = await research.run(BOOKS)
        first, *others = evidence_of(result).found
        eraser.erased = first.anchor
        left = await research.findings(result)
        assert [each.anchor for each in left] == [each.anchor for each in others]


# --- what it writes -------------------------------------------------------------------------------


@pytest.mark.parametrize("embedder", [HashingEmbedder(dim=64), Meaning()])
async def test_recall_is_the_same_after_runs_as_before(
    embedder: HashingEmbedder | Meaning,
) -> None:
    questions = [BOOKS, "Who sells honey?", "", "market"]
    async with opened(embedder) as memory:
        await remember(memory)

        async def asked() -> list[Any]:
            found = [await memory.recall(q, 20, neighbours=2, explain=True) for q in questions]
            return [*found, await memory.recent(None)]

        before = await asked()
        for question in questions:
            await ResearchController(memory).run(question)
        assert await asked() == before


async def test_a_run_is_eight_commits_or_five(memory: TextMemory) -> None:
    begun = memory.lattice.revision
    await ResearchController(memory).run(BOOKS)
    assert memory.lattice.revision == begun + 8
    await ResearchController(memory).run("When did Ann read Middlemarch?")
    assert memory.lattice.revision == begun + 13


# --- the same again -------------------------------------------------------------------------------


async def test_two_runs_find_the_same_in_the_same_order(memory: TextMemory) -> None:
    first = await ResearchController(memory).run(BOOKS)
    again = await ResearchController(memory).run(BOOKS)
    assert first.data == again.data
    assert first.run_id != again.run_id


async def test_runs_side_by_side_find_what_each_finds_alone(memory: TextMemory) -> None:
    research = ResearchController(memory)
    questions = [BOOKS, "Who sells honey?", "Which instruments are played?"]
    alone = [(await research.run(question)).data for question in questions]
    together: dict[int, Any] = {}

    async def run(number: int) -> None:
        together[number] = (await research.run(questions[number % 3])).data

    async with anyio.create_task_group() as tasks:
        for number in range(9):
            tasks.start_soon(run, number)
    assert [together[number] for number in range(9)] == alone * 3


@pytest.mark.parametrize("stop", range(1, 22))
async def test_a_resumed_run_finds_what_it_would_have_found(memory: TextMemory, stop: int) -> None:
    whole = await ResearchController(memory).run(BOOKS)
    seen = 0

    def crash(event: Event) -> None:
        nonlocal seen
        seen += 1
        if seen == stop:
            raise Stop

    with crashing():
        await ResearchController(memory, observers=[crash]).run(BOOKS, run_id="r")
    planned = len(await journal(memory.lattice, "r")) > 1
    # What comes later is nothing to a run that had begun to search.
    if planned:
        await memory.remember("I read novels and books, all of them.", speaker="Ann", session="9")
    resumed = await ResearchController(memory).resume("r")
    assert (resumed.status, resumed.data) == ("done", whole.data)


async def test_a_search_that_fails_is_raced_again_with_nothing_lost() -> None:
    embedder = Meaning()

    def fail(event: Event) -> None:
        if isinstance(event, Reflected) and isinstance(event.verdict, Continue):
            embedder.failures = 1

    async with opened(embedder) as memory:
        await remember(memory)
        result = await ResearchController(memory, observers=[fail]).run(BOOKS, run_id="r")
        verdicts = [facts[2:] for facts in phases(await journal(memory.lattice, "r"))]
        assert verdicts.count(("reflect", "retry")) == 1
        assert result.data == (await ResearchController(memory).run(BOOKS)).data


async def test_a_run_that_a_rule_ends_has_no_evidence_yet(memory: TextMemory) -> None:
    hurried = ResearchController(memory, rules=[time_budget(0)])
    with pytest.raises(ResearchStoppedError, match="is exhausted: 0 seconds are over") as stopped:
        await hurried.evidence(BOOKS)
    run_id = stopped.value.result.run_id
    research = ResearchController(memory)
    assert await research.findings(await research.resume(run_id))


async def test_a_run_goes_on_in_another_process_and_on_disk(tmp_path: Path) -> None:
    async with TextMemory.open(tmp_path) as memory:
        await remember(memory)
        result = await ResearchController(memory).run(BOOKS, run_id="r")
    async with TextMemory.open(tmp_path) as memory:
        research = ResearchController(memory)
        (info,) = await research.runs()
        assert (info.run_id, info.status) == ("r", "done")
        known = await research.resume("r")
        assert known.data == result.data
        assert await research.findings(known)
