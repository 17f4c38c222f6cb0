"""What goes to a language model and what comes back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from typing_extensions import TypedDict

from .. import Usage


class Message(TypedDict):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said, and what that took.

    `stopped` is why, where the model gave another reason than that it was done, such as "length".
    """

    text: str
    usage: Usage = Usage()  # noqa: RUF009  # it is frozen
    stopped: str = ""


Model: TypeAlias = Callable[[Sequence[Message]], Awaitable[str | Reply]]
"""Any async function from a conversation to what a model says to it."""
