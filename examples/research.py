"""Research: several look-ups gather the texts that bear on a question, and a model answers."""

import asyncio
import json
import tempfile
from collections.abc import Sequence

from controllers.llm import Message
from controllers.research import ResearchController
from pmll_async.text import TextMemory, Utterance

TALKS = [
    ["Ann: Hi! I have read Middlemarch at last.", "Ben: Well done. My bees survived the frost."],
    ["Ben: My daughter has a cold.", "Ann: I borrowed a book by Sigrid Undset."],
    ["Ann: My sister plays the cello.", "Ben: I read the paper, and that is all."],
]
QUESTION = "What books has Ann been reading?"


async def model(messages: Sequence[Message]) -> str:
    """Stands in for a language model, so that the example needs no network.

    A real one: `OpenAIModel("gpt-4o-mini", api_key=...)` of `controllers.llm`.
    """
    if "look_ups` up to four" in messages[0]["content"]:
        return json.dumps({"look_ups": ["have read", "borrowed a book"]})
    return json.dumps({"answer": "Middlemarch and one by Sigrid Undset.", "anchors": []})


async def main(folder: str) -> None:
    """Research without a model and with one, then what the chain has of it."""
    async with TextMemory.open(folder) as memory:
        for session, turns in enumerate(TALKS):
            said = [turn.split(": ") for turn in turns]
            await memory.remember_many(
                Utterance(text=text, speaker=name, session=str(session)) for name, text in said
            )
        research = ResearchController(memory, k=2)
        for finding in await research.evidence(QUESTION):
            print(f"{finding.speaker}: {finding.text}")
            print(f"  in {', '.join(finding.why)}")

        answering = ResearchController(memory, model=model, k=4)
        result = await answering.run(QUESTION, run_id="books")
        print(f"{result.status} after {result.cycles} cycles: {result.text}")
        async for entry in memory.lattice.rewind(where={"pmll.run": "books", "pmll.stage": "plan"}):
            print(f"planned: {entry.context['text']}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(directory))
