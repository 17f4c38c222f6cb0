"""Many lines: a store that takes little room, and codes that propose what exact weights decide.

Run it with ``python examples/many_lines.py``; it needs ``pip install 'pmll-async[lmdb,faiss]'``.
"""

import asyncio
import tempfile
from collections.abc import Iterator

import numpy as np

from pmll_async import Candidate, Lattice
from pmll_async.indexes.faiss import FaissIndex

LINES, DIM = 10_000, 128


def candidates(random: np.random.Generator) -> Iterator[Candidate]:
    """Keys about a hundred topics."""
    topics = random.standard_normal((100, DIM))
    for number in range(LINES):
        key = topics[number % 100] + 0.7 * random.standard_normal(DIM)
        yield Candidate(key=key, context={"topic": number % 100, "number": number})


async def main(folder: str) -> None:
    """Fill an LMDB store, then ask with codes and without."""
    random = np.random.default_rng(7)
    path = f"{folder}/memory.lmdb"  # the suffix chooses the store
    # New lines are compared with the newest so many, or putting would take longer and longer.
    async with Lattice.open(path, dim=DIM, value_dim=0, novelty_window=2_000) as lattice:
        print(f"Stored {await lattice.put_many(candidates(random))} lines.")
        [line] = [line async for line in lattice.rewind(where={"number": 4321})]

    index = FaissIndex()
    async with Lattice.open(path, index=index, read_only=True) as lattice:
        # Else the first question would have it done in the background.
        await asyncio.to_thread(index.build)
        coded = await lattice.query(line.key, k=10, now=line.committed_at)

    async with Lattice.open(path, read_only=True) as lattice:
        exact = await lattice.query(line.key, k=10, now=line.committed_at)
    both = {each.anchor for each in coded} & {each.anchor for each in exact}
    print(f"Their topics: {sorted({each.context['topic'] for each in exact})}")
    print(f"Codes found {len(both)} of the best {len(exact)}.")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(directory))
