"""How much of a run a model is shown: never more than there is room for, and what matters of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from controllers import Allowance
from controllers.llm import ContextOverflowError, Message, Reply
from controllers.llm.fitting import longest_fitting, overflows, shortened
from controllers.policies import Usage
from controllers.tool_agent import ToolAgent
from controllers.tools import Tool
from pmll_async import InvalidInputError
from pmll_async.text import HashingEmbedder, TextMemory

TURNS = 31
PAGE = 15_000


class Reader:
    """A model that reads page after page and then answers; `context` is what it takes."""

    def __init__(self, turns: int = TURNS, context: int = 10**9, calls: int = 3) -> None:
        self.turns, self.context, self.calls = turns, context, calls
        self.sizes: list[int] = []
        self.refused = 0
        self.asked: list[list[Message]] = []
        self.moves = 0

    async def __call__(self, messages: Sequence[Message]) -> Reply:
        size = sum(len(message["content"]) for message in messages)
        if size > self.context:
            self.refused += 1
            raise ContextOverflowError("reader", "here", f"{size} is too much", 400)
        self.sizes.append(size)
        self.asked.append(list(messages))
        if self.moves == self.turns:
            return Reply(json.dumps({"answer": "read"}), Usage(1))
        first = self.moves * self.calls
        self.moves += 1
        wanted = [
            {"tool": "page", "arguments": {"number": first + number}}
            for number in range(self.calls)
        ]
        if self.moves == 1:
            wanted.append({"tool": "order", "arguments": {"item": "a lamp to read by"}})
        return Reply(json.dumps({"thought": f"turn {self.moves}", "calls": wanted}), Usage(1))


def page(number: int) -> str:
    """A page of a long book."""
    return f"page {number}: " + "lorem ipsum " * (PAGE // 12)


def order(item: str) -> str:
    """Order something."""
    return f"{item} ordered"


@pytest.fixture
async def texts(tmp_path: Path) -> AsyncIterator[TextMemory]:
    async with TextMemory.open(tmp_path, HashingEmbedder(dim=64)) as memory:
        yield memory


def agent(texts: TextMemory, model: Reader, **options: Any) -> ToolAgent:
    tools = [page, Tool(order, effect=True)]
    return ToolAgent(texts, model, tools, **{"max_cycles": TURNS + 1, **options})


async def test_a_long_run_sends_no_more_than_there_is_room_for(texts: TextMemory) -> None:
    model = Reader()
    result = await agent(texts, model, room=20_000).run("read the book", run_id="r")
    assert (result.status, result.text) == ("done", "read")
    assert len(model.sizes) == TURNS + 1
    # The schema of a reply comes on top.
    assert max(model.sizes) < 21_000
    last = "\n".join(message["content"] for message in model.asked[-1])
    assert "The first 30 turns are not shown any more" in last
    # The newest turn is there, in parts, and what was done to the world.
    assert f"page {TURNS * 3 - 1}: lorem" in last
    assert "characters)" in last
    assert "a lamp to read by ordered" in last


async def test_short_turns_are_all_shown_word_for_word(texts: TextMemory) -> None:
    model = Reader(turns=3, calls=1)
    await agent(texts, model).run("read", run_id="r")
    last = [message["content"] for message in model.asked[-1]]
    assert [f"page {n}: lorem" in content for n, content in enumerate(last[3::2])] == [True] * 3
    assert not any("not shown any more" in content for content in last)


async def test_older_turns_are_told_by_what_bears_on_the_goal(texts: TextMemory) -> None:
    def note(number: int) -> str:
        return f"the key of the boathouse hangs behind door {number}" if number == 4 else "nothing"

    class Asking(Reader):
        async def __call__(self, messages: Sequence[Message]) -> Reply:
            self.asked.append(list(messages))
            self.moves += 1
            if self.moves == 20:
                return Reply(json.dumps({"answer": "behind door 4"}))
            call = {"tool": "note", "arguments": {"number": self.moves, "why": "x" * 400}}
            return Reply(json.dumps({"thought": "where is the key?", "calls": [call]}))

    def noted(number: int, why: str) -> str:
        return note(number)

    model = Asking()
    tools = [Tool(noted, name="note")]
    await ToolAgent(texts, model, tools, room=6_000, max_cycles=20).run("the key of the boathouse?")
    goal = model.asked[-1][1]["content"]
    assert "hangs behind door 4" in goal.partition("<earlier>")[2].partition("</earlier>")[0]


async def test_a_tokenizer_may_count(texts: TextMemory) -> None:
    counted: list[int] = []

    def count(text: str) -> int:
        counted.append(len(text))
        return len(text) // 4

    model = Reader(turns=4)
    await agent(texts, model, room=3_000, count=count).run("read", run_id="r")
    assert 8_000 < max(model.sizes) < 14_000
    assert counted


@pytest.mark.parametrize("context", [30_000, 8_000])
async def test_what_overflows_is_asked_again_with_less(texts: TextMemory, context: int) -> None:
    model = Reader(turns=6, context=context)
    result = await agent(texts, model).run("read", run_id="r")
    assert (result.status, result.cycles) == ("done", 7)
    assert result.usage.calls == 7
    assert 0 < model.refused < 12
    # What the model was found to take is known from then on.
    before = model.refused
    again = agent(texts, model)
    model.moves = 0
    await again.run("read", run_id="s")
    assert model.refused < before * 3


async def test_a_context_with_no_room_at_all_is_a_failure_that_is_said(texts: TextMemory) -> None:
    model = Reader(turns=1, context=100)
    tiny = agent(texts, model, max_retries=0)
    result = await tiny.run("read", run_id="r")
    assert result.status == "exhausted"
    assert "ContextOverflowError" in result.reason
    # Nothing is lost: with another model, and one more try, it goes on.
    model.context = 10**9
    more = await tiny.resume("r", budget=Allowance(retries=1))
    assert (more.status, more.text) == ("done", "read")


@pytest.mark.parametrize("room", [0, 999, -1, 2.5, True, "many"])
def test_room_is_a_number_that_holds_a_question(texts: TextMemory, room: Any) -> None:
    with pytest.raises(InvalidInputError, match="room is a whole number from 1000 on"):
        agent(texts, Reader(), room=room)


# --- the craft ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason",
    [
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens",
        "the request exceeds the available context size, try increasing it",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
        "Please reduce the length of the messages or completion.",
        "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096",
        "exceed_context_size_error",
        "Request too large for model",
    ],
)
def test_refusals_for_length_are_known(reason: str) -> None:
    class BadRequestError(Exception):
        status_code = 400

    assert overflows(BadRequestError(reason))
    assert not overflows(BadRequestError("temperature is between 0 and 2"))
    assert not overflows(RuntimeError(reason))


def test_what_is_left_out_is_said() -> None:
    long = {"text": "a" * 50, "many": list(range(40)), "n": 1, "in": [{"deep": "b" * 50}]}
    assert shortened(long, None) == long
    cut = shortened(long, 40)
    assert cut["text"] == "a" * 40 + "… (50 characters)"
    assert cut["many"] == [*range(10), "… 30 more"]
    assert cut["in"] == [{"deep": "b" * 40 + "… (50 characters)"}]
    wide = {f"k{number}": 0 for number in range(50)}
    assert shortened(wide, 40)["…"] == "40 more"


def test_the_longest_that_fits_is_taken() -> None:
    tried: list[int | None] = []

    def render(longest: int | None) -> str:
        tried.append(longest)
        return "x" * (5_000 if longest is None else longest)

    assert len(longest_fitting(render, 1_000, len)) == 1_000
    assert len(longest_fitting(render, 10_000, len)) == 5_000
    assert tried == [None, 1_000, None]
