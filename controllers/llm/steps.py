"""PLAN, ACT and REFLECT by a language model.

Each is some lines around `ask`. Write your own in the same way when you want another reply,
tools or several models. The prompts are in the folder `prompts`, the replies are the models below.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    Literal,
    Self,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from numpy.typing import ArrayLike
from pydantic import BaseModel, Field, model_validator

from pmll_async import Candidate, MemoryLine, RaceOutcome

from .. import ActStep, Outcome, Pause, Plan, PlanStep, ReflectStep, StepContext, Verdict
from ..calling import call
from ..journal.journal import VERDICTS
from ..kept import KEPT_TRUST, filter_of, marked, owned_by
from ..reports.documents import verdict_name
from .asking import Asking, AskOptions
from .messages import Message, Model
from .quotes import quote, quoted, quoted_text
from .recalling import Recalling, RecallOptions
from .templates import prompt

if TYPE_CHECKING:
    from pmll_async.text import Recollection

T = TypeVar("T")
Embed = Callable[[str], ArrayLike | Awaitable[ArrayLike]]
"""The key vector (dim,) of a text."""

_MEMORIES: Final = 8  # enough to help, and few enough not to bury the task


class PlanReply(BaseModel):
    """What PLAN asks a model for."""

    text: str
    goals: list[str] = Field(default=[], max_length=8)


class PlanReplyWith(PlanReply, Generic[T]):
    """The same with data for ACT."""

    data: T


class ActReply(BaseModel):
    """What ACT asks a model for."""

    text: str = Field(min_length=1)
    confidence: float = Field(ge=0, le=1)


class Judgement(BaseModel):
    """What REFLECT asks a model for once its question is answered."""

    verdict: Literal["done", "continue", "retry"]
    text: str


class ReflectReply(BaseModel):
    """What REFLECT asks a model for: a verdict, or a question."""

    verdict: Literal["done", "continue", "retry"] | None = None
    text: str = ""
    ask: str | None = None

    @model_validator(mode="after")
    def _either(self) -> Self:
        if self.verdict is None and not self.ask:
            raise ValueError("a verdict is missing, or a question under `ask`")
        return self


@overload
def llm_plan(
    model: Model,
    *,
    data: type[T],
    instructions: str | None = None,
    memories: int = _MEMORIES,
    **options: Unpack[StepOptions],
) -> PlanStep[Any, T]: ...


@overload
def llm_plan(
    model: Model,
    *,
    data: None = None,
    instructions: str | None = None,
    memories: int = _MEMORIES,
    **options: Unpack[StepOptions],
) -> PlanStep[Any, Any]: ...


def llm_plan(
    model: Model,
    *,
    data: type[Any] | None = None,
    instructions: str | None = None,
    memories: int = _MEMORIES,
    **options: Unpack[StepOptions],
) -> PlanStep[Any, Any]:
    """A PLAN that a model makes; with `data`, it must give data of that type along.

    `instructions` stand in for ``prompts/plan.md``. As many `memories` as said are recalled for the
    goal, if the controller has a text memory. The rest is as `AskOptions` and
    `RecallOptions` say.
    """
    reply: Any = PlanReply if data is None else PlanReplyWith[data]  # type: ignore[valid-type]  # made at run time
    system = prompt("plan") if instructions is None else instructions
    asking, recalling = _read(memories, options)

    async def plan(ctx: StepContext[Any]) -> Plan[Any]:
        situation = await _situation(ctx, ctx.goal, recalling)
        said = await asking.ask(ctx, model, lambda longest: told(system, situation(longest)), reply)
        return Plan(said.text, getattr(said, "data", None), goals=tuple(said.goals))

    # From the annotation the journal knows what to make of the data after a restart.
    plan.__annotations__["return"] = Plan if data is None else Plan[data]  # type: ignore[valid-type]  # made at run time
    return plan


def llm_act(
    model: Model,
    *,
    name: str = "act",
    embed: Embed | None = None,
    instructions: str | None = None,
    memories: int = _MEMORIES,
    **options: Unpack[StepOptions],
) -> ActStep[Any, Any]:
    """An ACT whose candidate is a model's text, with the confidence that the model gives.

    It becomes a line of the controller's text memory, said by `name` in the run's session, from
    "agent:name" with trust 0.5; or, with `embed`, a line with that key and the context
    ``{"text": …}``. Its kind, under `pmll`, is "answer". The rest is as for `llm_plan`.
    """
    system = prompt("act") if instructions is None else instructions
    asking, recalling = _read(memories, options)

    async def act(ctx: StepContext[Any], plan: Plan[Any]) -> Candidate:
        situation = await _situation(ctx, f"{ctx.goal}\n{plan.text}", recalling)

        def shown(longest: int | None) -> list[Message]:
            tried = quote("plan", [{"text": plan.text, "data": plan.data}], longest=longest)
            return told(system, situation(longest), tried)

        said = await asking.ask(ctx, model, shown, ActReply)
        own = owned_by(filter_of(recalling.where, ctx))
        sure = said.confidence
        if embed is None:
            writer = ctx.texts.as_writer(f"agent:{name}", trust=KEPT_TRUST)
            made = await writer.candidate(
                said.text, speaker=name, session=ctx.run_id, context=own, confidence=sure, name=name
            )
        else:
            key, context = await call(embed, said.text), {**own, "text": said.text}
            made = Candidate(key=key, context=context, confidence=sure, name=name)
        return marked(made, "answer")

    act.__name__ = act.__qualname__ = name
    return act


def llm_reflect(
    model: Model,
    *,
    instructions: str | None = None,
    memories: int = 0,
    **options: Unpack[StepOptions],
) -> ReflectStep[Any]:
    """A REFLECT that a model does; it may ask the person in charge, once about each outcome.

    Arguments as for `llm_plan`.
    """
    system = prompt("reflect") if instructions is None else instructions
    asking, recalling = _read(memories, options)

    async def reflect(ctx: StepContext[Any], outcome: Outcome) -> Verdict | Pause:
        situation = await _situation(ctx, ctx.goal, recalling)

        def shown(longest: int | None) -> list[Message]:
            last = "No cycle follows this one." if ctx.budget.last_cycle else ""
            return told(system, situation(longest), _outcome(outcome, longest), last)

        said = await asking.ask(ctx, model, shown, ReflectReply)
        if said.verdict is not None and not said.ask:
            return VERDICTS[said.verdict](said.text)
        if ctx.answer is None:
            return Pause(said.ask or "")
        reply = [
            Message(role="assistant", content=said.ask or ""),
            Message(role="user", content=str(ctx.answer)),
        ]
        # A reply of this kind has no room for a question: whoever was asked is asked no more.
        last = await asking.ask(
            ctx, model, lambda longest: [*shown(longest), *reply], Judgement, name="answered"
        )
        return VERDICTS[last.verdict](last.text)

    return reflect


class StepOptions(AskOptions, RecallOptions, total=False):
    """What steps by models have in common beside their prompts."""


def _read(memories: int, options: StepOptions) -> tuple[Asking, Recalling]:
    asked = AskOptions.__annotations__
    asking = Asking.of(**cast(AskOptions, {k: v for k, v in options.items() if k in asked}))
    others = {name: value for name, value in options.items() if name not in asked}
    return asking, Recalling.of(memories, asking.patience, **cast(RecallOptions, others))


def told(system: str, *parts: str) -> list[Message]:
    """A conversation that begins: the instructions, and what is at hand."""
    return [
        Message(role="system", content=system),
        Message(role="user", content="\n\n".join(part for part in parts if part)),
    ]


async def _situation(
    ctx: StepContext[Any], question: str, recalling: Recalling
) -> Callable[[int | None], str]:
    """What every step should know: the goal is the caller's word, all else is quoted."""
    found = await _recalled(ctx, question, recalling)
    return lambda longest: _situated(ctx, found, longest)


def _situated(ctx: StepContext[Any], found: list[Recollection], longest: int | None) -> str:
    # A sub-goal is a model's word, perhaps after a hostile memory, and so is kept to its line.
    parts = [f"Goal: {quoted_text(ctx.goal) if ctx.depth else ctx.goal}"]

    def add(tag: str, *rows: dict[str, Any]) -> None:
        parts.append(quote(tag, rows, longest=longest))

    if ctx.depth:
        add("part_of", *({"goal": goal} for goal in ctx.goals[:-1]))
    if ctx.previous is not None:
        verdict, text, data = verdict_name(ctx.previous), ctx.previous.text, ctx.previous.data
        add("earlier_verdict", {"verdict": verdict, "text": text, "data": data})
    if ctx.results:
        names = ("goal", "status", "text", "data", "reason")
        add("results", *({name: getattr(result, name) for name in names} for result in ctx.results))
    if found:
        parts.append(quoted(found, longest=longest))
    return "\n\n".join(parts)


async def _recalled(
    ctx: StepContext[Any], question: str, recalling: Recalling
) -> list[Recollection]:
    # A controller over a plain lattice has none.
    return await recalling.for_step(ctx, question) if ctx.has_texts else []


def _outcome(outcome: Outcome, longest: int | None) -> str:
    if isinstance(outcome, RaceOutcome):
        scores = {score.anchor: score.score for score in outcome.scores}
        lines = [("winner", outcome.winner), *(("loser", line) for line in outcome.losers)]
        rows = [_line(place, line, scores.get(line.anchor)) for place, line in lines]
    else:
        rows = [{"failed": outcome.stage}]
    rows += [failure.model_dump() for failure in outcome.failures]
    rows += [{"name": name, "error": "not in time"} for name in outcome.unfinished]
    return quote("outcome", rows, longest=longest)


def _line(place: str, line: MemoryLine, score: float | None) -> dict[str, Any]:
    stamp: Any = line.context.get("pmll", {})
    own = {key: value for key, value in line.context.items() if key not in ("pmll", "text")}
    text = stamp.get("text") or line.context.get("text")
    return {"place": place, "anchor": line.anchor, "score": score, "text": text, "context": own}
