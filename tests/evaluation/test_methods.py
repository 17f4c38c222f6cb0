"""The methods on one conversation: what they find, what they share, what they leave behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_support import HARBOUR, real

from pmll_async import Lattice
from pmll_async.evaluation.locomo import Conversation, read_conversations
from pmll_async.evaluation.measures import MEASURES
from pmll_async.evaluation.methods import METHODS, Ask, Setting, by_rank, standardised
from pmll_async.evaluation.runs import DAY, Evaluation, evaluate
from pmll_async.text import HashingEmbedder, Scorer
from pmll_async.values.concert import Float64


@pytest.fixture(scope="module")
def conversations() -> list[Conversation]:
    return read_conversations(HARBOUR)


@pytest.mark.parametrize("name", METHODS)
async def test_every_method_finds_most_of_the_evidence(
    name: str, conversations: list[Conversation], tmp_path: Path
) -> None:
    found = await evaluate(conversations, {name: METHODS[name]}, HashingEmbedder(), tmp_path)
    (result,) = found.results
    assert result.method == name
    assert result.over_all.measures["recall@20"].mean > 0.8
    assert 0 < result.p50_ms <= result.p95_ms


async def some(conversations: list[Conversation], folder: Path, **options: float) -> Evaluation:
    chosen = {name: METHODS[name] for name in ("dialogue", "bm25")}
    return await evaluate(conversations, chosen, HashingEmbedder(), folder, **options)


async def test_results_are_by_category_and_over_all(
    conversations: list[Conversation], tmp_path: Path
) -> None:
    found = await some(conversations, tmp_path)
    assert (found.conversations, found.questions, found.skipped, found.lines) == (1, 9, 2, 30)
    assert found.lines_per_second == found.lines / found.seconds
    for result in found.results:
        assert [(group.name, group.questions) for group in result.groups] == [
            ("multi-hop", 2),
            ("temporal", 1),
            ("open-domain", 1),
            ("single-hop", 4),
            ("adversarial", 1),
            ("all", 9),
        ]
        assert all(tuple(group.measures) == MEASURES for group in result.groups)


async def test_one_seed_gives_the_same_numbers_again(
    conversations: list[Conversation], tmp_path: Path
) -> None:
    first, again, other = [
        await some(conversations, tmp_path / name, seed=seed)
        for name, seed in (("first", 3), ("again", 3), ("other", 4))
    ]
    groups = [[result.groups for result in found.results] for found in (first, again, other)]
    assert groups[0] == groups[1] != groups[2]


async def test_every_conversation_is_a_lattice_of_its_own(
    conversations: list[Conversation], tmp_path: Path
) -> None:
    found = await some(conversations * 2, tmp_path)
    assert (found.lines, found.questions) == (60, 18)
    for folder in ("0", "1"):
        async with Lattice.open(tmp_path / folder) as lattice:
            assert len(lattice) == 30


async def test_progress_is_told_to_the_end(
    conversations: list[Conversation], tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    chosen = {name: METHODS[name] for name in ("bm25", "cosine")}
    await evaluate(
        conversations * 2,
        chosen,
        HashingEmbedder(),
        tmp_path,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (2 * 30 + 2 * 2 * 9,) * 2
    assert told == sorted(told)


async def test_the_specification_prefers_what_was_just_said(
    conversations: list[Conversation], tmp_path: Path
) -> None:
    asked: list[Setting] = []
    newest: dict[float, list[str]] = {}

    @asynccontextmanager
    async def watched(setting: Setting) -> AsyncIterator[Ask]:
        asked.append(setting)
        async with METHODS["specification"](setting) as ask:
            newest[setting.now] = await ask("the lighthouse lamps of Ingrid", 3)
            yield ask

    last = max(turn.timestamp for turn in conversations[0].turns)
    for number, seconds in enumerate((0.0, DAY)):
        await evaluate(
            conversations,
            {"watched": watched},
            HashingEmbedder(),
            tmp_path / str(number),
            now_after=seconds,
        )
    assert [setting.now - last for setting in asked] == [0.0, DAY]
    assert newest[last][0].startswith("D3:")
    assert newest[last + DAY][0] == "D1:8"


def points(*given: float) -> Scorer:
    return lambda _search: np.array(given)


def scored(scorer: Callable[[Any], Float64]) -> list[float]:
    return [round(float(each), 6) for each in scorer(None)]


def test_ranks_count_from_1_and_only_for_what_was_given_points() -> None:
    assert scored(by_rank(points(0.5, 0.0, 2.0, -1.0))) == [
        round(1 / 62, 6),
        0.0,
        round(1 / 61, 6),
        round(1 / 64, 6),
    ]


def test_of_equal_points_the_earlier_ranks_higher() -> None:
    assert scored(by_rank(points(1.0, 1.0))) == [round(1 / 61, 6), round(1 / 62, 6)]


def test_standardised_points_have_mean_0_and_deviation_1() -> None:
    assert scored(standardised(points(1.0, 3.0))) == [-1.0, 1.0]
    assert scored(standardised(points(2.0, 2.0))) == [0.0, 0.0]
    assert scored(standardised(points())) == []


@pytest.mark.slow
async def test_text_recall_beats_bm25_on_the_real_data(tmp_path: Path) -> None:
    found = await some(read_conversations(real("locomo/locomo_dev.json")), tmp_path)
    dialogue, bm25 = (result.over_all.measures["recall@10"] for result in found.results)
    assert 0.62 < bm25.mean < 0.68
    assert dialogue.low > bm25.high
