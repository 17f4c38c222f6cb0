"""PrecisionMemBench: how beliefs are kept and looked up, and how a case is judged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from evaluation_support import BELIEFS, belief, case, real, write_beliefs

from pmll_async import InvalidInputError
from pmll_async.evaluation.beliefs import Case, read_beliefs, read_cases
from pmll_async.evaluation.precision import (
    FAILED,
    NOT_EXPRESSIBLE,
    PASSED,
    Answer,
    Outcome,
    answer,
    judged,
    remember,
    run,
)
from pmll_async.text import HashingEmbedder, TextMemory
from pmll_async.text.presets import NOTES

ANSWER = {
    "personaPrelude": ["Prefers short answers."],
    "pinnedFacts": ["tools"],
    "openQuestions": ["hedge"],
    "relevantBeliefs": ["tomatoes", "compost"],
}


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[TextMemory]:
    folder = write_beliefs(tmp_path, [])
    async with TextMemory.open(tmp_path / "memory", preset=NOTES) as opened:
        await remember(opened, read_beliefs(folder))
        yield opened


async def ask(memory: TextMemory, query: str, min_score: float = 0.0, **more: object) -> Answer:
    asked = Case.model_validate(case("asked", query, {}, **more))
    return await answer(memory, asked, min_score)


async def test_sections_are_looked_up_by_context(memory: TextMemory) -> None:
    found = await ask(memory, "tomatoes")
    assert found["personaPrelude"] == ["manner: Prefers short answers."]
    assert found["pinnedFacts"] == ["tools"]
    assert found["openQuestions"] == ["hedge"]


async def test_what_is_relevant_is_of_the_user_and_the_scope(memory: TextMemory) -> None:
    assert set((await ask(memory, "tomatoes"))["relevantBeliefs"]) <= {
        *("tomatoes", "compost", "nettles", "feeding")
    }
    boat = await ask(memory, "tomatoes", scope=["domain:boat"])
    assert boat["relevantBeliefs"] == ["engine"]
    both = await ask(memory, "tomatoes", scope=["domain:boat", "domain:garden"])
    assert {"engine", "tomatoes"} <= set(both["relevantBeliefs"])
    assert (await ask(memory, "tomatoes", userId="nobody"))["relevantBeliefs"] == []


async def test_superseded_beliefs_are_not_found(memory: TextMemory) -> None:
    found = await ask(memory, "blue fertiliser and guano from Peru")
    assert not {"fertiliser", "guano"} & set(found["relevantBeliefs"])


async def test_a_relation_brings_its_participants(memory: TextMemory) -> None:
    found = (await ask(memory, "What do tomatoes get?", min_score=0.5))["relevantBeliefs"]
    assert "feeding" in found
    assert found.count("nettles") == 1


async def test_pinned_facts_use_up_the_budget_first(memory: TextMemory) -> None:
    none, one, two = [
        await ask(memory, "tomatoes", budget={"maxBeliefs": most}) for most in range(3)
    ]
    assert (none["pinnedFacts"], none["relevantBeliefs"]) == ([], [])
    assert (one["pinnedFacts"], one["relevantBeliefs"]) == (["tools"], [])
    assert len(two["relevantBeliefs"]) == 1


async def test_a_high_least_score_leaves_nothing(memory: TextMemory) -> None:
    assert (await ask(memory, "monetary policy", min_score=0.5))["relevantBeliefs"] == []


def judge(**expect: Any) -> Outcome:
    return judged(Case.model_validate(case("judged", "?", expect)), ANSWER)


@pytest.mark.parametrize(
    ("section", "rules"),
    [
        ("personaPrelude", {"nonEmpty": True, "contains": ["short"], "mustNotContain": ["long"]}),
        ("pinnedFacts", {"mustInclude": ["tools"], "mustExclude": ["hedge"]}),
        ("relevantBeliefs", {"shouldOnlyInclude": ["compost", "tomatoes"]}),
    ],
)
def test_a_case_passes_when_every_rule_is_kept(section: str, rules: dict[str, object]) -> None:
    assert (judge(**{section: rules}).status, judge(**{section: rules}).reasons) == (PASSED, ())


@pytest.mark.parametrize(
    ("section", "rules", "reason"),
    [
        ("personaPrelude", {"isNull": True}, "personaPrelude: not empty"),
        ("personaPrelude", {"contains": ["long"]}, "personaPrelude: without 'long'"),
        ("personaPrelude", {"mustNotContain": ["short"]}, "personaPrelude: has 'short'"),
        ("pinnedFacts", {"mustInclude": ["a", "b"]}, "pinnedFacts: missing a, missing b"),
        ("openQuestions", {"mustExclude": ["hedge"]}, "openQuestions: has hedge"),
        (
            "relevantBeliefs",
            {"shouldOnlyInclude": ["nettles", "tomatoes"]},
            "relevantBeliefs: missing nettles, has compost",
        ),
        (
            "relevantBeliefs",
            {"shouldOnlyInclude": []},
            "relevantBeliefs: has tomatoes, has compost",
        ),
    ],
)
def test_a_case_fails_with_what_is_wrong(
    section: str, rules: dict[str, object], reason: str
) -> None:
    outcome = judge(**{section: rules})
    assert (outcome.status, outcome.reasons) == (FAILED, (reason,))


@pytest.mark.parametrize(
    ("section", "rules", "reason"),
    [
        ("relevantBeliefs", {"orderedBefore": [["a", "b"]]}, "'orderedBefore'"),
        ("sessionDrift", {"mustInclude": ["a"]}, "sessionDrift"),
        ("pinnedFacts", {"mustInclude": []}, "no rule that could fail"),
    ],
)
def test_a_rule_that_nobody_knows_is_not_expressible(
    section: str, rules: dict[str, object], reason: str
) -> None:
    outcome = judge(**{section: rules})
    assert outcome.status == NOT_EXPRESSIBLE
    assert reason in outcome.reasons[0]


@pytest.mark.parametrize(
    ("wanted", "precision", "recall"),
    [(["tomatoes"], 0.5, 1.0), (["tomatoes", "nettles"], 0.5, 0.5), ([], 0.0, None)],
)
def test_precision_and_recall_are_of_the_relevant_beliefs(
    wanted: list[str], precision: float, recall: float | None
) -> None:
    outcome = judge(relevantBeliefs={"shouldOnlyInclude": wanted})
    assert (outcome.precision, outcome.recall) == (precision, recall)


async def test_a_run_counts_its_outcomes(tmp_path: Path) -> None:
    folder = write_beliefs(
        tmp_path,
        [
            case("finds", "Solanum", {"relevantBeliefs": {"shouldOnlyInclude": ["tomatoes"]}}),
            case("loses", "Zebra", {"relevantBeliefs": {"shouldOnlyInclude": ["tomatoes"]}}),
            case("rests", "", {"relevantBeliefs": {"shouldOnlyInclude": []}}, category="Empty"),
            case("idles", "", {"pinnedFacts": {"mustInclude": []}}),
        ],
    )
    told: list[tuple[int, int]] = []
    found = await run(
        read_beliefs(folder),
        read_cases(folder),
        HashingEmbedder(),
        tmp_path / "memory",
        preset=NOTES,
        min_score=0.3,
        progress=lambda done, total: told.append((done, total)),
    )
    assert [each.status for each in found.outcomes] == [PASSED, FAILED, PASSED, NOT_EXPRESSIBLE]
    assert found.count(PASSED) == 2
    assert found.count(PASSED, "Empty") == 1
    assert found.categories == ["Gardening", "Empty"]
    assert [each.case for each in found.finding] == ["finds", "loses"]
    assert (found.mean_precision, found.mean_recall) == (0.5, 0.5)
    assert told[-1] == (4, 4)


async def test_without_anything_to_find_there_is_no_mean(tmp_path: Path) -> None:
    folder = write_beliefs(tmp_path, [])
    found = await run(
        read_beliefs(folder), [], HashingEmbedder(), tmp_path / "memory", preset=NOTES, min_score=0
    )
    assert (found.mean_precision, found.mean_recall) == (None, None)


@pytest.mark.parametrize("newer", ["nobody", "compost"])
def test_a_belief_is_superseded_by_a_later_one(tmp_path: Path, newer: str) -> None:
    late = belief("late", "Late.", superseded_by=newer, last_reinforced_at="2026-04-01T00:00:00Z")
    folder = write_beliefs(tmp_path, [], [*BELIEFS, late])
    with pytest.raises(InvalidInputError, match=rf"late: no later belief is '{newer}'"):
        read_beliefs(folder)


def test_an_error_names_the_file_and_the_belief(tmp_path: Path) -> None:
    broken = {name: value for name, value in BELIEFS[0].items() if name != "content"}
    folder = write_beliefs(tmp_path, [{}], [broken])
    with pytest.raises(
        InvalidInputError, match=r"beliefs\.seed\.json: beliefs\[0\]\.content: Field"
    ):
        read_beliefs(folder)
    with pytest.raises(InvalidInputError, match=r"retrieval\.cases\.json: cases\[0\]\.caseId"):
        read_cases(folder)


def test_a_time_without_a_zone_is_refused(tmp_path: Path) -> None:
    local = belief("local", "Local.", last_reinforced_at="2026-04-01T00:00:00")
    folder = write_beliefs(tmp_path, [], [*BELIEFS, local])
    with pytest.raises(InvalidInputError, match=r"last_reinforced_at: .*timezone"):
        read_beliefs(folder)


async def test_lookups_by_context_hold_on_the_real_data(tmp_path: Path) -> None:
    folder = real("precisionmembench")
    found = await run(
        read_beliefs(folder),
        read_cases(folder),
        HashingEmbedder(),
        tmp_path,
        preset=NOTES,
        min_score=0.5,
    )
    assert len(found.outcomes) == 77
    assert found.count(NOT_EXPRESSIBLE) == 1
    reasons = [reason for each in found.outcomes for reason in each.reasons]
    assert all(reason.startswith(("relevantBeliefs", "the case has no")) for reason in reasons)
