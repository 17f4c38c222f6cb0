"""A model's words are events while they arrive, and every event is JSON."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from controller_support import PATIENCE, proposing, steps
from model_server import serving, streamed

from controllers import (
    Done,
    Event,
    Plan,
    RTMController,
    RunActiveError,
    StepContext,
    Told,
    Usage,
)
from controllers.llm import OpenAIModel, Reply, llm_plan
from controllers.reports.documents import NAMES, document
from controllers.tool_agent import ToolAgent
from controllers.tools import Tool
from pmll_async import EventsMissed, Lattice
from pmll_async.text import HashingEmbedder, TextMemory


@pytest.fixture
async def texts(tmp_path: Path) -> AsyncIterator[TextMemory]:
    async with TextMemory.open(tmp_path, HashingEmbedder(dim=64)) as memory:
        yield memory


def told(events: list[Event]) -> list[tuple[int, str]]:
    return [(event.reply, event.text) for event in events if isinstance(event, Told)]


async def test_words_are_told_before_the_reply_is_there(texts: TextMemory) -> None:
    rest = asyncio.Event()
    answer = streamed('{"answer": ', '"here"}')
    answer.pieces = [answer.pieces[0], rest, *answer.pieces[1:]]
    async with (
        serving(answer) as server,
        OpenAIModel("test", base_url=server.url, stream=True, price=(1.0, 1.0)) as model,
    ):
        agent = ToolAgent(texts, model, [])
        async with asyncio.timeout(PATIENCE), agent.stream("where?") as run:
            async for event in run:
                if isinstance(event, Told):
                    # The server has not said the rest yet.
                    assert event.text == '{"answer": '
                    assert (event.stage, event.number, event.reply) == ("plan", 0, 0)
                    break
            rest.set()
            seen = [event async for event in run]
    assert told(seen) == [(0, '"here"}')]
    assert run.result is not None
    assert run.result.text == "here"
    assert run.result.usage == Usage(1, 100, 20, pytest.approx(0.00012))


async def test_an_async_generator_is_a_model(lattice: Lattice) -> None:
    async def model(messages: Any) -> AsyncIterator[str | Reply]:
        yield '{"text": '
        yield ""
        yield '"go"}'
        yield Reply("", Usage(1, 7, 3))

    events: list[Event] = []
    run = RTMController(lattice, **steps(plan=llm_plan(model)), observers=[events.append])
    result = await run.run("go")
    assert told(events) == [(0, '{"text": '), (0, '"go"}')]
    assert result.usage == Usage(1, 7, 3)


async def test_a_reply_that_is_asked_for_again_begins_anew(lattice: Lattice) -> None:
    replies = iter([["no", " json"], ['{"text":', '"go"}']])

    async def model(messages: Any) -> AsyncIterator[str]:
        for piece in next(replies):
            yield piece

    events: list[Event] = []
    run = RTMController(lattice, **steps(plan=llm_plan(model)), observers=[events.append])
    await run.run("go")
    assert told(events) == [(0, "no"), (0, " json"), (1, '{"text":'), (1, '"go"}')]


async def test_steps_tell_what_they_are_at(lattice: Lattice) -> None:
    async def act(ctx: StepContext[Any], plan: Plan[Any]) -> Any:
        await ctx.tell("half")
        await ctx.tell(" way")
        await ctx.tell("anew", begins=True)
        return await proposing(0, 1)(ctx, plan)

    events: list[Event] = []
    acts = [proposing(1, 0, confidence=0.1), act]
    run = RTMController(lattice, **steps(act=acts), observers=[events.append])
    await run.run("go", run_id="r")
    assert told(events) == [(0, "half"), (0, " way"), (1, "anew")]
    assert {(event.stage, event.number) for event in events if isinstance(event, Told)} == {
        ("act", 1)
    }
    # Nothing of it is kept.
    lines = [dict(line.context) async for line in lattice.rewind()]
    assert "half" not in repr(lines)


async def test_every_event_is_json_on_one_line(texts: TextMemory) -> None:
    def order(item: str) -> str:
        return f"{item}\nordered"

    replies = iter([{"calls": [{"tool": "order", "arguments": {"item": "tea"}}]}, {"answer": "ä"}])

    async def model(messages: Any) -> AsyncIterator[str]:
        yield json.dumps(next(replies))

    events: list[Event] = []
    options: dict[str, Any] = {"confirm": ["order"], "observers": [events.append]}
    agent = ToolAgent(texts, model, [Tool(order, effect=True)], **options)
    await agent.run("order tea", run_id="r")
    async with agent.stream_resumed("r", answer="yes") as run:
        kinds = [type(event).__name__ async for event in run]
    assert (kinds[0], kinds[-1]) == ("RunResumed", "RunEnded")
    for event in events:
        line = event.to_json()
        assert "\n" not in line
        assert json.loads(line) == json.loads(json.dumps(document(event, None)))
        assert "at" not in json.loads(line)
        assert json.loads(event.to_json(at=1.5))["at"] == 1.5
    names = {json.loads(event.to_json())["event"] for event in events}
    assert {"run.told", "run.decided", "run.resumed", "run.ended", "run.effect_done"} <= names
    assert all(hasattr(kind, "to_json") for kind in NAMES)
    assert json.loads(EventsMissed(3).to_json()) == {"event": "events.missed", "count": 3}


async def test_who_is_refused_leaves_nothing_open(lattice: Lattice) -> None:
    may_end = asyncio.Event()

    async def waiting(ctx: StepContext[Any], outcome: Any) -> Done:
        await may_end.wait()
        return Done()

    run = RTMController(lattice, **steps(reflect=waiting))
    async with run.stream("go", run_id="r") as first:
        await anext(aiter(first))
        with pytest.raises(RunActiveError):
            async with run.stream_resumed("r"):
                pass
        # What was left open would warn as it is collected, and warnings are errors.
        gc.collect()
        may_end.set()
        await first.wait()
