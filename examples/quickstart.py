"""Remember one thing, find it again, and bend towards it.

Run it with ``python examples/quickstart.py``.
"""

import asyncio
import tempfile

from pmll_async import Lattice
from pmll_async.text import HashingEmbedder


async def main(folder: str) -> None:
    """Put a line, query for it, and compute the bias vector."""
    embedder = HashingEmbedder(dim=64)
    key, value = embedder.embed(
        ["recursion is a function calling itself", "think of the base case"]
    )

    async with Lattice.open(folder, dim=64) as lattice:
        anchor = await lattice.put(key, value, {"topic": "recursion"})
        print(f"Anchor A: {anchor}")

        question = embedder.embed(["what is recursion?"])[0]
        lines = await lattice.query(question, k=5)
        print(f"Queried {len(lines)} memory lines.")

        bias = await lattice.bias_vector(question, k=5)
        print(f"Bias Vector: [{', '.join(f'{number:.3f}' for number in bias[:4])}, ...]")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(directory))
