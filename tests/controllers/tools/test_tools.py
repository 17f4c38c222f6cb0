"""Tools: what becomes one, and what calling it comes to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import anyio
import pytest
from controller_support import journal
from pydantic import BaseModel, Field, JsonValue
from tool_support import in_act

from controllers import StepContext
from controllers.tools import InvalidToolError, Tool, ToolResult, Tools
from pmll_async import Lattice
from pmll_async.stores.memory import MemoryStore


class Place(BaseModel):
    city: str
    country: str = "NO"


@dataclass(frozen=True)
class Weather:
    place: str
    degrees: float


async def weather(
    place: Place,
    days: Annotated[int, Field(description="how many days from today", ge=0)] = 0,
    *,
    unit: Literal["C", "F"] = "C",
) -> Weather:
    """The weather of a place,
    as far as it is known.

    Not for navigation.
    """
    return Weather(f"{place.city}, {place.country}", days + (0.5 if unit == "C" else 32.5))


def whoami(ctx: StepContext[str]) -> str:
    return f"{ctx.deps} in {ctx.run_id}"


# --- what becomes a tool -----------------------------------------------------------------------


def test_the_signature_is_the_schema() -> None:
    (schema,) = Tools([weather]).schemas()
    assert schema == {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a place, as far as it is known.",
            "parameters": {
                "$defs": {
                    "Place": {
                        "properties": {
                            "city": {"type": "string"},
                            "country": {"default": "NO", "type": "string"},
                        },
                        "required": ["city"],
                        "title": "Place",
                        "type": "object",
                    }
                },
                "additionalProperties": False,
                "properties": {
                    "place": {"$ref": "#/$defs/Place"},
                    "days": {
                        "default": 0,
                        "description": "how many days from today",
                        "minimum": 0,
                        "type": "integer",
                    },
                    "unit": {"default": "C", "enum": ["C", "F"], "type": "string"},
                },
                "required": ["place"],
                "type": "object",
            },
        },
    }
    schema["function"]["parameters"].clear()
    assert Tools([weather]).schemas() != [schema]


def test_a_context_is_no_argument() -> None:
    assert Tool(whoami).schema["function"]["parameters"] == {
        "additionalProperties": False,
        "properties": {},
        "type": "object",
    }


def test_name_and_description_may_be_given() -> None:
    tool = Tool(partial(weather, days=2), name="in_two_days", description="Soon.")
    assert (tool.name, tool.description) == ("in_two_days", "Soon.")
    assert Tool(partial(weather, days=2)).name == "weather"


def test_a_parameter_may_have_any_name() -> None:
    def tool(json: str, _x: int, model_dump: int = 3) -> None: ...

    properties = Tool(tool).schema["function"]["parameters"]["properties"]
    assert [*properties] == ["json", "_x", "model_dump"]


def bare(city) -> None: ...
def positional(city: str, /) -> None: ...
def several(*cities: str) -> None: ...
def keywords(**cities: str) -> None: ...
def late(city: str, ctx: StepContext) -> None: ...
def unknown(city: Nowhere) -> None: ...  # noqa: F821  # as said
def shapeless(lock: threading.Thread) -> None: ...
def nameless(hook: Callable[[], None]) -> None: ...
def careless(city: str = None) -> None: ...  # noqa: RUF013  # as said


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (bare, "'city' has no annotation"),
        (positional, "'city' is positional-only"),
        (several, "'cities' takes any number"),
        (keywords, "'cities' takes any number"),
        (late, "'ctx' is a StepContext, which only the first"),
        (unknown, "name 'Nowhere' is not defined"),
        (shapeless, "no schema"),
        (nameless, "no JSON schema"),
        (careless, "the default of 'city' is not what its annotation says"),
        (lambda: None, "its name is not"),
        (partial(Tool, bare, name="a b"), "its name is not"),
    ],
)
def test_what_has_no_schema_is_no_tool(function: Callable[..., Any], reason: str) -> None:
    make = function if isinstance(function, partial) else partial(Tool, function)
    with pytest.raises(InvalidToolError, match=reason):
        make()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"effect": True, "ttl": 3}, "an effect is not kept"),
        ({"effect": True, "shared": True}, "an effect is not kept"),
        ({"shared": True}, "context"),
        ({"ttl": -1}, "ttl is at least 0 seconds, not -1"),
        ({"ttl": float("nan")}, "ttl is at least 0 seconds, not nan"),
    ],
)
def test_options_that_contradict_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidToolError, match=reason) as caught:
        Tool(whoami, **options)
    assert caught.value.tool == "whoami"


def test_names_are_unique() -> None:
    with pytest.raises(InvalidToolError, match="another tool has this name; give it name="):
        Tools([weather, weather])
    tools = Tools([weather, Tool(weather, name="again")])
    assert [tool.name for tool in tools] == ["weather", "again"]
    assert len(tools) == 2
    assert "again" in tools
    assert tools["again"].function is weather


# --- calling -----------------------------------------------------------------------------------


async def test_a_call_gives_arguments_and_value_as_json(lattice: Lattice) -> None:
    tools = Tools([weather])
    given = {"place": {"city": "Bodø"}, "days": "2"}
    result = await in_act(lattice, lambda ctx: tools.call(ctx, "weather", given))
    full = {"place": {"city": "Bodø", "country": "NO"}, "days": 2, "unit": "C"}
    assert result == ToolResult("weather", full, {"place": "Bodø, NO", "degrees": 2.5})
    assert result.record == {
        "tool": "weather",
        "arguments": full,
        "value": {"place": "Bodø, NO", "degrees": 2.5},
    }
    assert not result.cached
    with pytest.raises(TypeError, match="immutable"):
        result.value["degrees"] = 3


async def test_arguments_may_be_json_text(lattice: Lattice) -> None:
    tools = Tools([weather])
    text = '{"place": {"city": "Oslo"}, "unit": "F"}'
    result = await in_act(lattice, lambda ctx: tools.call(ctx, "weather", text))
    assert result.value == {"place": "Oslo, NO", "degrees": 32.5}
    assert str(result) == (
        'weather(days=0, place={"city": "Oslo", "country": "NO"}, unit="F")'
        ' → {"degrees": 32.5, "place": "Oslo, NO"}'
    )


async def test_the_context_is_handed_over(lattice: Lattice) -> None:
    tools = Tools([whoami])
    result = await in_act(lattice, lambda ctx: tools.call(ctx, "whoami"), deps="Ann")
    assert result.value == "Ann in r"


async def test_sync_tools_run_in_a_thread(lattice: Lattice) -> None:
    def thread() -> int:
        return threading.get_ident()

    tools = Tools([thread])
    result = await in_act(lattice, lambda ctx: tools.call(ctx, "thread"))
    assert result.value != threading.get_ident()


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("wether", {}, "there is no tool 'wether'; there are: weather, whoami"),
        ("weather", {}, "the arguments do not fit: 'place' is missing (it takes: place, days, "),
        ("weather", {"place": {"city": 3}}, "fit: place.city: Input should be a valid string (it"),
        (
            "weather",
            {"place": {"city": "x"}, "day": 1},
            "fit: there is no argument 'day' (it takes",
        ),
        ("weather", {"place": {"city": "x"}, "days": -1}, "days: Input should be greater than or"),
        ("weather", '{"place": ', "fit: Invalid JSON: EOF while parsing a value"),
        ("weather", "[]", "fit: Input should be an object"),
        ("weather", {"place": {"city": "\ud800"}}, "surrogate"),
        ("weather", {"place": {"city": "x" * 40_000}}, "bytes are over the limit of 16384"),
        ("weather", {"place": {"city": "x"}, "days": 2**60}, "an integer beyond 2^53"),
    ],
)
async def test_a_wrong_call_is_an_error_that_says_how_to_mend_it(
    lattice: Lattice, name: str, arguments: Any, error: str
) -> None:
    tools = Tools([weather, whoami])
    result = await in_act(lattice, lambda ctx: tools.call(ctx, name, arguments))
    assert result.error is not None
    assert error in result.error
    assert (result.tool, result.value) == (name, None)
    # It can be journaled, whatever the arguments were.
    await lattice.note({"record": result.record})


async def test_what_a_tool_raises_is_a_value(lattice: Lattice) -> None:
    def divide(a: int, b: int) -> float:
        return a / b

    tools = Tools([divide])
    result = await in_act(lattice, lambda ctx: tools.call(ctx, "divide", {"a": 1, "b": 0}))
    assert result.error == "ZeroDivisionError: division by zero"
    assert isinstance(result.exception, ZeroDivisionError)
    assert result.record == {
        "tool": "divide",
        "arguments": {"a": 1, "b": 0},
        "error": "ZeroDivisionError: division by zero",
    }
    assert str(result) == "divide(a=1, b=0) failed: ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (float("nan"), "not JSON compliant"),
        ({"at": [2**53 + 1]}, "an integer beyond 2^53"),
        ("\ud800", "surrogates not allowed"),
        (object(), "Unable to serialize unknown type"),
        ("x" * 40_000, "40002 bytes are over the limit of 16384"),
    ],
)
async def test_a_value_that_no_line_could_hold_is_an_error(
    lattice: Lattice, value: object, error: str
) -> None:
    def give() -> object:
        return value

    tools = Tools([give, Tool(give, name="effect", effect=True)])
    for name in ("give", "effect"):
        result = await in_act(lattice, lambda ctx: tools.call(ctx, name), run_id=name)  # noqa: B023  # awaited here
        assert result.error is not None
        assert "it was called, but its result is lost" in result.error
        assert error in result.error


@pytest.mark.parametrize("effect", [False, True])
async def test_cancellation_passes(lattice: Lattice, effect: bool) -> None:
    async def cancel() -> None:
        scope.cancel()
        await anyio.sleep_forever()

    tools = Tools([Tool(cancel, effect=effect)])
    with anyio.CancelScope() as scope:
        await in_act(lattice, lambda ctx: tools.call(ctx, "cancel"))
    assert scope.cancelled_caught


# --- asked once --------------------------------------------------------------------------------


class Counting:
    """A tool that counts its calls, and waits until it may answer."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.may_answer = anyio.Event()

    async def __call__(self, query: str) -> list[str]:
        self.calls.append(query)
        await self.may_answer.wait()
        if query == "bad":
            raise LookupError("nothing found")
        return [query, str(len(self.calls))]


@pytest.fixture
def search() -> Counting:
    return Counting()


async def test_tasks_that_ask_the_same_share_one_call(lattice: Lattice, search: Counting) -> None:
    tools = Tools([Tool(search, name="search")])
    results: list[ToolResult] = []

    async def use(ctx: StepContext) -> None:
        async def one(arguments: dict[str, str] | str) -> None:
            results.append(await tools.call(ctx, "search", arguments))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one, {"query": "tea"})
            tasks.start_soon(one, '{"query": "tea"}')
            tasks.start_soon(one, {"query": "coffee"})
            await anyio.wait_all_tasks_blocked()
            search.may_answer.set()
        results.append(await tools.call(ctx, "search", {"query": "tea"}))

    await in_act(lattice, use)
    assert sorted(search.calls) == ["coffee", "tea"]
    assert sorted(result.cached for result in results) == [False, False, True, True]
    assert {result.arguments["query"]: result.value for result in results} == {
        "tea": ["tea", "2"],
        "coffee": ["coffee", "2"],
    }


async def test_a_run_asks_for_itself_unless_the_tool_is_shared(
    lattice: Lattice, search: Counting
) -> None:
    search.may_answer.set()
    tools = Tools([Tool(search, name="own"), Tool(search, name="shared", shared=True)])
    for name in ("own", "shared"):
        for run_id in ("1", "2"):
            await in_act(
                lattice,
                lambda ctx: tools.call(ctx, name, {"query": name}),  # noqa: B023  # awaited here
                run_id=f"{name}{run_id}",
            )
    assert search.calls == ["own", "own", "shared"]


async def test_errors_are_not_kept(lattice: Lattice, search: Counting) -> None:
    search.may_answer.set()
    tools = Tools([Tool(search, name="search")])

    async def use(ctx: StepContext) -> list[str | None]:
        return [(await tools.call(ctx, "search", {"query": "bad"})).error for _ in range(2)]

    assert await in_act(lattice, use) == ["LookupError: nothing found"] * 2
    assert search.calls == ["bad"] * 2


async def test_a_value_is_kept_for_its_ttl(search: Counting) -> None:
    search.may_answer.set()
    ttls = {"search": 60, "now": 0, "over": 1e-9}
    tools = Tools([Tool(search, name=name, ttl=ttl) for name, ttl in ttls.items()])

    async def use(ctx: StepContext) -> list[int]:
        calls = []
        for name in ("search", "search", "now", "now", "over", "over"):
            await tools.call(ctx, name, {"query": "tea"})
            calls.append(len(search.calls))
        return calls

    async with Lattice(MemoryStore(), dim=2) as lattice:
        assert await in_act(lattice, use) == [1, 1, 2, 3, 4, 5]


async def test_the_journal_does_not_know_of_calls_without_effect(lattice: Lattice) -> None:
    tools = Tools([weather])
    arguments: dict[str, JsonValue] = {"place": {"city": "Oslo"}}
    await in_act(lattice, lambda ctx: tools.call(ctx, "weather", arguments))
    stages = [entry.context["pmll"]["stage"] for entry in await journal(lattice, "r")]
    assert "effect" not in stages
