"""Tools: plain typed functions that a step, or a model through it, calls by name."""

from __future__ import annotations

import json
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any, Final, cast

from pydantic import JsonValue
from pydantic_core import to_jsonable_python

from pmll_async import (
    Candidate,
    FrozenDict,
    InvalidContextError,
    Lattice,
    LineNotFoundError,
    MemoryLine,
    PmllError,
    journal_key,
)

from ..calling import call, failure_of, name_of
from ..journal.journal import effect_step
from ..kept import KEPT_TRUST, marked
from ..run.effects import EffectUnknownError
from ..steps import StepContext
from .signatures import ArgumentsError, InvalidToolError, Signature, described, signature_of

Record = dict[str, JsonValue]

_MAX_BYTES: Final = 16 * 1024  # so that what a step called fits into one context of 256 KiB
_LONGEST_SAID: Final = 400  # characters of arguments, and of a result, in a remembered text
_DIGEST_BYTES: Final = 8  # tells the calls of one step apart, in a short name


class RacedEffectError(PmllError):
    """A tool with a side effect was called by one of several acts, of which all but one lose."""

    def __init__(self, tool: str) -> None:
        self.tool = tool
        super().__init__(
            f"tool {tool!r} has a side effect, and acts that are raced have none: call it in"
            " REFLECT, or give the controller a single act"
        )


@dataclass(frozen=True, eq=False)
class Tool:
    """A function as a tool, with what its signature cannot say.

    `name` and `description` are the function's own, and the first paragraph of its docstring, where
    they are left out. A parameter is described by ``Annotated[str, Field(description="…")]``. A
    first parameter that is a `StepContext` is given the step's own.

    Without `effect` the same arguments give the same result, so that a run asks once: until `ttl`
    seconds are over, where it is given; 0 asks every time. `shared`: all runs of the lattice ask
    once, which a tool that takes a context cannot.

    With `effect` a call changes the world: it is journaled, and not repeated when the run is
    resumed. If the process died during the call, it is done again; with ``again=False`` it is not,
    and the result says that nobody knows.

    `InvalidToolError` for what can be no tool.
    """

    function: Callable[..., Any]
    name: str = field(default="", kw_only=True)
    description: str = field(default="", kw_only=True)
    effect: bool = field(default=False, kw_only=True)
    again: bool = field(default=True, kw_only=True)
    ttl: float | None = field(default=None, kw_only=True)
    shared: bool = field(default=False, kw_only=True)
    signature: Signature = field(init=False, repr=False)

    def __post_init__(self) -> None:
        name = self.name or name_of(self.function)
        self._set(name=name, signature=signature_of(self.function, name))
        self._set(description=self.description or described(self.function))
        if self.effect and (self.ttl is not None or self.shared):
            raise InvalidToolError(name, "an effect is not kept: leave out ttl and shared")
        if self.shared and self.signature.takes_context:
            raise InvalidToolError(name, "what a step's context decides is not shared by all runs")
        if self.ttl is not None and not self.ttl >= 0:
            raise InvalidToolError(name, f"ttl is at least 0 seconds, not {self.ttl}")

    @property
    def schema(self) -> dict[str, Any]:
        """The tool as services for models want it described."""
        told = {"name": self.name, "description": self.description}
        # A copy, because services for models want this or that added.
        parameters = deepcopy(dict(self.signature.schema))
        return {"type": "function", "function": {**told, "parameters": parameters}}

    def _set(self, **facts: object) -> None:
        # It is frozen, and what its function says is known only now.
        for name, fact in facts.items():
            object.__setattr__(self, name, fact)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call came to: a `value`, or an `error` in words for who chose the arguments.

    `arguments` and `value` are JSON, immutable; the arguments as the tool got them, defaults
    included. `cached`: nothing was called, the result was known. `exception` is what the tool
    raised, where this very call had it called.
    """

    tool: str
    arguments: Mapping[str, JsonValue]
    value: JsonValue = None
    error: str | None = None
    cached: bool = field(default=False, compare=False)
    exception: Exception | None = field(default=None, compare=False, repr=False)

    @property
    def record(self) -> Record:
        """The result as JSON: tool and arguments, and either value or error."""
        told: Record = {"tool": self.tool, "arguments": dict(self.arguments)}
        return {**told, **({"value": self.value} if self.error is None else {"error": self.error})}

    def __str__(self) -> str:
        given = ", ".join(f"{name}={_short(value)}" for name, value in self.arguments.items())
        called = f"{self.tool}({_cut(given)})"
        if self.error is not None:
            return f"{called} failed: {_cut(self.error)}"
        return f"{called} → {_cut(_short(self.value))}"


@dataclass(frozen=True, slots=True)
class _Call:
    """A call whose arguments fit: `given` to the function; as JSON, and as its canonical text."""

    tool: Tool
    given: Mapping[str, Any]
    arguments: Mapping[str, JsonValue]
    canonical: str

    def result(self, value: JsonValue, **more: Any) -> ToolResult:
        return ToolResult(self.tool.name, self.arguments, value, **more)

    def failed(self, error: Exception) -> ToolResult:
        told = failure_of(self.tool.name, error)
        said = f"{told.error}: {told.message}" if told.message else told.error
        return ToolResult(self.tool.name, self.arguments, error=said, exception=error)


class Tools:
    """The tools that a step may call: functions, or `Tool`s where more is to be said of one.

    ::

        tools = Tools([search, Tool(send_mail, effect=True)])
        result = await tools.call(ctx, "search", {"query": "tea"})

    They are called by name. Sync functions run in a thread; time limits are the caller's.
    `max_bytes` bounds the arguments and the value of a call, as JSON. With a text memory under the
    controller, what an effect came to is remembered in a line that recall finds, unless `remember`
    is false: from "tool:name", with trust 0.5. Its context has, under ``tool``, the name, the
    arguments, the value or the error, run, cycle, stage, and `effect`, the anchor of the journal's
    entry.
    """

    def __init__(
        self,
        tools: Iterable[Tool | Callable[..., Any]],
        *,
        remember: bool = True,
        max_bytes: int = _MAX_BYTES,
    ) -> None:
        self._tools: dict[str, Tool] = {}
        self.remember, self._max_bytes = remember, max_bytes
        for each in tools:
            tool = each if isinstance(each, Tool) else Tool(each)
            if tool.name in self._tools:
                raise InvalidToolError(tool.name, "another tool has this name; give it name=…")
            self._tools[tool.name] = tool

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __getitem__(self, name: str) -> Tool:
        return self._tools[name]

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def schemas(self) -> list[dict[str, Any]]:
        """Every tool as the `tools` of a chat request describe it."""
        return [tool.schema for tool in self]

    async def call(
        self,
        ctx: StepContext[Any],
        name: str,
        arguments: Mapping[str, Any] | str = FrozenDict(),
        *,
        context: Mapping[str, JsonValue] = FrozenDict(),
    ) -> ToolResult:
        """Call a tool with named arguments, or with the JSON text of them.

        What is wrong with the call, and what the tool raises, is the result's `error`. Of tasks
        that ask a tool without effect the same, one calls it and the others wait for the result;
        errors are not kept. Effects are counted, so that a step which calls one twice with the same
        arguments has it twice, and a resumed step finds both. The line that remembers an effect has
        the `context`. `RacedEffectError` where an effect has no place; a store's errors are raised.
        """
        try:
            made = self._bound(name, arguments)
        except ArgumentsError as exc:
            return ToolResult(name, self._shown(arguments), error=str(exc))
        if made.tool.effect:
            return await self._effect(ctx, made, context)
        return await self._asked(ctx, made)

    def _bound(self, name: str, arguments: Mapping[str, Any] | str) -> _Call:
        tool = self._tools.get(name)
        if tool is None:
            known = ", ".join(self._tools) or "none"
            raise ArgumentsError(f"there is no tool {name!r}; there are: {known}")
        given, told = tool.signature.bind(arguments)
        try:
            canonical = json.dumps(told, sort_keys=True, allow_nan=False, ensure_ascii=False)
            kept = self._kept(told, canonical)
        except (ValueError, RecursionError) as exc:
            raise ArgumentsError(f"the arguments cannot be stored: {_reason(exc)}") from exc
        return _Call(tool, given, cast(Mapping[str, JsonValue], kept), canonical)

    # --- without effect --------------------------------------------------------------------------

    async def _asked(self, ctx: StepContext[Any], made: _Call) -> ToolResult:
        tool, is_fresh = made.tool, False

        async def ask() -> JsonValue:
            nonlocal is_fresh
            is_fresh = True
            return await self._value(ctx, made)

        memory = ctx.memory.working.scope("tools") if tool.shared else ctx.working
        try:
            # Nothing is kept, and so not shared between tasks that ask at once.
            if tool.ttl == 0:
                value = await ask()
            else:
                value = await memory.once((tool, made.canonical), ask, ttl=tool.ttl)
        # A tool is the user's code: what it raises is a value, for who called it to reflect on.
        except Exception as exc:  # noqa: BLE001
            return made.failed(exc)
        return made.result(value, cached=not is_fresh)

    async def _value(self, ctx: StepContext[Any], made: _Call) -> JsonValue:
        leading = (ctx,) if made.tool.signature.takes_context else ()
        value = await call(partial(made.tool.function, *leading, **made.given))
        try:
            return self._kept(to_jsonable_python(value))
        except ValueError as exc:
            raise _UnusableError(f"it was called, but its result is lost: {_reason(exc)}") from exc

    # --- with effect -----------------------------------------------------------------------------

    async def _effect(
        self, ctx: StepContext[Any], made: _Call, context: Mapping[str, JsonValue]
    ) -> ToolResult:
        if ctx.raced:
            raise RacedEffectError(made.tool.name)
        fresh: list[ToolResult] = []

        async def take_place() -> dict[str, JsonValue]:
            try:
                result = made.result(await self._value(ctx, made))
            # Recorded, so that a resumed run meets the same error and does not do it again.
            except Exception as exc:  # noqa: BLE001
                result = made.failed(exc)
            fresh.append(result)
            return result.record

        name = _effect_name(ctx, made)
        try:
            record: Record = await ctx.once(name, take_place, again=made.tool.again)
        except EffectUnknownError:
            return made.result(None, error=_UNKNOWN)
        result = fresh[0] if fresh else self._recorded(made, record)
        if self.remember:
            await _remembered(ctx, name, result, context)
        return result

    def _recorded(self, made: _Call, record: Record) -> ToolResult:
        if "error" in record:
            return made.result(None, error=str(record["error"]), cached=True)
        return made.result(self._kept(record["value"]), cached=True)

    # --- as JSON ---------------------------------------------------------------------------------

    def _shown(self, arguments: object) -> Mapping[str, JsonValue]:
        """Arguments that did not fit, as far as they can be shown."""
        try:
            kept = self._kept(arguments)
        except (ValueError, TypeError, RecursionError):
            return FrozenDict()
        return kept if isinstance(kept, FrozenDict) else FrozenDict()

    def _kept(self, value: Any, text: str | None = None) -> JsonValue:
        """The value, immutable, as a line gives it back; `ValueError` if none could hold it."""
        if text is None:
            text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        if (size := len(text.encode())) > self._max_bytes:
            raise ValueError(f"{size} bytes are over the limit of {self._max_bytes}")
        # Nested as deep as journals nest it, which counts towards a context's limit.
        candidate = Candidate(key=(1.0,), context={"in": [{"in": value}]})
        return cast(JsonValue, candidate.context["in"][0]["in"])


class _UnusableError(Exception):
    """A tool's result that is no JSON, or too much of it."""


_UNKNOWN: Final = "nobody knows whether an earlier call took place: find out before you repeat it"

# Of each step that called effects, how often which: a step is done when its context is gone.
_COUNTED: Final[dict[int, Counter[str]]] = {}


def _effect_name(ctx: StepContext[Any], made: _Call) -> str:
    digest = blake2b(made.canonical.encode(), digest_size=_DIGEST_BYTES).hexdigest()
    name = f"tool.{made.tool.name}.{digest}"
    counted = _COUNTED.get(id(ctx))
    if counted is None:
        counted = _COUNTED[id(ctx)] = Counter()
        weakref.finalize(ctx, _COUNTED.pop, id(ctx), None).atexit = False
    counted[name] += 1
    return f"{name}.{counted[name]}"


async def _remembered(
    ctx: StepContext[Any], name: str, result: ToolResult, context: Mapping[str, JsonValue]
) -> None:
    if not ctx.has_texts:
        return
    doing = ctx._doing  # noqa: SLF001  # a tool's effect is the step's
    entry = cast(MemoryLine, await doing.entry(name, "done"))
    key = effect_step(doing.step_key, name, "told")
    # An earlier version may have remembered it, in other words or without a namespace of its own.
    if any([await _is_remembered(ctx.memory, one, entry) for one in (journal_key(key), key)]):
        return
    facts: Record = {"run": ctx.run_id, "cycle": ctx.cycle, "stage": ctx.stage}
    told: Record = {**result.record, **facts, "effect": entry.anchor}
    told["name"] = told.pop("tool")
    writer = ctx.texts.as_writer(source_of_tool(result.tool), trust=KEPT_TRUST)
    said = await writer.candidate(
        str(result), timestamp=entry.timestamp, context={**context, "tool": told}
    )
    kept = marked(said, "result")
    await ctx.memory.put(
        kept.key,
        context=kept.context,
        timestamp=kept.timestamp,
        idempotency_key=journal_key(key),
    )


def source_of_tool(name: str) -> str:
    """The principal that what a tool gave is from."""
    return f"tool:{name}"


async def _is_remembered(memory: Lattice, key: str, entry: MemoryLine) -> bool:
    """Whether a line with this key tells of the effect."""
    try:
        line = await memory.find(key)
    except LineNotFoundError:
        return False
    told = line.context.get("tool")
    return isinstance(told, Mapping) and told.get("effect") == entry.anchor


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, InvalidContextError) else str(error)


def _short(value: JsonValue) -> str:
    return json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_SAID else f"{text[:_LONGEST_SAID]}…"
