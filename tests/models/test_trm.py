"""The tiny recursive model: training, thinking, files, and what it refuses."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_support import torch

from controllers.trm import PuzzleSolver, ReconsiderController, Sudoku
from pmll_async import InvalidInputError, Lattice
from pmll_async.models import TRM, TRMConfig, load_trm, save_trm, train_trm
from pmll_async.models.trm import trained
from pmll_async.stores.memory import MemoryStore

FAMILY = Sudoku(4, pool=40)
SMALL = TRMConfig(FAMILY.tokens, FAMILY.cells, width=32, latents=2)
PATIENCE = 10.0


@cache
def taught() -> TRM:
    """Solves about half of what it is given."""
    return trained(TRM(SMALL, seed=1), FAMILY.draw, steps=400, batch=32, rate=4e-3)


def drawn(count: int, seed: int = 7) -> list[tuple[int, ...]]:
    puzzles, _ = Sudoku(4, seed=5, pool=40).draw(np.random.default_rng(seed), count)
    return [tuple(row) for row in puzzles.tolist()]


def lattice() -> Lattice:
    return Lattice(MemoryStore(), dim=FAMILY.dim, value_dim=SMALL.state_dim, clock=lambda: 1_000.0)


def test_it_learns_puzzles_that_it_has_not_seen() -> None:
    rights = [FAMILY.check(one, taught().thought(one, steps=16).answer) for one in drawn(50)]
    untaught = TRM(SMALL, seed=1)
    assert sum(rights) > 20
    assert not any(FAMILY.check(one, untaught.thought(one, steps=4).answer) for one in drawn(50))


def test_its_confidence_tells_right_from_wrong() -> None:
    thoughts = [(one, taught().thought(one, steps=16)) for one in drawn(60)]
    sure = [FAMILY.check(one, each.answer) for one, each in thoughts if each.confidence > 0.5]
    doubtful = [FAMILY.check(one, each.answer) for one, each in thoughts if each.confidence <= 0.5]
    assert len(sure) > 10
    assert np.mean(sure) > 0.8
    assert not doubtful or np.mean(doubtful) < np.mean(sure)


def test_seeds_alone_decide() -> None:
    def told() -> list[float]:
        losses: list[float] = []
        model = TRM(SMALL, seed=2)
        trained(model, FAMILY.draw, steps=5, seed=3, told=lambda _, loss, __: losses.append(loss))
        return [*losses, *model.thought(drawn(1)[0]).state.tolist()]

    assert told() == told()
    one = drawn(1)[0]
    states = [taught().thought(one, noise=0.5, seed=seed).state for seed in (1, 1, 2)]
    assert np.array_equal(states[0], states[1])
    assert not np.array_equal(states[0], states[2])


def test_it_thinks_on_from_a_state() -> None:
    model, one = taught(), drawn(1)[0]
    twice = model.thought(one, model.thought(one, check=_never).state, check=_never)
    assert np.array_equal(twice.state, model.thought(one, steps=2, check=_never).state)
    assert twice.state.shape == (SMALL.state_dim,)
    assert model.thought(one, steps=5, check=_never).steps == 5
    assert model.thought(one, steps=5, check=lambda _: True).steps == 1


def test_thinking_leaves_no_gradient_and_changes_no_weight() -> None:
    model = taught()
    before = model.fingerprint()
    model.thought(drawn(1)[0], steps=3)
    assert model.fingerprint() == before
    assert all(parameter.grad is None for parameter in model.parameters())


async def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    await save_trm(taught(), path)
    again = await load_trm(path)
    assert again.config == SMALL
    assert again.fingerprint() == taught().fingerprint()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


async def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(b"\x80\x04pickled")
    with pytest.raises(InvalidInputError, match="holds no TRM"):
        await load_trm(path)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(InvalidInputError, match="holds no TRM"):
        await load_trm(path)


@pytest.mark.parametrize(
    ("question", "state", "said"),
    [
        ((0,) * 15, None, "15 cells, and this TRM thinks about 16"),
        ((5,) * 16, None, "numbers from 0 to 4"),
        ((-1,) * 16, None, "numbers from 0 to 4"),
        ((0,) * 16, [0.0], "a state of 1 numbers, and this TRM's have 1024"),
        ((0,) * 16, [float("nan")] * 1024, "NaN"),
    ],
)
def test_what_does_not_fit_is_refused(question: Any, state: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        taught().thought(question, state)


def test_a_board_of_neighbours_is_square() -> None:
    with pytest.raises(InvalidInputError, match="square"):
        TRM(TRMConfig(tokens=5, cells=10, local=True))


async def test_it_is_an_act_of_a_controller_and_its_memory_helps() -> None:
    async with lattice() as memory:
        solver = PuzzleSolver(memory, taught(), FAMILY)
        rng = np.random.default_rng(0)
        known = [puzzle for puzzle in drawn(12) if (await solver.solve(puzzle)).right]
        solved = [await solver.solve(FAMILY.again(rng, puzzle)) for puzzle in known]
        assert len(solved) > 4
        assert all(found.right for found in solved)
        assert sum(found.act.startswith("warm") for found in solved) > 0
        review = await ReconsiderController(memory, taught(), FAMILY, lines=4).review()
        assert len(review.stood) == 4


async def test_the_same_puzzle_and_memory_give_the_same_anchors() -> None:
    async def told() -> str:
        async with lattice() as memory:
            solver = PuzzleSolver(memory, taught(), FAMILY, noise=2)
            for number, puzzle in enumerate(drawn(3)):
                await solver.solve(puzzle, run_id=f"{number}")
            return memory.digest

    assert await told() == await told()


@pytest.mark.parametrize("what", ["think", "train"])
async def test_a_cancelled_call_stops_within_a_second(what: str) -> None:
    model, begun = TRM(TRMConfig(FAMILY.tokens, FAMILY.cells)), threading.Event()

    def going_on(*_: object) -> bool:
        begun.set()
        return False

    call = model.think(drawn(1)[0], steps=10**9, check=going_on)
    if what == "train":
        call.close()
        call = train_trm(model, FAMILY.draw, steps=10**9, told=going_on)
    task = asyncio.ensure_future(call)
    assert await asyncio.to_thread(begun.wait, PATIENCE)
    cancelled = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while any(thread.name == "pmll-model" for thread in threading.enumerate()):
        assert time.monotonic() - cancelled < 4  # a second, on an idle machine
        await asyncio.sleep(0.001)


async def test_the_loop_ticks_while_it_thinks_and_trains() -> None:
    spent: list[float] = []

    async def tick() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)
            spent.append(time.thread_time() - before)

    model = taught()
    ticking = asyncio.create_task(tick())
    async with lattice() as memory:
        solver = PuzzleSolver(memory, model, FAMILY)
        for puzzle in drawn(10):
            await solver.solve(puzzle)
    await train_trm(TRM(SMALL), FAMILY.draw, steps=40)
    ticking.cancel()
    await asyncio.wait([ticking])
    # In processor time of the loop's own thread, which no other process on the machine adds to: a
    # model that computed there would take all of it. 20 ms with the usual room.
    assert sorted(spent)[-3] < 4 * 0.020
    assert len(spent) > 50


def _never(_: Any) -> bool:
    return False
