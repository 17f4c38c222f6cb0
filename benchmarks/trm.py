"""What its memory does for a tiny recursive model: puzzles that come back, and new ones.

Run it with ``python -m benchmarks.trm`` (extra `models`), on one core with ``OMP_NUM_THREADS=1``:
some ten minutes of training, and as many of measuring; with ``--weights FOLDER`` the models are
kept. Every arm of a comparison sees the same puzzles and the same memory, which forgets them again.
Two candidates that begin with noise stand against two that begin with what was recalled, so that
both have as many tries. Intervals are 95 %, by a bootstrap over puzzles.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from controllers.trm import Cells, Family, Frame, Maze, PuzzleSolver, Sudoku
from controllers.trm.mazes import OPEN, WALL, WAY
from controllers.trm.thoughts import Craft, puzzle_of
from pmll_async import Lattice
from pmll_async.models import TRM, TRMConfig, load_trm, save_trm, train_trm
from pmll_async.stores.memory import MemoryStore

MOST_STEPS, DRAWS = 16, 2_000
ARMS = {"cold": (0, 0), "noise": (0, 2), "memory": (2, 0)}
"""How many candidates begin with what was recalled, and with noise, beside the cold one."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A kind of puzzle and a training: the seed of the family is another for other puzzles."""

    name: str
    family: Callable[[int], Family]
    steps: int
    rate: float
    local: bool = False


CASES = (
    Case("Sudoku 4 × 4", lambda seed: Sudoku(4, seed=seed), 1_000, 4e-3),
    Case("Sudoku 6 × 6, less training", lambda seed: Sudoku(6, seed=seed, pool=100), 900, 2e-3),
    Case("Sudoku 6 × 6", lambda seed: Sudoku(6, seed=seed, pool=100), 2_000, 2e-3),
    Case("maze 8 × 8", lambda seed: Maze(seed=seed), 1_500, 2e-3, local=True),
)


@dataclass(frozen=True)
class Told:
    """How an arm did, puzzle by puzzle; what is not solved took all steps."""

    right: Floats
    steps: Floats


async def learned(case: Case, folder: Path | None, steps: int) -> TRM:
    family = case.family(0)
    path = None if folder is None else folder / f"{case.name.replace(' ', '_')}.safetensors"
    if path is not None and path.exists():
        return await load_trm(path)
    family.draw(np.random.default_rng(0), 1)  # makes the pool, which is no training
    begun = time.process_time()
    config = TRMConfig(family.tokens, family.cells, latents=3, local=case.local)
    model = await train_trm(TRM(config), family.draw, steps=steps, batch=32, rate=case.rate)
    size = sum(each.numel() for each in model.parameters())
    print(f"  {size} weights, trained in {time.process_time() - begun:.0f} s", flush=True)
    if path is not None:
        await save_trm(model, path)
    return model


def puzzles(family: Family, count: int, seed: int) -> list[Cells]:
    drawn, _ = family.draw(np.random.default_rng(seed), count)
    return [tuple(row) for row in drawn.tolist()]


def solver(memory: Lattice, model: TRM, family: Family, arm: str, *, checked: bool) -> PuzzleSolver:
    warm, noise = ARMS[arm]
    return PuzzleSolver(
        memory,
        model,
        family,
        warm=warm,
        noise=noise,
        steps=MOST_STEPS,
        checked=checked,
        max_cycles=1,
    )


async def told_by(
    memory: Lattice, model: TRM, family: Family, arm: str, asked: Sequence[Cells], checked: bool
) -> Told:
    point, right, steps = memory.revision, [], []
    solving = solver(memory, model, family, arm, checked=checked)
    for number, puzzle in enumerate(asked):
        found = await solving.solve(puzzle, run_id=f"{arm}-{number}")
        right.append(float(family.check(puzzle, found.answer)))
        steps.append(found.steps if found.right else MOST_STEPS)
        await memory.rollback(point)
    return Told(np.array(right), np.array(steps, float))


async def reused(
    memory: Lattice, model: TRM, family: Family, asked: Sequence[Cells], checked: bool
) -> float:
    """The share that the most similar answer solves as it is, turned and renamed."""
    craft, hits = Craft(model, family, checked), 0
    for puzzle in asked:
        for found in await craft.recalled(memory.at(memory.revision), puzzle, 1):
            answer = found.frame.back(puzzle_of(await memory.get(found.anchor), "answer"))
            if isinstance(family, Maze):
                # The way alone is reused: walls may have been built beside it.
                answer = marked(puzzle, answer)
            hits += family.check(puzzle, answer)
    return hits / len(asked)


def marked(puzzle: Cells, answer: Cells) -> Cells:
    pairs = zip(puzzle, answer, strict=True)
    return tuple(WAY if theirs == WAY and mine == OPEN else mine for mine, theirs in pairs)


def changed(maze: Maze, puzzle: Cells, rng: np.random.Generator) -> Cells | None:
    """The maze turned, and with a wall on its way, so that another way is the only shortest."""
    seen = Frame(maze.turns[rng.integers(8)], tuple(range(5))).seen(puzzle)
    answer = maze._answer(seen)
    assert answer is not None
    for cell in rng.permutation(np.flatnonzero(np.array(answer) == WAY)).tolist():
        blocked = (*seen[:cell], WALL, *seen[cell + 1 :])
        if maze._answer(blocked) is not None:
            return blocked
    return None


def gain(left: Floats, right: Floats, form: str) -> str:
    """left − right with its interval, over pairs."""
    apart = left - right
    rng = np.random.default_rng(0)
    means = apart[rng.integers(len(apart), size=(DRAWS, len(apart)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return f"{apart.mean():{form}} [{low:{form}}, {high:{form}}]"


async def measure(case: Case, model: TRM, count: int, *, checked: bool) -> None:
    family, others = case.family(1), case.family(2)
    known = puzzles(family, count, 5)
    rng = np.random.default_rng(6)
    sets = {
        "again": [family.again(rng, puzzle) for puzzle in known],
        "new": puzzles(others, count, 7),
    }
    if isinstance(family, Maze):
        blocked = (changed(family, puzzle, rng) for puzzle in known)
        sets["changed"] = [puzzle for puzzle in blocked if puzzle is not None]
    size = {"dim": family.dim, "value_dim": model.config.state_dim}
    async with Lattice(MemoryStore(), **size, clock=lambda: 1e9) as memory:
        filling = solver(memory, model, family, "noise", checked=checked)
        for puzzle in known:
            await filling.solve(puzzle)
        for name, asked in sets.items():
            if not asked:
                continue
            arms = {arm: await told_by(memory, model, family, arm, asked, checked) for arm in ARMS}
            same = await reused(memory, model, family, asked, checked)
            rights = " ".join(f"{each.right.mean():.3f}" for each in arms.values())
            steps = " ".join(f"{each.steps.mean():.2f}" for each in arms.values())
            by_memory, by_noise = arms["memory"], arms["noise"]
            print(
                f"  {'checked' if checked else 'by confidence'}, {name} ({len(asked)}):"
                f" right {rights}, memory − noise {gain(by_memory.right, by_noise.right, '+.3f')};"
                f" steps {steps}, {gain(by_memory.steps, by_noise.steps, '+.2f')};"
                f" as recalled {same:.2f}",
                flush=True,
            )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="show that everything runs")
    parser.add_argument("--puzzles", type=int, default=100)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--only", help="of the kinds, those whose name has this in it")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(f"arms: {', '.join(ARMS)}")
    for case in CASES:
        if asked.only and asked.only not in case.name:
            continue
        print(case.name, flush=True)
        model = await learned(case, asked.weights, 5 if asked.quick else case.steps)
        for checked in (True, False):
            await measure(case, model, 4 if asked.quick else asked.puzzles, checked=checked)


if __name__ == "__main__":
    asyncio.run(main())
