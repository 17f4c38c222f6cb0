"""A ready controller: a model that calls tools until it can answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Unpack

import anyio
from pydantic import JsonValue

from pmll_async import Candidate, Lattice

from .. import events
from ..controller import RTMController
from ..kept import KEPT_TRUST, Kept, Whose, filter_of, marked, owned_by
from ..llm import Model, SupportsTools, ToolsRefusedError, ask
from ..llm.fitting import ROOM, Count, check_room
from ..llm.recalling import Recalling
from ..llm.requests import Question, answered
from ..outages import PATIENCE, Patience, patiently
from ..run.setup import Options
from ..steps import Continue, Deps, Done, Failed, Outcome, Pause, Plan, Retry, StepContext
from ..tools.tools import Tool, ToolResult, Tools, source_of_tool
from .approvals import Approvals, Decided
from .conversation import Showing
from .moves import Move, ToolCall
from .native import move_of, schemas

if TYPE_CHECKING:
    from pmll_async.text import Preset, TextMemory

AGENT: Final = "agent"
"""The principal that an agent's own answers are from."""


class ToolAgent(RTMController[Deps, Move]):
    """Reaches goals with a model and tools; `run`, `stream`, `resume` are the controller's.

    PLAN asks the model for calls or an answer, ACT makes the calls, those without effect beside
    each other, and keeps what was learned as a line; REFLECT is done with an answer. The model gets
    errors back as results. Results and memories reach it as quoted data. Tools are called by the
    endpoint's own protocol where the model `SupportsTools`, by JSON in its text where not. A
    resumed run neither repeats an effect nor asks the model again for a reply that it had.
    `instructions` go before the tools.

    A call of a tool whose name is in `confirm` pauses the run first, each call for itself:
    ``resume(run_id, answer="yes")`` lets it happen. `understood` says what else does and how
    arguments are changed; any other answer is told to the model.

    Of what the memory knows, the `recall` lines that suit the goal are shown: of those that `where`
    lets pass, a filter or a function that gives one for the step, so that many users share a
    lattice; ranked by `preset`. What runs have kept is no evidence but for the kinds in `evidence`,
    "answer" and "result". What this one keeps has its kind and source under `pmll`, and the plain
    equalities of `where` in its context.

    `attempts` bounds the replies of one turn that cannot be used, `max_cycles` the turns; in the
    last one the model is told to answer. A prompt has at most `room`, as `count` counts it:
    characters, or tokens by a tokenizer's function. Beyond that the newest turns are shown, and of
    the older ones what they did to the world and what recall finds of their results. A model whose
    context is less is asked again with less. One that is down is waited for as long as `patience`
    has it; then the run stops, `failed` with an `OutageError`, and `resume` goes on. The rest is as
    in `RTMController`. One agent serves any number of runs at once.
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
        room: int = ROOM,
        count: Count = len,
        patience: Patience = PATIENCE,
        where: Whose | None = None,
        preset: Preset | None = None,
        evidence: Collection[Kept] = (),
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
        check_room(room)
        recalling = Recalling.of(recall, patience, where=where, preset=preset, evidence=evidence)
        showing = Showing(tools, instructions, recalling, room, count)
        steps = _AgentSteps(model, tools, showing, frozenset(confirm), attempts)
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
    showing: Showing
    confirm: frozenset[str]
    attempts: int

    async def plan(self, ctx: StepContext[Any]) -> Plan[Move]:
        """Ask the model, which is shown the run so far."""
        model = self.model
        if isinstance(model, SupportsTools) and model.has_tools and len(self.tools):
            try:
                return _planned(await self._natively(ctx, model))
            except ToolsRefusedError as exc:
                ctx.log.info("model.no_tools", status=exc.status)
        shown, patience = await self.showing.of(ctx, native=False), self.showing.recalling.patience
        return _planned(
            await ask(ctx, model, shown, Move, attempts=self.attempts, patience=patience)
        )

    async def _natively(self, ctx: StepContext[Any], model: SupportsTools) -> Move:
        """Ask by the endpoint's own protocol for tools."""
        # One that must answer is kept from calling.
        choice = "none" if ctx.budget.last_cycle else "auto"
        return await answered(
            ctx,
            model.using(schemas(self.tools), choice),
            Question(await self.showing.of(ctx, native=True), again="tool_agent_again"),
            move_of,
            name="ask",
            attempts=self.attempts,
            patience=self.showing.recalling.patience,
        )

    async def act(self, ctx: StepContext[Any], plan: Plan[Move]) -> Candidate | Pause:
        """Make the calls; the line says what they came to."""
        move = plan.data
        if move.answer is not None:
            return await self._line(ctx, move.answer, "answer", AGENT, {})
        approvals = Approvals(self.tools, self.confirm)
        question = approvals.decide(move.calls, ctx.answers)
        await _told_back(ctx, approvals)
        if question is not None:
            return question
        results = await self._called(ctx, move.calls, approvals.decided)
        # What had an effect is remembered in a line of its own.
        is_told = self.showing.is_effect if self.tools.remember else lambda _: False
        learned = [result for result in results if not is_told(result.tool)]
        names = ", ".join(result.tool for result in results)
        told = "\n".join(map(str, learned)) or f"{move.thought} Called {names}."
        calls: list[JsonValue] = [
            _recorded(result, approvals.decided.get(number))
            for number, result in enumerate(results)
        ]
        called = {result.tool for result in learned or results}
        source = source_of_tool(called.pop()) if len(called) == 1 else "tools"
        return await self._line(ctx, told, "result", source, {"calls": calls})

    async def _line(
        self,
        ctx: StepContext[Any],
        text: str,
        kind: Kept,
        source: str,
        context: dict[str, JsonValue],
    ) -> Candidate:
        writer = ctx.texts.as_writer(source, trust=KEPT_TRUST)
        context = {**self._own(ctx), "goal": ctx.goal, **context}
        made = partial(writer.candidate, text, context=context)
        patience = self.showing.recalling.patience
        return marked(await patiently("the memory's embedder", made, patience), kind)

    def _own(self, ctx: StepContext[Any]) -> dict[str, JsonValue]:
        return owned_by(filter_of(self.showing.recalling.where, ctx))

    async def reflect(
        self, ctx: StepContext[Any], outcome: Outcome
    ) -> Continue[None] | Done[None] | Retry[None]:
        """Content with an answer; a failure is the next PLAN's to know."""
        if isinstance(outcome, Failed):
            # Another race would have the effects of this one again.
            return Retry(str(outcome)) if outcome.stage == "plan" else Continue(str(outcome))
        answer = ctx.plan.data.answer
        return Continue(ctx.plan.text) if answer is None else Done(answer)

    # --- calling ---------------------------------------------------------------------------------

    async def _called(
        self, ctx: StepContext[Any], calls: Sequence[ToolCall], decided: Mapping[int, Decided]
    ) -> list[ToolResult]:
        results: dict[int, ToolResult] = {}

        async def make(number: int, call: ToolCall) -> None:
            results[number] = await self._made(ctx, call, decided.get(number))

        for is_effect, group in groupby(
            enumerate(calls), lambda each: self.showing.is_effect(each[1].tool)
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

    async def _made(
        self, ctx: StepContext[Any], call: ToolCall, decided: Decided | None
    ) -> ToolResult:
        if decided is not None:
            call = decided.call
            if not decided.decision.approved:
                error = f"it was not allowed, with the words: {decided.decision.said}"
                return ToolResult(call.tool, call.arguments, error=error)
        return await self.tools.call(ctx, call.tool, call.arguments, context=self._own(ctx))


def _planned(move: Move) -> Plan[Move]:
    return Plan(move.thought, move)


def _recorded(result: ToolResult, decided: Decided | None) -> JsonValue:
    return {**result.record, **({} if decided is None else {"approval": decided.record})}


async def _told_back(ctx: StepContext[Any], approvals: Approvals) -> None:
    """Tell who follows the run what the newest answer was understood as."""
    doing = ctx._doing  # noqa: SLF001  # what the agent tells is its step's
    for decided in approvals.decided.values():
        if decided.fresh:
            call, decision = decided.call, decided.decision
            await doing.tell(
                events.Decided,
                tool=call.tool,
                arguments=call.arguments,
                approved=decision.approved,
                said=decision.said,
                changed=tuple(sorted(decision.arguments)),
            )
