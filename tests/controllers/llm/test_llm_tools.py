"""Tools by the protocol of the endpoint, over a real server, and by text where it has none."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from model_server import USAGE, Answer, Server, event, said, serving, streamed

from controllers import Event, Told
from controllers.llm import OpenAIModel
from controllers.tool_agent import ToolAgent
from controllers.tools import Tool
from pmll_async.text import HashingEmbedder, TextMemory

pytest.importorskip("openai", reason="openai is missing: pip install 'pmll-async[llm]'")


class World:
    def __init__(self) -> None:
        self.log: list[str] = []

    def stock(self, item: str) -> int:
        """How many of an item there are."""
        self.log.append(f"stock {item}")
        return {"tea": 3, "rice": 0}[item]

    def order(self, item: str, count: int = 1) -> str:
        """Order an item."""
        self.log.append(f"order {count} {item}")
        return "ordered"


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def texts(tmp_path: Path) -> AsyncIterator[TextMemory]:
    async with TextMemory.open(tmp_path, HashingEmbedder(dim=64)) as memory:
        yield memory


def calling(*wanted: tuple[str, Any], text: str | None = None) -> Answer:
    calls = [
        {
            "id": f"theirs-{number}",
            "type": "function",
            "function": {
                "name": name,
                "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments),
            },
        }
        for number, (name, arguments) in enumerate(wanted)
    ]
    return said(text, finish="tool_calls", tool_calls=calls)


def calling_in_parts(*parts: dict[str, Any]) -> Answer:
    body = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "test"}
    deltas = [[{"index": 0, "delta": {"tool_calls": [part]}}] for part in parts]
    deltas.append([{"index": 0, "delta": {}, "finish_reason": "tool_calls"}])  # type: ignore[dict-item]  # the last has no calls
    events = [event({**body, "choices": choices}) for choices in deltas]
    events += [event({**body, "choices": [], "usage": USAGE}), event(b"[DONE]")]
    return Answer(events, kind="text/event-stream")


@asynccontextmanager
async def agent_of(
    texts: TextMemory, world: World, *answers: Answer, stream: bool = False, **options: Any
) -> AsyncIterator[tuple[ToolAgent, Server]]:
    async with (
        serving(*answers) as server,
        OpenAIModel("test", base_url=server.url, stream=stream, max_retries=0) as model,
    ):
        tools = [world.stock, Tool(world.order, effect=True)]
        yield ToolAgent(texts, model, tools, **options), server


async def test_tools_are_called_by_the_protocol(texts: TextMemory, world: World) -> None:
    answers = (
        calling(("stock", {"item": "tea"}), ("stock", {"item": "rice"}), text="what is there?"),
        calling(("order", {"item": "rice", "count": 5})),
        said("There is tea, and rice is ordered."),
    )
    async with agent_of(texts, world, *answers) as (agent, server):
        result = await agent.run("tea and rice?", run_id="r")
    assert (result.status, result.text) == ("done", "There is tea, and rice is ordered.")
    # Parallel calls are made beside each other.
    assert sorted(world.log[:2]) == ["stock rice", "stock tea"]
    assert world.log[2:] == ["order 5 rice"]
    first, second, third = server.requests
    assert [tool["function"]["name"] for tool in first["tools"]] == ["stock", "order"]
    assert "changes the world" in first["tools"][1]["function"]["description"]
    assert first["tool_choice"] == "auto"
    assert "JSON schema" not in first["messages"][-1]["content"]
    roles = [message["role"] for message in third["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "tool", "assistant", "tool"]
    called, tea, rice = second["messages"][2:5]
    assert called["content"] == "what is there?"
    assert [call["id"] for call in called["tool_calls"]] == [
        tea["tool_call_id"],
        rice["tool_call_id"],
    ]
    assert json.loads(called["tool_calls"][0]["function"]["arguments"]) == {"item": "tea"}
    assert '"outcome": {"value": 3}' in tea["content"]
    assert tea["content"].startswith("<results>\n")


async def test_calls_arrive_in_parts(texts: TextMemory, world: World) -> None:
    parts = calling_in_parts(
        {"index": 0, "id": "a", "type": "function", "function": {"name": "stock", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"item":'}},
        {"index": 1, "id": "b", "function": {"name": "order", "arguments": '{"item": "rice"}'}},
        {"index": 0, "function": {"arguments": ' "tea"}'}},
    )
    told: list[Event] = []
    answers = (parts, streamed("There ", "is ", "tea."))
    async with agent_of(texts, world, *answers, stream=True, observers=[told.append]) as (agent, _):
        result = await agent.run("tea?")
    assert result.text == "There is tea."
    assert world.log == ["stock tea", "order 1 rice"]
    words = [each for each in told if isinstance(each, Told)]
    assert [each.text for each in words] == ["There ", "is ", "tea."]
    assert {each.reply for each in words} == {0}
    assert {each.stage for each in words} == {"plan"}


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "tools is not supported in this model"),
        (404, "No endpoints found that support tool use"),
        (500, "tools param requires --jinja flag"),
        (422, "unknown field: tool_choice"),
    ],
)
async def test_an_endpoint_without_tools_is_asked_in_text(
    texts: TextMemory, world: World, status: int, message: str
) -> None:
    refusal = Answer([json.dumps({"error": {"message": message}}).encode()], status=status)
    look = said(json.dumps({"calls": [{"tool": "stock", "arguments": {"item": "tea"}}]}))
    answers = (refusal, look, said(json.dumps({"answer": "three"})))
    async with agent_of(texts, world, *answers) as (agent, server):
        result = await agent.run("tea?")
    assert (result.status, result.text, result.usage.calls) == ("done", "three", 2)
    assert ["tools" in request for request in server.requests] == [True, False, False]
    assert "JSON schema" in server.requests[1]["messages"][-1]["content"]


async def test_another_refusal_is_not_about_tools(texts: TextMemory, world: World) -> None:
    refusal = Answer([b'{"error": {"message": "temperature is too high"}}'], status=400)
    async with agent_of(texts, world, refusal, max_retries=0) as (agent, server):
        result = await agent.run("tea?")
    assert result.status == "exhausted"
    assert [("tools" in request) for request in server.requests] == [True]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (calling(("stock", '{"item": ')), "the arguments of stock: it is cut off"),
        (calling(*[("stock", {"item": "tea"})] * 7), "at most 6 items"),
        (said(""), "it calls nothing and says nothing"),
    ],
)
async def test_a_turn_that_cannot_be_used_is_sent_back(
    texts: TextMemory, world: World, bad: Answer, reason: str
) -> None:
    async with agent_of(texts, world, bad, said("ok")) as (agent, server):
        result = await agent.run("tea?")
    assert (result.text, result.usage.calls) == ("ok", 2)
    assert reason in server.contents[1]
    assert world.log == []


async def test_the_last_turn_may_call_nothing(texts: TextMemory, world: World) -> None:
    answers = (calling(("stock", {"item": "tea"})), said("three"))
    async with agent_of(texts, world, *answers, max_cycles=2) as (agent, server):
        assert (await agent.run("tea?")).text == "three"
    assert [request["tool_choice"] for request in server.requests] == ["auto", "none"]
    assert "This is the last turn" in server.contents[1]


async def test_a_model_that_writes_its_calls_down_is_understood(
    texts: TextMemory, world: World
) -> None:
    written = said(json.dumps({"calls": [{"tool": "stock", "arguments": {"item": "tea"}}]}))
    answers = (written, said("<think>three, {so}</think>\nThree."))
    async with agent_of(texts, world, *answers) as (agent, _):
        assert (await agent.run("tea?")).text == "Three."
    assert world.log == ["stock tea"]


async def test_a_run_that_began_in_text_goes_on_by_the_protocol(
    texts: TextMemory, world: World
) -> None:
    async def in_text(messages: Any) -> str:
        if len(messages) > 2:
            raise KeyError("gone")
        return json.dumps({"calls": [{"tool": "stock", "arguments": {"item": "tea"}}]})

    first = ToolAgent(texts, in_text, [world.stock], max_retries=0)
    assert (await first.run("tea?", run_id="r")).status == "exhausted"
    async with agent_of(texts, world, said("three"), max_retries=3) as (agent, server):
        assert (await agent.resume("r")).text == "three"
    assert [message["role"] for message in server.requests[0]["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
    ]
