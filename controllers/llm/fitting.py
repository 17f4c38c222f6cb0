"""Messages that fit: into the room that they are given, and then into what a model takes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pmll_async import InvalidInputError

from ..calling import in_thread
from .messages import Message

T = TypeVar("T")
Count = Callable[[str], int]
"""How much room a text takes: `len` counts characters, a tokenizer tokens."""
Render = Callable[[int | None], Sequence[Message]]
"""Messages in which no quoted text has more than so many characters; with None all are whole."""

ROOM: Final = 60_000
"""Characters, which are some 15 000 tokens: half of what small models take."""
LEAST_ROOM: Final = 1_000
"""Less holds no question."""
_SHORTEST: Final = 40  # characters of a quoted text: with less it says nothing
_QUICK: Final = 10_000  # characters that are put together in less than a millisecond

# As OpenAI, vLLM, llama.cpp, Anthropic, Mistral, Groq, Gemini and Text Generation Inference say it.
_OVERFLOWS: Final = re.compile(
    r"context_length_exceeded|exceed_context_size|(?:maximum|available) context (?:length|size)"
    r"|context (?:window|length|size)[^.]{0,40}exceed|exceed[^.]{0,60}context"
    r"|(?:prompt|input|request)[^.]{0,40}too (?:long|large)|reduce (?:the|your) [^.]{0,20}length"
    r"|too large for model|exceeds? the maximum number of (?:input )?tokens"
    r"|`inputs` tokens \+ `max_new_tokens` must be",
    re.IGNORECASE,
)


def overflows(error: BaseException) -> bool:
    """Whether a model refuses a conversation because it is longer than its context."""
    flag = getattr(error, "is_overflow", None)
    if isinstance(flag, bool):
        return flag
    status = getattr(error, "status_code", None)
    if status not in (400, 413, 422) and getattr(error, "code", None) != "context_length_exceeded":
        return False
    return says_overflow(str(error))


def says_overflow(reason: str) -> bool:
    """Whether the words of a refusal are about the length of the conversation."""
    return _OVERFLOWS.search(reason) is not None


def check_room(room: int) -> None:
    """`InvalidInputError` for a room that holds no question."""
    if type(room) is not int or room < LEAST_ROOM:
        raise InvalidInputError(f"room is a whole number from {LEAST_ROOM} on, not {room!r}")


@dataclass(slots=True)
class Versions:
    """The messages, in versions that have room for half as much each time they are asked for."""

    render: Render
    room: int = ROOM
    count: Count = len

    async def __call__(self) -> Sequence[Message] | None:
        """The next version; None where it would say nothing."""
        if self.room < LEAST_ROOM:
            return None
        room, self.room = self.room, self.room // 2
        return await fitted(self.render, room, self.count)


async def fitted(render: Render, room: int, count: Count) -> Sequence[Message]:
    """The messages with texts as long as there is room for, or else as short as they get."""
    whole = render(None)
    if count is len and size_of(whole, len) <= min(room, _QUICK):
        return whole
    return await in_thread(longest_fitting, render, room, lambda made: size_of(made, count))


def longest_fitting(render: Callable[[int | None], T], room: int, measure: Callable[[T], int]) -> T:
    """What is rendered with the longest texts for which there is room; texts halve each time."""
    made, longest = render(None), room
    while measure(made) > room and longest >= _SHORTEST:
        made, longest = render(longest), longest // 2
    return made


def size_of(messages: Sequence[Message], count: Count) -> int:
    """How much room the messages take."""
    return sum(count(message["content"]) + _of_calls(message, count) for message in messages)


def _of_calls(message: Message, count: Count) -> int:
    return count(json.dumps(message["tool_calls"])) if "tool_calls" in message else 0


def shortened(value: Any, longest: int | None) -> Any:
    """JSON in which no text has more than so many characters, and no list as many items.

    What is left out is said.
    """
    if longest is None:
        return value
    if isinstance(value, str) and len(value) > longest:
        return f"{value[:longest]}… ({len(value)} characters)"
    most = max(4, longest // 4)
    if isinstance(value, dict):
        kept = {name: shortened(item, longest) for name, item in [*value.items()][:most]}
        left = len(value) - len(kept)
        return kept | ({"…": f"{left} more"} if left else {})
    if isinstance(value, list):
        items = [shortened(item, longest) for item in value[:most]]
        left = len(value) - len(items)
        return [*items, f"… {left} more"] if left else items
    return value
