"""Tools with an effect: done once, journaled, remembered, and never by an act that may lose."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from controller_support import done, journal, proposing
from tool_support import calling, in_act

from controllers import Failed, Outcome, Plan, RTMController, StepContext, Verdict
from controllers.tools import RacedEffectError, Tool, ToolResult, Tools
from pmll_async import Candidate, Lattice
from pmll_async.text import HashingEmbedder, TextMemory


class Mail:
    """A service that remembers what it sent, and may be told to fail or to hang."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.is_down = False
        self.hangs = False

    async def __call__(self, to: str, text: str = "hello") -> dict[str, int]:
        if self.is_down:
            raise ConnectionError("no route")
        self.sent.append(to)
        if self.hangs:
            await anyio.sleep_forever()
        return {"number": len(self.sent)}


@pytest.fixture
def mail() -> Mail:
    return Mail()


@pytest.fixture
async def texts(tmp_path: Path) -> AsyncIterator[TextMemory]:
    async with TextMemory.open(tmp_path, HashingEmbedder(dim=64)) as memory:
        yield memory


def tools_of(mail: Mail, **options: Any) -> Tools:
    return Tools([Tool(mail, name="send", effect=True, **options)])


async def test_an_effect_is_journaled_with_its_arguments(lattice: Lattice, mail: Mail) -> None:
    tools = tools_of(mail)
    result = await in_act(lattice, lambda ctx: tools.call(ctx, "send", {"to": "ann"}))
    assert result == ToolResult("send", {"to": "ann", "text": "hello"}, {"number": 1})
    begun, ended = [
        entry for entry in await journal(lattice, "r") if entry.context["pmll"]["stage"] == "effect"
    ]
    assert (begun.context["pmll"]["status"], ended.context["pmll"]["status"]) == ("begun", "done")
    assert ended.context["result"] == result.record
    (found,) = [line async for line in lattice.rewind(where={"result.tool": "send"})]
    assert found.anchor == ended.anchor


async def test_the_same_effect_twice_in_a_step_is_two(lattice: Lattice, mail: Mail) -> None:
    tools = tools_of(mail)

    async def use(ctx: StepContext) -> list[ToolResult]:
        return [await tools.call(ctx, "send", {"to": "ann"}) for _ in range(2)]

    results = await in_act(lattice, use)
    assert [result.value for result in results] == [{"number": 1}, {"number": 2}]
    assert mail.sent == ["ann", "ann"]


async def cut_after(
    memory: Lattice | TextMemory, tools: Tools, calls: list[dict[str, str]], *, stop: int
) -> list[list[ToolResult]]:
    """Run a step that makes the calls, cancelled after `stop` of them, and resume it."""
    scope = anyio.CancelScope()

    async def use(ctx: StepContext) -> list[ToolResult]:
        results = []
        for number, arguments in enumerate(calls):
            if number == stop and not ctx.resumed:
                scope.cancel()
                await anyio.sleep_forever()
            results.append(await tools.call(ctx, "send", arguments))
        return results

    made: list[list[ToolResult]] = []
    controller = calling(memory, use, made)
    with scope:
        await controller.run("send", run_id="r")
    assert scope.cancelled_caught
    assert (await controller.resume("r")).status == "done"
    return made


async def test_a_resumed_step_does_not_repeat_its_effects(lattice: Lattice, mail: Mail) -> None:
    calls = [{"to": to} for to in ("ann", "ben", "ann", "cid", "ann")]
    (results,) = await cut_after(lattice, tools_of(mail), calls, stop=3)
    assert mail.sent == ["ann", "ben", "ann", "cid", "ann"]
    assert [result.cached for result in results] == [True] * 3 + [False] * 2
    assert [result.value for result in results] == [{"number": n} for n in range(1, 6)]


async def test_what_an_effect_raised_is_recorded_too(lattice: Lattice, mail: Mail) -> None:
    mail.is_down = True
    (results,) = await cut_after(lattice, tools_of(mail), [{"to": "ann"}] * 2, stop=1)
    assert [result.error for result in results] == ["ConnectionError: no route"] * 2
    assert [result.cached for result in results] == [True, False]
    assert results[0].exception is None
    assert isinstance(results[1].exception, ConnectionError)


@pytest.mark.parametrize(
    ("again", "sent", "error"),
    [
        (True, ["ann", "ann"], None),
        (False, ["ann"], "nobody knows whether an earlier call took place: find out before you"),
    ],
)
async def test_an_effect_cut_short_is_done_again_or_not_known(
    lattice: Lattice, mail: Mail, again: bool, sent: list[str], error: str | None
) -> None:
    tools, made = tools_of(mail, again=again), list[ToolResult]()
    mail.hangs = True
    controller = calling(lattice, lambda ctx: tools.call(ctx, "send", {"to": "ann"}), made)
    async with anyio.create_task_group() as tasks:

        async def begin() -> None:
            await controller.run("send", run_id="r")

        tasks.start_soon(begin)
        while not mail.sent:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    mail.hangs = False
    await controller.resume("r")
    assert mail.sent == sent
    assert (made[0].error or "").startswith(error or "")
    assert (made[0].error is None) == (error is None)


async def test_each_call_of_an_effect_has_a_key_of_its_own(lattice: Lattice) -> None:
    """A service that drops what it has seen gets all orders, and none twice."""
    orders: dict[str, str] = {}
    asked: list[str] = []

    async def order(ctx: StepContext, item: str) -> int:
        asked.append(ctx.idempotency_key)
        orders[ctx.idempotency_key] = item
        if len(asked) == 3:
            scope.cancel()
            await anyio.sleep_forever()
        return len(orders)

    async def use(ctx: StepContext) -> list[ToolResult]:
        assert ctx.idempotency_key == "r/0.0/act.0"
        items = ("tea", "tea", "milk")
        return [await tools.call(ctx, "order", {"item": item}) for item in items]

    tools, scope = Tools([Tool(order, effect=True)]), anyio.CancelScope()
    controller = calling(lattice, use, [])
    with scope:
        await controller.run("order", run_id="r")
    await controller.resume("r")
    assert list(orders.values()) == ["tea", "tea", "milk"]
    assert asked == [*orders, asked[2]]
    assert all(key.startswith("r/0.0/act.0/tool.order.") for key in orders)


async def test_an_effect_has_no_place_in_a_race(lattice: Lattice, mail: Mail) -> None:
    tools, outcomes = tools_of(mail), list[Outcome]()

    async def act(ctx: StepContext, plan: Plan) -> Candidate:
        await tools.call(ctx, "send", {"to": "ann"})
        return Candidate(key=[1, 0])

    async def reflect(ctx: StepContext, outcome: Outcome) -> Verdict:
        outcomes.append(outcome)
        await tools.call(ctx, "send", {"to": "ben"})
        return done(ctx, outcome)

    controller = RTMController(
        lattice, plan=lambda ctx: Plan(), act=[act, proposing(0, 1)], reflect=reflect
    )
    await controller.run("send")
    assert mail.sent == ["ben"]
    (outcome,) = outcomes
    assert not isinstance(outcome, Failed)
    (failure,) = outcome.failures
    assert failure.error == RacedEffectError.__name__
    assert "call it in REFLECT, or give the controller a single act" in failure.message


# --- remembered --------------------------------------------------------------------------------


async def test_an_effect_is_remembered_with_its_provenance(texts: TextMemory, mail: Mail) -> None:
    tools = tools_of(mail)
    await in_act(texts, lambda ctx: tools.call(ctx, "send", {"to": "ann"}))
    (found,) = await texts.recall("What did you send to ann?", where={"tool.name": "send"})
    assert found.text == 'send(text="hello", to="ann") → {"number": 1}'
    entry = await texts.lattice.get(str(found.context["tool"]["effect"]))
    assert entry.context["result"]["value"] == {"number": 1}
    assert found.timestamp == entry.timestamp
    assert found.context == {
        "tool": {
            "name": "send",
            "arguments": {"to": "ann", "text": "hello"},
            "value": {"number": 1},
            "run": "r",
            "cycle": 0,
            "stage": "act",
            "effect": entry.anchor,
        }
    }


async def test_a_resumed_step_remembers_once(texts: TextMemory, mail: Mail) -> None:
    mail.is_down = True
    await cut_after(texts, tools_of(mail), [{"to": "ann"}] * 2, stop=1)
    told = [line.text for line in await texts.recent(9, where={"tool.run": "r"})]
    assert told == ['send(text="hello", to="ann") failed: ConnectionError: no route'] * 2


async def test_remembering_may_be_left_out(texts: TextMemory, mail: Mail) -> None:
    tools = Tools([Tool(mail, name="send", effect=True)], remember=False)
    await in_act(texts, lambda ctx: tools.call(ctx, "send", {"to": "ann"}))
    assert await texts.recent(9, where={"tool": {"$exists": True}}) == []


async def test_a_long_text_is_cut_and_its_context_is_whole(texts: TextMemory, mail: Mail) -> None:
    tools, text = tools_of(mail), "long " * 1_000
    await in_act(texts, lambda ctx: tools.call(ctx, "send", {"to": "ann", "text": text}))
    (found,) = await texts.recent(9, where={"tool.name": "send"})
    assert len(found.text) < 500
    assert found.context["tool"]["arguments"]["text"] == text
