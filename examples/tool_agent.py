"""An agent with tools: it looks up what it needs, orders what is missing, and remembers that."""

import asyncio
import json
import tempfile
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from controllers.llm import Message
from controllers.tool_agent import ToolAgent
from controllers.tools import Tool
from pmll_async.text import TextMemory

STOCK = {"tea": 3, "sugar": 9}


def stock(item: Annotated[str, Field(description="tea, say")]) -> int:
    """How many packets of an item are in stock."""
    return STOCK[item]


def order(item: str, count: int) -> str:
    """Order packets of an item."""
    STOCK[item] += count
    return f"{count} ordered"


async def model(messages: Sequence[Message]) -> str:
    """Stands in for a language model, so that the example needs no network.

    A real one: `OpenAIModel("gpt-4o-mini", api_key=...)` of `controllers.llm`.
    """
    looks = [{"tool": "stock", "arguments": {"item": item}} for item in ("tea", "sugar", "rum")]
    tea = {"tool": "order", "arguments": {"item": "tea", "count": 5}}
    turns = [
        {"thought": "What is there?", "calls": looks},
        {"thought": "Tea is short.", "calls": [tea]},
        {"answer": "Five packets of tea are ordered; there is sugar, and nobody knows of rum."},
    ]
    return json.dumps(turns[sum(message["role"] == "assistant" for message in messages)])


async def main(folder: str) -> None:
    """Run it, then ask the memory what it did, and the chain where that is written."""
    async with TextMemory.open(folder) as memory:
        agent = ToolAgent(memory, model, [stock, Tool(order, effect=True)])
        result = await agent.run("Have eight packets of tea and some sugar.", run_id="party")
        print(f"{result.status} after {result.cycles} turns: {result.text}")
        for line in await memory.recall("What was ordered?", 1, where={"tool.name": "order"}):
            print(f"remembered: {line.text}")
        async for entry in memory.lattice.rewind(where={"result.tool": "order"}):
            print(f"journaled:  {entry.context['result']}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(directory))
