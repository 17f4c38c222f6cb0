"""Two candidates race; the better one goes on the chain, the other is kept beside it.

Run it with ``python examples/race.py``.
"""

import asyncio
import tempfile

from pmll_async import Candidate, Lattice, LatticeView
from pmll_async.text import HashingEmbedder

EMBEDDER = HashingEmbedder(dim=64)


async def short_answer(_view: LatticeView) -> Candidate:
    """A candidate function sees one snapshot and proposes a line."""
    text = "water boils at 100 degrees"
    return Candidate(key=EMBEDDER.embed([text])[0], context={"text": text}, confidence=0.6)


async def full_answer(_view: LatticeView) -> Candidate:
    """It runs at the same time as the others, and has no side effects, since it may lose."""
    text = "water boils at 100 degrees Celsius at sea level"
    return Candidate(key=EMBEDDER.embed([text])[0], context={"text": text}, confidence=0.9)


async def main(folder: str) -> None:
    """Race them, then look at what became of both."""
    async with Lattice.open(folder, dim=64) as lattice:
        question = EMBEDDER.embed(["when does water boil?"])[0]
        outcome = await lattice.race([short_answer, full_answer], query=question)

        for entry in outcome.scores:
            print(f"{entry.name}: {entry.score:.3f}")
        print(f"Winner: {outcome.winner.context['text']}")
        for branch in await lattice.branches(outcome.winner.anchor):
            print(f"Branch of strength {branch.strength}: {branch.context['text']}")
        print(f"Lines on the chain: {len(lattice)}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(directory))
