"""A nano GPT with a memory of hidden states (kNN-LM): what it gains, and what it costs elsewhere.

Run it with ``python examples/nano_gpt.py``; it needs ``pip install 'pmll-async[models]'``. It takes
some two minutes; numbers behind it are steps of training and characters to remember.
"""

import asyncio
import inspect
import sys
import tempfile
import textwrap

from pmll_async import Concert, Lattice
from pmll_async.models import Characters, KnnMemory, NanoGPT, library_text, train

STEPS, LINES = map(int, sys.argv[1:]) if len(sys.argv) > 1 else (800, 20_000)
TOKENS = Characters()
SCORED = 1000


def texts() -> tuple[list[int], list[int], list[int]]:
    """Topics of Python's reference to learn and remember, others of them, and some code."""
    topics = library_text()
    other = "\n".join(topics[::10])
    del topics[::10]
    learned = "\n".join(topics)
    source = inspect.getsource(textwrap)
    return TOKENS.encode(learned), TOKENS.encode(other), TOKENS.encode(source)


async def main(folder: str) -> None:
    """Train, remember, and compare on text of the same source and of another."""
    learned, same, other = texts()
    model = await train(NanoGPT(), learned, steps=STEPS)
    dim, window = model.config.dim, model.config.window
    async with Lattice.open(
        folder,
        dim=dim,
        value_dim=0,
        concert=Concert.cosine(),
        novelty_window=256,  # or many lines would take longer and longer
    ) as lattice:
        memory = KnnMemory(lattice, model, window=window)
        print(f"Remembered {await memory.remember(learned[:LINES])} states.")
        # λ is chosen on text that is not scored.
        mix = (await memory.score(same[SCORED : 2 * SCORED])).best_mix()
        for name, text in (("same source", same), ("another", other)):
            scores = await memory.score(text[:SCORED])
            print(f"{name}: {scores.nll(0.0):.2f} -> {scores.nll(mix):.2f} nats a character")
        said = await memory.sample(TOKENS.encode("The statement "), 30, temperature=0)
        print(f"It goes on: {TOKENS.decode(said)!r}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(directory))
