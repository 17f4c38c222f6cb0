"""Erasure on request: somebody wants to be forgotten, and gets a proof that nothing else changed.

Run it with ``python examples/erased_memory.py``.
"""

import asyncio
import tempfile
from pathlib import Path

from pmll_async import LineErasedError
from pmll_async.text import TextMemory

HERS = "My number is 555-0142, call me after five."


def mentions(folder: str) -> int:
    """How many files have the number in them."""
    files = [file for file in Path(folder).rglob("*") if file.is_file()]
    return sum(b"555-0142" in file.read_bytes() for file in files)


async def main(folder: str) -> None:
    """Remember two people, seal, erase one of them, and hold the log against the seal."""
    async with TextMemory.open(folder) as memory:
        lattice = memory.lattice
        told = await memory.remember(HERS, speaker="Ann", context={"user": "ann"})
        await memory.remember("I take the late train on Fridays.", context={"user": "ben"})
        seal = await lattice.seal()
        print(f"Files that have her number: {mentions(folder)}")

        would = await lattice.forget_where({"user": "ann"}, dry_run=True)
        print(f"To be erased: {len(would)} line")
        await lattice.forget_where({"user": "ann"}, erase=True)
        print(f"Files that have her number: {mentions(folder)}")

        try:
            await memory.get(told.anchor)
        except LineErasedError as error:
            print(f"Asked for it: {error}")
        print(f"Before, it knew: {[line.text for line in await memory.at(2).recent(5)]}")

        # The seal of before still holds, and the report names what is gone.
        found = await lattice.verify(expect=seal)
        print(f"As it was sealed: {found.holds}; erased: {found.report.erased == would}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(directory))
