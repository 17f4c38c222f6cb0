"""A chat agent that remembers across restarts: told on Monday, known on Tuesday.

Run it with ``python examples/chat_memory.py``.
"""

import asyncio
import tempfile

from pmll_async.text import Recollection, TextMemory

MONDAY = (
    "I am allergic to peanuts, so please keep an eye on recipes for me.",
    "My sister Judith plays the cello in an orchestra in Leipzig.",
    "The train to Oslo leaves on Friday at nine.",
)
TUESDAY = (
    "When does the train to Oslo leave?",
    "What does my sister Judith play?",
    "What did the dentist say about my sister?",
)
KNOWN = 0.3  # below it the agent says that it was not told; measure it on questions of your own


def model(said: str, found: list[Recollection]) -> str:
    """Stands for a language model, which would be told what was found and answer in its words."""
    if not said.endswith("?"):
        return "I will remember that."
    return f"You told me: {found[0].text}" if found else "You have not told me."


async def reply(memory: TextMemory, session: str, said: str) -> str:
    """Recall what the user told that bears on this, answer, and remember both turns."""
    # Neither the agent's own words nor an earlier question of the user's are an answer.
    found = await memory.recall(
        said, k=3, min_score=KNOWN, where={"pmll.speaker": "Ann", "asks": False}
    )
    answer = model(said, found)
    await memory.remember(
        said, speaker="Ann", session=session, context={"asks": said.endswith("?")}
    )
    await memory.remember(answer, speaker="agent", session=session)
    return answer


async def chat(folder: str, session: str, turns: tuple[str, ...]) -> None:
    """One life of the agent. All that it takes over from the last one is the folder."""
    memory = await TextMemory.open(folder)
    try:
        for said in turns:
            print(f"{session}, Ann: {said}")
            print(f"{session}, agent: {await reply(memory, session, said)}")
    finally:
        await memory.aclose()  # which `async with TextMemory.open(folder) as memory` does itself


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(chat(directory, "Monday", MONDAY))
        asyncio.run(chat(directory, "Tuesday", TUESDAY))
