"""Asking a model for a value: replies that cannot be used are sent back with what is wrong."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, TypeVar

from pmll_async import InvalidInputError

from .. import StepContext, Usage
from ..calling import in_thread
from .messages import Message, Model, Reply
from .replies import ReplyError, parse, schema_of
from .templates import prompt

T = TypeVar("T")

_QUICK: Final = 10_000  # characters: up to there reading takes less than a millisecond


async def ask(
    ctx: StepContext[Any],
    model: Model,
    messages: Sequence[Message],
    type_: type[T],
    *,
    name: str = "ask",
    attempts: int = 3,
) -> T:
    """What the model replies to `messages`, as a `type_`; its JSON schema is added to the last one.

    A reply that is none is sent back with the reason, up to `attempts` replies in all; then
    `ReplyError`. What `model` raises comes through: it has its own retries.
    Replies are journaled under `name`, which is this question's within the step, so that a run that
    is resumed does not pay for them again. What they cost is counted with `ctx.spend`.
    """
    if attempts < 1 or not messages:
        raise InvalidInputError(f"ask needs a message and an attempt, not {attempts} attempts")
    asked = _with_format(messages, type_)
    # Only the last unusable reply is sent back: more would be paid for and confuse.
    conversation, reasons, text = asked, list[str](), ""
    for attempt in range(attempts):
        reply: Reply = await ctx.once(
            f"{name}.{attempt}", partial(_replied, ctx, model, conversation)
        )
        try:
            if len(reply.text) <= _QUICK:
                return parse(reply.text, type_)
            return await in_thread(parse, reply.text, type_)
        except ReplyError as exc:
            because = f" (the model stopped: {reply.stopped})" if reply.stopped else ""
            reasons.append(exc.reason + because)
            text = reply.text
        conversation = [*asked, *_sent_back(text, reasons[-1])]
    raise ReplyError(text, reasons)


async def _replied(ctx: StepContext[Any], model: Model, messages: Sequence[Message]) -> Reply:
    given = model(messages)
    if not inspect.isawaitable(given):
        raise TypeError(f"a model is an async function; this one returned {type(given).__name__}")
    said = await given
    if isinstance(said, str):
        said = Reply(said, Usage(calls=1))
    elif not isinstance(said, Reply):
        raise TypeError(f"a model returns a str or a Reply, not {type(said).__name__}")
    # Before the reply is journaled, so that its entry counts it: what is read back is not spent.
    ctx.spend(said.usage)
    # The journal is UTF-8, which has no room for half a surrogate pair.
    return Reply(said.text.encode("utf-8", "replace").decode(), said.usage, said.stopped)


def _with_format(messages: Sequence[Message], type_: type[Any]) -> list[Message]:
    # Not as a message of its own: some models want the roles to take turns.
    last, told = messages[-1], prompt("format", schema=schema_of(type_))
    return [*messages[:-1], Message(role=last["role"], content=f"{last['content']}\n\n{told}")]


def _sent_back(text: str, reason: str) -> list[Message]:
    # Servers refuse an empty turn.
    return [
        Message(role="assistant", content=text.strip() or "(empty)"),
        Message(role="user", content=prompt("again", reason=reason)),
    ]
