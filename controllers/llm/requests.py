"""Asking a model for a value: replies that cannot be used are sent back with what is wrong."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar, cast

from pmll_async import InvalidInputError, visible

from .. import StepContext, Usage
from ..calling import in_thread, name_of
from ..outages import PATIENCE, Patience, patiently
from .fitting import overflows
from .messages import Message, Model, Pieces, Reply, SupportsPieces
from .replies import ReplyError, parse, schema_of
from .templates import prompt

T = TypeVar("T")
NextVersion: TypeAlias = Callable[[], Awaitable[Sequence[Message] | None]]
"""Gives messages, each time it is called a shorter version of them, and None after the last."""

_QUICK: Final = 10_000  # characters: up to there reading takes less than a millisecond
_LONGEST_SENT_BACK: Final = 2_000  # characters, where there is no room for more


async def ask(
    ctx: StepContext[Any],
    model: Model,
    messages: Sequence[Message] | NextVersion,
    type_: type[T],
    *,
    name: str = "ask",
    attempts: int = 3,
    patience: Patience = PATIENCE,
) -> T:
    """What the model replies to `messages`, as a `type_`; its JSON schema is added to the last one.

    A reply that is none is sent back with the reason, up to `attempts` replies in all; then
    `ReplyError`. While the service is down nothing is counted: the model is asked again for as long
    as `patience` has it, then `OutageError`. Where `messages` are a function, it is asked for a
    shorter version of them as often as the model says that its context overflows. What else `model`
    raises comes through.
    Replies are journaled under `name`, which is this question's within the step, so that a run that
    is resumed does not pay for them again. What they cost is counted with `ctx.spend`.
    """
    told = prompt("format", schema=schema_of(type_))
    question = Question(messages, partial(_with_format, told))
    read = partial(_read_as, type_)
    return await answered(
        ctx, model, question, read, name=name, attempts=attempts, patience=patience
    )


async def answered(
    ctx: StepContext[Any],
    model: Model,
    question: Question,
    read: Callable[[Reply], T],
    *,
    name: str,
    attempts: int,
    patience: Patience,
) -> T:
    """What `read` makes of a reply, which raises `ReplyError` for one that cannot be used."""
    if attempts < 1 or not question.given:
        raise InvalidInputError(f"ask needs a message and an attempt, not {attempts} attempts")
    reasons, text = list[str](), ""
    for attempt in range(attempts):
        reply: Reply = await ctx.once(
            f"{name}.{attempt}", partial(_replied, ctx, model, question, patience)
        )
        try:
            if len(reply.text) <= _QUICK:
                return read(reply)
            return await in_thread(read, reply)
        except ReplyError as exc:
            because = f" (the model stopped: {reply.stopped})" if reply.stopped else ""
            reasons.append(exc.reason + because)
            text = reply.text
        question.send_back(text, reasons[-1])
    raise ReplyError(text, reasons)


@dataclass(slots=True)
class Question:
    """What is asked, as short as it had to become, and the last unusable reply to it.

    `finish` has the last word about each version; `again` is the prompt that sends a reply back.
    """

    given: Sequence[Message] | NextVersion
    finish: Callable[[Sequence[Message]], Sequence[Message]] = list
    again: str = "again"
    asked: Sequence[Message] = ()
    sent_back: list[Message] = field(default_factory=list)

    async def messages(self) -> list[Message]:
        """The conversation; its first version is made when it is first needed."""
        if not self.asked:
            first = await self.given() if callable(self.given) else self.given
            self.asked = self.finish(first or ())
        return [_shown(message) for message in (*self.asked, *self.sent_back)]

    async def shorten(self) -> bool:
        """Take the next version; False if there is none."""
        shorter = await self.given() if callable(self.given) else None
        if shorter is None:
            return False
        self.asked = self.finish(shorter)
        for message in self.sent_back:
            message["content"] = message["content"][-_LONGEST_SENT_BACK:]
        return True

    def send_back(self, text: str, reason: str) -> None:
        """Say what is wrong; only the last reply goes back: more would be paid for and confuse."""
        self.sent_back = [
            # Servers refuse an empty turn.
            Message(role="assistant", content=text.strip() or "(empty)"),
            Message(role="user", content=prompt(self.again, reason=reason)),
        ]


async def _heard(ctx: StepContext[Any], given: Pieces) -> Reply:
    """The reply that arrives, which who follows the run is told meanwhile."""
    parts, reply = list[str](), Reply("", Usage(calls=1))
    try:
        async for piece in given:
            if isinstance(piece, Reply):
                reply = piece
            elif piece:
                await ctx.tell(_utf8(piece), begins=not parts)
                parts.append(piece)
    finally:
        # Its connection is let go of here, and not when it is collected.
        if isinstance(given, AsyncGenerator):
            await given.aclose()
    return reply if reply.text else replace(reply, text="".join(parts))


def _shown(message: Message) -> Message:
    """The message with nothing hidden in it, whoever wrote what is in it."""
    return cast(Message, {**message, "content": visible(message["content"])})


def _with_format(told: str, messages: Sequence[Message]) -> list[Message]:
    # Not as a message of its own: some models want the roles to take turns.
    last = messages[-1]
    content = f"{last['content']}\n\n{told}"
    return [*messages[:-1], Message(role=last["role"], content=content)]


def _read_as(type_: type[T], reply: Reply) -> T:
    return parse(reply.text, type_)


async def _replied(
    ctx: StepContext[Any], model: Model, question: Question, patience: Patience
) -> Reply:
    said: Reply | None = None
    while said is None:
        messages = await question.messages()
        try:
            call = partial(_spoken, ctx, model, messages)
            said = await patiently(f"model {name_of(model)!r}", call, patience)
        # A model may be anybody's function: it is its refusal that is looked at.
        except Exception as exc:
            if not overflows(exc) or not await question.shorten():
                raise
    # Before the reply is journaled, so that its entry counts it: what is read back is not spent.
    ctx.spend(said.usage)
    # The journal is UTF-8, which has no room for half a surrogate pair.
    calls = tuple(replace(one, arguments=_utf8(one.arguments)) for one in said.calls)
    return Reply(_utf8(said.text), said.usage, said.stopped, calls)


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


async def _spoken(ctx: StepContext[Any], model: Model, messages: Sequence[Message]) -> Reply:
    given = _given(model, messages)
    return await (_heard(ctx, given) if isinstance(given, AsyncIterator) else _said(given))


def _given(model: Any, messages: Sequence[Message]) -> object:
    return model.pieces(messages) if isinstance(model, SupportsPieces) else model(messages)


async def _said(given: object) -> Reply:
    if not inspect.isawaitable(given):
        raise TypeError(f"a model is an async function; this one returned {type(given).__name__}")
    said = await given
    if isinstance(said, str):
        return Reply(said, Usage(calls=1))
    if not isinstance(said, Reply):
        raise TypeError(f"a model returns a str or a Reply, not {type(said).__name__}")
    return said
