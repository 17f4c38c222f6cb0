"""A tiny recursive model learns Sudoku, and begins with what it remembers (extra `models`).

Here it trains for a quarter of a minute and solves most puzzles; 1 000 steps take a minute on one
core, and then it solves nearly all.
"""

import asyncio

import numpy as np

from controllers.trm import PuzzleSolver, ReconsiderController, Sudoku, text_of
from pmll_async import Lattice
from pmll_async.models import TRM, TRMConfig, train_trm

STEPS = 400


async def main() -> None:
    family, rng = Sudoku(4, pool=40), np.random.default_rng(1)
    config = TRMConfig(family.tokens, family.cells, width=32, latents=2)
    model = await train_trm(TRM(config), family.draw, steps=STEPS, batch=32, rate=4e-3)

    async with Lattice.open("memory", dim=family.dim, value_dim=config.state_dim) as lattice:
        solver = PuzzleSolver(lattice, model, family)
        drawn, _ = Sudoku(4, seed=1, pool=10).draw(rng, 5)
        for puzzle in drawn.tolist():
            found = await solver.solve(puzzle)
            print(f"{text_of(puzzle)} -> {text_of(found.answer)}, right: {found.right}")

        # Turned, its digits renamed, and with less of it given.
        again = family.again(rng, puzzle)
        found = await solver.solve(again)
        print(f"{text_of(again)} -> {text_of(found.answer)} by {found.act} in {found.steps} steps")

        review = await ReconsiderController(lattice, model, family).review()
        print(f"Reconsidered: {len(review.stood)} stood, {len(review.replaced)} were replaced")

        # The pattern on which it is built: one step, and what it came to is remembered.
        thought = await model.think(again, steps=1)
        anchor = await lattice.put(family.key(again), thought.state, {"stage": "reflect"})
        print(f"One step more: {anchor}")


if __name__ == "__main__":
    asyncio.run(main())
