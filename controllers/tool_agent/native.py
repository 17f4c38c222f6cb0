"""Moves by the protocol that endpoints have for tools, in place of JSON in a text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError

from ..llm import Message, NativeCall, Reply, ReplyError, parse
from ..tools.tools import Tools
from .moves import Move, ToolCall

_CHANGES: Final = "It changes the world."
_THOUGHTS: Final = "</think>"  # how models that reason close what is no answer yet


def schemas(tools: Tools) -> list[dict[str, Any]]:
    """The tools as the endpoint is given them; those with an effect say so."""
    told = tools.schemas()
    for tool, schema in zip(tools, told, strict=True):
        if tool.effect:
            function = schema["function"]
            function["description"] = f"{function['description']} {_CHANGES}".strip()
    return told


def move_of(reply: Reply) -> Move:
    """What the model does: it calls tools, or its text is the answer. `ReplyError`."""
    if reply.calls:
        calls = tuple(_call(call) for call in reply.calls)
        try:
            return Move(thought=reply.text, calls=calls)
        except ValidationError as exc:
            raise ReplyError(reply.text, [str(exc.errors()[0]["msg"])]) from exc
    text = reply.text.partition(_THOUGHTS)[2] if _THOUGHTS in reply.text else reply.text
    if not text.strip():
        raise ReplyError(reply.text, ["it calls nothing and says nothing"])
    # Some models write down what they were to call.
    if text.lstrip().startswith("{"):
        try:
            return parse(text, Move)
        except ReplyError:
            pass
    return Move(answer=text.strip())


def _call(call: NativeCall) -> ToolCall:
    try:
        return ToolCall(tool=call.name, arguments=parse(call.arguments or "{}", dict))
    except ReplyError as exc:
        reason = f"the arguments of {call.name}: {exc.reason}"
        raise ReplyError(call.arguments, [reason]) from exc


def messages_of(
    cycle: int, thought: str, calls: Sequence[dict[str, Any]], results: Sequence[str]
) -> list[Message]:
    """A turn as the endpoint knows turns: the calls, and a result for each."""
    # The ids are ours, so that a turn that was taken in another way can be told, too.
    ids = [f"call_{cycle}_{number}" for number in range(len(calls))]
    called = [
        {
            "id": name,
            "type": "function",
            "function": {"name": call["tool"], "arguments": json.dumps(call.get("arguments", {}))},
        }
        for name, call in zip(ids, calls, strict=True)
    ]
    return [
        Message(role="assistant", content=thought, tool_calls=called),
        *(
            Message(role="tool", tool_call_id=name, content=result)
            for name, result in zip(ids, results, strict=True)
        ),
    ]
