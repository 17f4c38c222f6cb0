"""Bring in what mem0 remembers. Running it again adds nothing; a memory that changed is replaced.

`mem0_export.json` is what mem0's `get_all` returns. Run it with ``python examples/from_mem0.py``.
"""

import asyncio
import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from pmll_async.text import NOTES, TextMemory


async def bring_in(memory: TextMemory, export: dict[str, Any]) -> None:
    """Store each memory under its id and hash, so that what is stored already stays one line."""
    for each in export["results"]:
        text = each["memory"]
        about = {"mem0": each["id"], "user": each["user_id"], **(each["metadata"] or {})}
        when = datetime.fromisoformat(each["updated_at"] or each["created_at"]).timestamp()
        key = f"{each['id']} {each['hash']}"

        older = await memory.recent(limit=1, where={"mem0": each["id"]})
        if older and older[0].text != text:
            await memory.supersede(
                older[0].anchor, text, context=about, timestamp=when, idempotency_key=key
            )
        else:
            await memory.remember(text, context=about, timestamp=when, idempotency_key=key)


async def main(folder: str) -> None:
    """Bring in an export twice, then a later one, and ask."""
    path = Path(__file__).with_name("mem0_export.json")
    export = json.loads(path.read_text(encoding="utf-8"))
    async with TextMemory.open(folder, preset=NOTES) as memory:
        for _ in range(2):
            await bring_in(memory, export)
            print(f"{len(memory.lattice)} lines after {memory.lattice.revision} records")

        export["results"][1] |= {
            "memory": "Gave up the accordion and is learning to play the cello",
            "hash": "5a74c3c484ec86b96d29e700b1930732",
            "updated_at": "2025-06-15T03:31:09.114860+00:00",
        }
        await bring_in(memory, export)
        print(f"{len(memory.lattice)} lines after {memory.lattice.revision} records")
        for each in await memory.recall("What does Maya play?", where={"user": "maya"}):
            print(f"Recalled: {each.text}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(directory))
