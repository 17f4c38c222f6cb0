"""Two agents share one lattice: one collects facts, the other reads them and sees every commit.

Run it with ``python examples/two_agents.py``.
"""

import asyncio
import tempfile

from pmll_async import Lattice, LinePut, StaleAnchorError
from pmll_async.text import HashingEmbedder

FACTS = ("the door is locked", "the key is under the mat", "the dog is friendly")
EMBEDDER = HashingEmbedder(dim=64)


async def scout(lattice: Lattice) -> None:
    """Write. Single calls need no lock, whoever else writes at the same time."""
    for fact in FACTS:
        await lattice.put(EMBEDDER.embed([fact])[0], context={"fact": fact, "by": "scout"})


async def planner(lattice: Lattice, ready: asyncio.Event) -> None:
    """Wait for the facts, then answer a question from them."""
    async with lattice.events() as events:
        ready.set()
        seen = 0
        async for event in events:
            seen += isinstance(event, LinePut)
            if seen == len(FACTS):
                break
    question = EMBEDDER.embed(["where is the key?"])[0]
    best = (await lattice.query(question, k=1, where={"by": "scout"}))[0]
    print(f"planner found: {best.context['fact']}")


async def main(folder: str) -> None:
    """Let both work at once, then let both claim the same place on the chain."""
    async with Lattice.open(folder, dim=64) as lattice:
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as agents:
            agents.create_task(planner(lattice, ready))
            await ready.wait()
            agents.create_task(scout(lattice))

        # Only one of two writers that build on the same head gets it; the other is told.
        head = lattice.head
        await lattice.note({"decision": "go in", "by": "planner"}, prev_anchor=head)
        try:
            await lattice.note({"decision": "wait", "by": "scout"}, prev_anchor=head)
        except StaleAnchorError as error:
            print(f"scout came too late: the head is {error.current}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(directory))
