"""Approvals: one call each, in the words that people use, with other arguments where they want."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from controllers import Decided, Event, RunStream, replay
from controllers.llm import Message
from controllers.reports.documents import document
from controllers.tool_agent import ToolAgent, UnclearAnswerError, understood
from controllers.tools import Tool
from pmll_async.text import HashingEmbedder, TextMemory


class Shop:
    """Takes orders; `cut` is called with each."""

    def __init__(self) -> None:
        self.orders: list[str] = []
        self.cut: Any = lambda: None

    async def order(self, item: str, count: int = 1) -> str:
        """Order something."""
        self.orders.append(f"{count} {item}")
        self.cut()
        await anyio.lowlevel.checkpoint()
        return "ordered"


class Buyer:
    """A model that wants several things ordered at once, and then answers."""

    def __init__(self, *wanted: dict[str, Any]) -> None:
        self.wanted = wanted
        self.asked: list[list[Message]] = []

    async def __call__(self, messages: Sequence[Message]) -> str:
        self.asked.append(list(messages))
        if len(self.asked) > 1:
            return json.dumps({"answer": "ok"})
        return json.dumps({"calls": [{"tool": "order", "arguments": each} for each in self.wanted]})

    @property
    def results(self) -> list[dict[str, Any]]:
        shown = self.asked[1][-1]["content"].partition("<results>\n")[2]
        return [json.loads(line) for line in shown.partition("\n</results>")[0].splitlines()]


@pytest.fixture
async def texts(tmp_path: Path) -> AsyncIterator[TextMemory]:
    async with TextMemory.open(tmp_path, HashingEmbedder(dim=64)) as memory:
        yield memory


@pytest.fixture
def shop() -> Shop:
    return Shop()


def agent(texts: TextMemory, model: Buyer, shop: Shop, **options: Any) -> ToolAgent:
    return ToolAgent(texts, model, [Tool(shop.order, effect=True)], confirm=["order"], **options)


TEA, RICE, GIN = {"item": "tea"}, {"item": "rice", "count": 9}, {"item": "gin"}


async def test_each_call_is_asked_for_by_itself(texts: TextMemory, shop: Shop) -> None:
    model = Buyer(TEA, RICE, GIN)
    buyer = agent(texts, model, shop)
    first = await buyer.run("order", run_id="r")
    assert first.text == 'May it call order({"item": "tea"})? (1 of 3)'
    assert first.data == [{"tool": "order", "arguments": TEA}]
    second = await buyer.resume("r", answer="Yes")
    assert second.text == (
        'Understood: order({"item": "tea"}) is allowed.'
        ' May it call order({"count": 9, "item": "rice"})? (2 of 3)'
    )
    third = await buyer.resume("r", answer="no, we have enough")
    assert third.text.startswith('Understood: order({"count": 9, "item": "rice"}) is not allowed.')
    # Nothing is done before everything is decided.
    assert shop.orders == []
    assert (await buyer.resume("r", answer=True)).status == "done"
    # Refusing one did not refuse the others.
    assert shop.orders == ["1 tea", "1 gin"]
    tea, rice, gin = model.results
    assert tea["approval"] == {"approved": True, "said": "Yes"}
    assert rice["outcome"] == {"error": "it was not allowed, with the words: no, we have enough"}
    assert rice["approval"] == {"approved": False, "said": "no, we have enough"}
    assert gin["outcome"] == {"value": "ordered"}


async def test_arguments_may_be_changed(texts: TextMemory, shop: Shop) -> None:
    model = Buyer(RICE)
    buyer = agent(texts, model, shop)
    await buyer.run("order", run_id="r")
    answer = {"approved": True, "arguments": {"count": 2}, "reason": "two will do"}
    assert (await buyer.resume("r", answer=answer)).status == "done"
    assert shop.orders == ["2 rice"]
    (rice,) = model.results
    assert rice["arguments"] == {"item": "rice", "count": 2}
    assert rice["approval"] == {"approved": True, "said": "two will do", "changed": ["count"]}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"approved": True, "arguments": {"count": "many"}}, "the arguments do not fit: count"),
        ({"approved": True, "arguments": {"cuont": 2}}, "there is no argument 'cuont'"),
        ({"approve": True}, "an answer has no 'approve'"),
        ({"arguments": {"count": 2}}, "does not say whether it is approved"),
        ({"approved": True, "arguments": [2]}, "arguments are an object"),
        (7, "7 is neither yes nor no"),
        (["yes"], "['yes'] is neither"),
        ("  ", "neither yes nor no"),
    ],
)
async def test_what_is_not_understood_is_said_and_asked_again(
    texts: TextMemory, shop: Shop, answer: Any, said: str
) -> None:
    buyer = agent(texts, Buyer(RICE), shop)
    await buyer.run("order", run_id="r")
    again = await buyer.resume("r", answer=answer)
    assert again.status == "paused"
    assert said in again.text
    assert again.text.endswith('May it call order({"count": 9, "item": "rice"})?')
    assert shop.orders == []
    assert (await buyer.resume("r", answer="ok")).status == "done"
    assert shop.orders == ["9 rice"]


async def test_what_was_understood_is_told_back(texts: TextMemory, shop: Shop) -> None:
    told: list[Event] = []
    buyer = agent(texts, Buyer(TEA, RICE), shop, observers=[told.append])
    await buyer.run("order", run_id="r")
    await buyer.resume("r", answer="approve")

    async def rest(run: RunStream) -> None:
        async for _ in run:
            pass

    answer = {"approved": "ok", "arguments": {"count": 1}}
    async with buyer.stream_resumed("r", answer=answer) as run:
        await rest(run)
    tea, rice = [event for event in told if isinstance(event, Decided)]
    assert (tea.tool, tea.approved, tea.said, tea.changed) == ("order", True, "approve", ())
    assert (rice.arguments, rice.changed) == ({"item": "rice", "count": 1}, ("count",))
    shown = document(rice, 1.0)
    assert (shown["event"], shown["tool"], shown["approved"]) == ("run.decided", "order", True)
    assert (shown["said"], shown["changed"]) == ("ok", ["count"])
    # The answers themselves are on the chain.
    answers = [getattr(event, "answer", None) async for event in replay(texts.lattice, "r")]
    assert [each for each in answers if each is not None] == ["approve", answer]


async def test_a_crash_between_two_answers_forgets_none_of_them(
    texts: TextMemory, shop: Shop
) -> None:
    model = Buyer(TEA, RICE)
    buyer = agent(texts, model, shop)
    await buyer.run("order", run_id="r")
    assert (await buyer.resume("r", answer="no")).status == "paused"
    scope = anyio.CancelScope()
    shop.cut = scope.cancel
    with scope:
        await buyer.resume("r", answer="yes")
    assert scope.cancelled_caught
    shop.cut = lambda: None
    # In another process, say: the first answer is not taken for one to the second question.
    result = await agent(texts, model, shop).resume("r")
    assert result.status == "done"
    assert shop.orders == ["9 rice", "9 rice"]
    assert [row["approval"]["approved"] for row in model.results] == [False, True]


async def test_a_call_that_cannot_be_made_is_no_question(texts: TextMemory, shop: Shop) -> None:
    model = Buyer({"thing": "tea"}, TEA)
    buyer = agent(texts, model, shop)
    paused = await buyer.run("order", run_id="r")
    assert paused.text == 'May it call order({"item": "tea"})?'
    await buyer.resume("r", answer="yes")
    assert "'item' is missing" in model.results[0]["outcome"]["error"]
    assert shop.orders == ["1 tea"]


@pytest.mark.parametrize(
    "answer",
    [
        True,
        "yes",
        "Yes",
        "YES!",
        " ok ",
        "Ok, go ahead.",
        "okay",
        "approve",
        "Approved",
        "yes please",
        "yes, do it - thank you",
        "Sure!",
        "of course",
        "true",
        "y",
        "Ja, bitte",
        "Oui",
        "sí",
        "да",
        "はい",
        "好的",
        "👍",
        "✔️",
        {"approved": True},
        {"approved": "yes"},
        {"approved": True, "arguments": None},
    ],
)
def test_what_people_write_for_yes(answer: Any) -> None:
    assert understood(answer).approved


@pytest.mark.parametrize(
    "answer",
    [
        False,
        "no",
        "No way",
        "not ok",
        "ok?",
        "yes, but only three",
        "do i agree",
        "do you agree",
        "is it ok",
        "never",
        "please",
        "thank you",
        "yesterday",
        "nein",
        "it",
        {"approved": False},
        {"approved": "no"},
        {"approved": False, "reason": "yes"},
    ],
)
def test_what_is_no_yes(answer: Any) -> None:
    assert not understood(answer).approved


@pytest.mark.parametrize("answer", [None, 0, 1, 2.5, [], {}, "", {"approved": 1}])
def test_what_is_neither(answer: Any) -> None:
    with pytest.raises(UnclearAnswerError, match='answer "yes" or "no"'):
        understood(answer)
