"""Look at an earlier state with `at`, and go back to it with `rollback`.

Run it with ``python examples/time_travel.py``.
"""

import asyncio
import tempfile

from pmll_async import Lattice
from pmll_async.text import HashingEmbedder


async def main(folder: str) -> None:
    """Change one's mind, look back, and take it back."""
    embedder = HashingEmbedder(dim=64)
    question, tea, coffee = embedder.embed(
        ["what does Ada drink?", "Ada drinks tea", "Ada drinks coffee now"]
    )
    async with Lattice.open(folder, dim=64) as lattice:
        first = await lattice.put(tea, context={"text": "Ada drinks tea"})
        # The new line replaces the old one, which loses half of its strength.
        second = await lattice.put(
            coffee, context={"text": "Ada drinks coffee now"}, revises=[first]
        )

        best = (await lattice.query(question, k=1))[0]
        print(f"Now: {best.context['text']}")

        # A view is read-only and stays as it is, whatever is written meanwhile.
        then = lattice.at(first)
        best = (await then.query(question, k=1))[0]
        print(f"At {first}: {best.context['text']}")

        await lattice.rollback(first)
        best = (await lattice.query(question, k=1))[0]
        print(f"After the rollback: {best.context['text']}")

        # Nothing is lost: what was rolled back is off the chain and still readable.
        line = await lattice.get(second)
        print(f"Off the chain: {line.context['text']}, position {line.position}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(directory))
