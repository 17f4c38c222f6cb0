"""A ready controller: a model that calls tools until it can answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

import anyio
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from pmll_async import Candidate, Lattice

from ..controller import RTMController
from ..journal.entries import entries
from ..llm import Message, Model, ask, prompt, quote, quoted
from ..run.setup import Options
from ..steps import Continue, Deps, Done, Failed, Outcome, Pause, Plan, Retry, StepContext
from ..tools.tools import Record, Tool, ToolResult, Tools

if TYPE_CHECKING:
    from pmll_async.text import TextMemory

_MOST_CALLS: Final = 6  # in one turn; every result goes into the prompts of all later ones
# What people type; anything else may be a no, and is told to the model.
_YES: Final = ("yes", "y", "true", "ok")


class ToolCall(BaseModel):
    """A tool that the model wants called."""

    model_config = ConfigDict(frozen=True)

    tool: str
    arguments: dict[str, JsonValue] = {}


class Move(BaseModel):
    """What the model does in one turn: it calls tools, or it answers."""

    model_config = ConfigDict(frozen=True)

    thought: str = ""
    calls: tuple[ToolCall, ...] = Field(default=(), max_length=_MOST_CALLS)
    answer: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if bool(self.calls) == (self.answer is not None):
            raise ValueError("give either calls or an answer, and not both")
        return self


class ToolAgent(RTMController[Deps, Move]):
    """Reaches goals with a model and tools; `run`, `stream`, `resume` are the controller's.

    PLAN asks the model for calls or an answer, ACT makes the calls, those without effect beside
    each other, and keeps what was learned as a line; REFLECT is done with an answer. The model gets
    errors back as results. Results and memories reach it as quoted data.

    A resumed run neither repeats an effect nor asks the model again for a reply that it had.
    Of what the memory knew before the run, the `recall` lines that suit the goal are shown.
    `instructions` go before the tools. A call of a tool whose name is in `confirm` pauses the run
    first; ``resume(run_id, answer="yes")`` lets it happen, any other answer is told to the model.
    `attempts` bounds the replies of one turn that cannot be used, `max_cycles` the turns; in the
    last one the model is told to answer. The rest is as in `RTMController`. One agent serves any
    number of runs at once.
    """

    def __init__(
        self,
        memory: TextMemory,
        model: Model,
        tools: Tools | Iterable[Tool | Callable[..., Any]],
        *,
        instructions: str = "",
        recall: int = 5,
        confirm: Collection[str] = (),
        attempts: int = 3,
        max_cycles: int = 8,
        max_retries: int = 2,
        **options: Unpack[Options],
    ) -> None:
        if isinstance(memory, Lattice):
            raise TypeError("a ToolAgent keeps texts: give it a TextMemory, not a Lattice")
        tools = tools if isinstance(tools, Tools) else Tools(tools)
        for name in confirm:
            if name not in tools:
                raise ValueError(f"confirm names {name!r}, and there is no such tool")
        steps = _AgentSteps(model, tools, instructions, recall, frozenset(confirm), attempts)
        super().__init__(
            memory,
            plan=steps.plan,
            act=[steps.act],
            reflect=steps.reflect,
            max_cycles=max_cycles,
            max_retries=max_retries,
            **options,
        )


@dataclass(frozen=True, slots=True)
class _AgentSteps:
    model: Model
    tools: Tools
    instructions: str
    recall: int
    confirm: frozenset[str]
    attempts: int

    async def plan(self, ctx: StepContext[Any]) -> Plan[Move]:
        """Ask the model, which is shown the whole run so far."""
        conversation = [*await self._beginning(ctx), *await _turns(ctx)]
        if ctx.budget.last_cycle:
            last = conversation[-1]
            content = f"{last['content']}\n\n{prompt('tool_agent_last')}"
            conversation[-1] = Message(role=last["role"], content=content)
        move = await ask(ctx, self.model, conversation, Move, attempts=self.attempts)
        return Plan(move.thought, move)

    async def act(self, ctx: StepContext[Any], plan: Plan[Move]) -> Candidate | Pause:
        """Make the calls; the line says what they came to."""
        move = plan.data
        if move.answer is not None:
            return await ctx.texts.candidate(move.answer, context={"goal": ctx.goal})
        asked = [call for call in move.calls if call.tool in self.confirm]
        if asked and ctx.answer is None:
            wanted = "; ".join(f"{call.tool}({json.dumps(call.arguments)})" for call in asked)
            return Pause(f"May it call {wanted}?", [call.model_dump() for call in asked])
        results = await self._called(ctx, move.calls)
        # What had an effect is remembered in a line of its own.
        is_told = self._is_effect if self.tools.remember else lambda _: False
        learned = [result for result in results if not is_told(result.tool)]
        names = ", ".join(result.tool for result in results)
        told = "\n".join(map(str, learned)) or f"{move.thought} Called {names}."
        calls: list[JsonValue] = [result.record for result in results]
        return await ctx.texts.candidate(told, context={"goal": ctx.goal, "calls": calls})

    async def reflect(
        self, ctx: StepContext[Any], outcome: Outcome
    ) -> Continue[None] | Done[None] | Retry[None]:
        """Content with an answer; a failure is the next PLAN's to know."""
        if isinstance(outcome, Failed):
            # Another race would have the effects of this one again.
            return Retry(str(outcome)) if outcome.stage == "plan" else Continue(str(outcome))
        answer = ctx.plan.data.answer
        return Continue(ctx.plan.text) if answer is None else Done(answer)

    # --- what the model is shown -----------------------------------------------------------------

    async def _beginning(self, ctx: StepContext[Any]) -> list[Message]:
        described = "\n".join(
            json.dumps({**tool.schema["function"], "effect": tool.effect}, ensure_ascii=False)
            for tool in self.tools
        )
        system = prompt("tool_agent_system", instructions=self.instructions, tools=described)
        others: dict[str, JsonValue] = {
            "pmll.run": {"$ne": ctx.run_id},
            "tool.run": {"$ne": ctx.run_id},
        }
        known = await ctx.texts.recall(ctx.goal, self.recall, where=others) if self.recall else []
        goal = prompt("tool_agent_goal", goal=ctx.goal, memories=quoted(known))
        return [Message(role="system", content=system), Message(role="user", content=goal)]

    # --- calling ---------------------------------------------------------------------------------

    async def _called(self, ctx: StepContext[Any], calls: Sequence[ToolCall]) -> list[ToolResult]:
        results: dict[int, ToolResult] = {}

        async def make(number: int, call: ToolCall) -> None:
            results[number] = await self._made(ctx, call)

        for is_effect, group in groupby(
            enumerate(calls), lambda each: self._is_effect(each[1].tool)
        ):
            # Effects one after another, in the order that the model gave.
            if is_effect:
                for number, call in group:
                    await make(number, call)
            else:
                async with anyio.create_task_group() as tasks:
                    for number, call in group:
                        tasks.start_soon(make, number, call)
        return [results[number] for number in range(len(calls))]

    async def _made(self, ctx: StepContext[Any], call: ToolCall) -> ToolResult:
        if call.tool in self.confirm and str(ctx.answer).strip().lower() not in _YES:
            error = f"it was not allowed, with the words: {ctx.answer}"
            return ToolResult(call.tool, call.arguments, error=error)
        return await self.tools.call(ctx, call.tool, call.arguments)

    def _is_effect(self, name: str) -> bool:
        return name in self.tools and self.tools[name].effect


async def _turns(ctx: StepContext[Any]) -> list[Message]:
    """The run's earlier cycles, each as what the model called and what that came to."""
    newest_first = [entry async for entry in entries(ctx.memory, {"pmll.run": ctx.run_id})]
    moves: dict[int, Move] = {}
    rows: dict[int, list[Record]] = {}
    for entry in reversed(newest_first):
        cycle, phase, context = entry.facts["cycle"], entry.kind, entry.line.context
        if phase == ("plan", "done") and cycle < ctx.cycle:
            moves[cycle], rows[cycle] = Move.model_validate(context["data"]), []
        elif cycle not in moves:
            continue
        elif phase == ("effect", "done") and _is_of_a_tool(context.get("result")):
            rows[cycle].append(context["result"])
        elif phase == ("act", "done"):
            rows[cycle] = list(context.get("calls", ()))
        elif phase == ("act", "failed"):
            # The effects before it took place, and the model has to know.
            why = {name: list(context[name]) for name in ("failures", "unfinished")}
            rows[cycle].append({"error": "nothing more came of the calls", **why})
    turns = []
    for cycle, move in moves.items():
        results = quote("results", [_row(record) for record in rows[cycle]])
        turns += [
            Message(role="assistant", content=move.model_dump_json(exclude_defaults=True)),
            Message(role="user", content=prompt("tool_agent_results", results=results)),
        ]
    return turns


def _is_of_a_tool(result: object) -> bool:
    return isinstance(result, Mapping) and {"tool", "arguments"} <= result.keys()


def _row(record: Record) -> Record:
    # Deeper than where quoting leaves out what is empty: a tool may have found nothing.
    outcome: Record = {name: record[name] for name in ("value", "error") if name in record}
    return {**{name: record[name] for name in record if name not in outcome}, "outcome": outcome}
