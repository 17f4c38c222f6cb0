"""Dated notes: a fact that changes, what was believed before it did, and the newest notes.

Run it with ``python examples/dated_notes.py``.
"""

import asyncio
import tempfile
from datetime import UTC, datetime

from pmll_async.text import NOTES, TextMemory, Utterance


def day(month: int, number: int) -> float:
    """When a note was made, in seconds since the epoch."""
    return datetime(2025, month, number, tzinfo=UTC).timestamp()


async def main(folder: str) -> None:
    """Note, change one note, and ask before and after."""
    async with TextMemory.open(folder, preset=NOTES) as memory:
        flat = await memory.remember("Ben lives in Bergen, in a flat.", timestamp=day(1, 20))
        notes = [
            Utterance(text="Ben had his knee operated on.", timestamp=day(3, 4)),
            Utterance(text="The van passed its inspection.", timestamp=day(5, 12)),
        ]
        await memory.remember_many(notes)

        # One record: the new note is stored, and the old one leaves recall.
        house = await memory.supersede(
            flat.anchor, "Ben lives in Tromsø, in a house.", timestamp=day(6, 1)
        )
        for found in await memory.recall("Where does Ben live?", k=1):
            print(f"Now: {found.text}")

        # A point of the past is an anchor, a revision or a datetime. The latter goes by when a
        # note was stored, which is today for all of these, and not by the day that it is about.
        before = memory.at(flat.anchor)
        for found in await before.recall("Where does Ben live?", k=1):
            print(f"Before: {found.text}")

        # A question may name the day, the month or the year.
        for found in await memory.recall("What happened to Ben in March?", k=1):
            print(f"In March: {found.text}")

        print("The newest notes:")
        for note in await memory.recent(limit=2):
            print(f"  {datetime.fromtimestamp(note.timestamp, UTC):%d %B}: {note.text}")
        print(f"{len(memory.lattice)} notes, of which {house.anchor} replaced {flat.anchor}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(directory))
