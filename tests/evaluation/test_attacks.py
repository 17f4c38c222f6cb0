"""The attacks on a memory, in a small town: what they do, and what keeps them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.attacks import main
from pmll_async.evaluation.attacks import Town, flood, suffer
from pmll_async.stores.memory import MemoryStore
from pmll_async.text import HashingEmbedder

TOWN = Town(facts=60, questions=20, victims=4)
DEFENCES = ("none", "min_trust=0.5", "min_sources=2")


@pytest.mark.parametrize("long_lines", [False, True])
@pytest.mark.parametrize("attack", ["trigger", "injection"])
async def test_a_lone_liar_hijacks_nothing_where_two_must_agree(
    attack: str, long_lines: bool
) -> None:
    town = Town(facts=60, questions=20, victims=4, long_lines=long_lines)
    found = await suffer(MemoryStore(), HashingEmbedder(), town, attack, DEFENCES)
    bare, trusted, agreed = found
    assert bare.hijacked >= 0.9
    assert bare.recall == 1.0
    assert (trusted.hijacked, agreed.hijacked) == (0.0, 0.0)
    # What nobody is trusted with is lost to trust, and not to agreement.
    assert trusted.recall <= 0.6
    assert bare.recall - agreed.recall <= 0.02
    assert bare.poisoned < 0.05


async def test_two_liars_are_two_sources() -> None:
    defences = ("min_sources=2", "min_sources=3")
    two, three = await suffer(MemoryStore(), HashingEmbedder(), TOWN, "collusion", defences)
    assert two.hijacked >= 0.9
    assert three.hijacked == 0.0


async def test_the_same_seed_is_the_same_attack() -> None:
    found = [
        await suffer(MemoryStore(), HashingEmbedder(), TOWN, "injection", DEFENCES)
        for _ in range(2)
    ]
    assert found[0] == found[1]


async def test_a_flood_has_half_of_an_answer_at_most() -> None:
    town = Town(facts=40)
    without, diverse = await flood(MemoryStore(), HashingEmbedder(64), 1000, town=town)
    assert without.share >= 0.9
    assert diverse.share <= 0.5


def test_the_command_prints_what_it_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--facts", "20", "--victims", "2", "--seeds", "1", "--flood", "50"]
    assert main([*small, "--json", str(tmp_path / "out.json")]) == 0
    printed = capsys.readouterr().out
    assert "injection  min_sources=2" in printed
    assert "50 near-duplicates, diversity=True" in printed
    assert (tmp_path / "out.json").exists()
