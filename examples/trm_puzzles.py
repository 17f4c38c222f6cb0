"""A tiny recursive model learns Sudoku, and begins with what it remembers.

Run it with ``python examples/trm_puzzles.py``; it needs ``pip install 'pmll-async[models]'``. It
takes half a minute; the number behind it is of steps of training.
"""

import asyncio
import sys
import tempfile

import numpy as np

from controllers.trm import PuzzleSolver, ReconsiderController, Sudoku, text_of
from pmll_async import Lattice
from pmll_async.models import TRM, TRMConfig, train_trm

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000


async def main() -> None:
    """Train, and use what was trained."""
    family = Sudoku(4, pool=40)
    config = TRMConfig(family.tokens, family.cells, width=32, latents=2)
    model = await train_trm(TRM(config), family.draw, steps=STEPS, batch=32, rate=4e-3)

    with tempfile.TemporaryDirectory() as folder:
        await use(model, family, folder)


async def use(model: TRM, family: Sudoku, folder: str) -> None:
    """Solve some puzzles, meet one again, and go back over what was solved."""
    rng, size = np.random.default_rng(1), model.config.state_dim
    async with Lattice.open(folder, dim=family.dim, value_dim=size) as lattice:
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
