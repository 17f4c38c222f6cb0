"""Bring in a thread's messages and a user's facts from Zep. Running it again adds nothing.

`zep_export.json` has the messages and the edges of the graph as Zep's API returns them. Run it
with ``python examples/from_zep.py``.
"""

import asyncio
import json
import tempfile
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from pmll_async import LineNotFoundError
from pmll_async.text import TextMemory, Utterance


def turn(message: dict[str, Any], thread: str) -> Utterance:
    """A message under the id that it has in Zep; the thread is its session."""
    return Utterance(
        text=message["content"],
        speaker=message.get("name") or message["role"],  # Zep 2 has the name in `role`
        session=thread,
        timestamp=datetime.fromisoformat(message["created_at"]).timestamp(),
        idempotency_key=message["uuid"],
    )


async def bring_facts(memory: TextMemory, edges: list[dict[str, Any]]) -> None:
    """Store the facts that hold; each that ended since an earlier run leaves recall."""
    for edge in edges:
        if edge["invalid_at"]:
            # To forget it frees its key: after that this finds nothing, however often it runs.
            with suppress(LineNotFoundError):
                await memory.forget((await memory.lattice.find(edge["uuid"])).anchor)
            continue
        began = datetime.fromisoformat(edge["valid_at"] or edge["created_at"]).timestamp()
        await memory.remember(edge["fact"], timestamp=began, idempotency_key=edge["uuid"])


async def main(folder: str) -> None:
    """Bring everything in twice, and ask."""
    export = json.loads(Path(__file__).with_name("zep_export.json").read_text(encoding="utf-8"))
    async with TextMemory.open(folder) as memory:
        for _ in range(2):
            messages = (turn(each, export["thread_id"]) for each in export["messages"])
            new = await memory.remember_many(messages)
            await bring_facts(memory, export["edges"])
            print(f"{new} new messages, {memory.lattice.revision} records")
        for found in await memory.recall("Where does Maya work?", k=2):
            print(f"Recalled: {found.text}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(directory))
