from __future__ import annotations

import math
import pydoc

import numpy as np
import pytest
from text_support import opened

from pmll_async import InvalidInputError
from pmll_async.text import Part, Preset, Recollection, Scorer, Search, TextMemory, scorers


async def recalled_with(*parts: Part) -> list[Recollection]:
    async with opened(preset=Preset("mine", parts)) as memory:
        await memory.remember_many(["green tea", "black tea"])
        return await memory.recall("Who wants tea?")


@pytest.mark.parametrize(
    "points",
    [
        lambda search: 1.0,
        lambda search: np.zeros(len(search.rows) + 1),
        lambda search: np.full(len(search.rows), np.nan),
        lambda search: np.zeros((len(search.rows), 2)),
    ],
    ids=["a number", "too many", "nan", "a matrix"],
)
async def test_a_scorer_that_gives_something_else_is_named(points: Scorer) -> None:
    with pytest.raises(InvalidInputError, match="'odd' must give 2 finite numbers"):
        await recalled_with(Part("lexical", scorers.lexical()), Part("odd", points))


async def test_a_scorer_that_asks_for_an_unknown_part_is_told() -> None:
    with pytest.raises(InvalidInputError, match="'nobody'"):
        await recalled_with(Part("echo", scorers.echo("nobody")))


@pytest.mark.parametrize("name", ["lexical", "strength", "best"])
def test_names_of_parts_are_taken_once(name: str) -> None:
    parts = (Part("lexical", scorers.lexical()), Part(name, scorers.lexical()))
    with pytest.raises(InvalidInputError, match=name):
        Preset("mine", parts)


@pytest.mark.parametrize("curve", [{"middle": math.nan}, {"steepness": 0.0}, {"steepness": -1.0}])
def test_a_curve_rises(curve: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match="curve"):
        Preset("mine", (), **curve)


async def test_recollections_can_be_put_together() -> None:
    found = await recalled_with(Part("lexical", scorers.lexical()))
    assert len({*found, *found}) == len(found) == 2


async def test_a_scorer_of_ones_own_sees_when_things_were_said() -> None:
    def early(search: Search) -> np.ndarray:
        return -search.timestamps / 1e9

    async with opened(preset=Preset("early first", (Part("early", early),))) as memory:
        for seconds in (3e9, 1e9, 2e9):
            await memory.remember(f"tea at {seconds:g}", timestamp=seconds)
        found = await memory.recall("tea?", explain=True)
        assert [each.timestamp for each in found] == [1e9, 2e9, 3e9]
        assert [(each.given or {})["early"] for each in found] == [-1.0, -2.0, -3.0]


def test_the_help_of_opening_a_memory_is_short() -> None:
    told = pydoc.plain(pydoc.render_doc(TextMemory.open))
    assert "<Preset 'dialogue'" in told
    assert "<function" not in told
    assert len(told) < 1000
