"""What goes to a language model and what comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, Protocol, TypeAlias, runtime_checkable

from typing_extensions import TypedDict

from .. import Usage


class Message(TypedDict):
    """One turn of a conversation; the last two fields are those of models that call tools."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: NotRequired[list[dict[str, Any]]]
    tool_call_id: NotRequired[str]


@dataclass(frozen=True, slots=True)
class NativeCall:
    """A tool that a model calls by the protocol of its endpoint; `arguments` are JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said, and what that took.

    `stopped` is why, where the model gave another reason than that it was done, such as "length".
    `calls` are the tools that it called, if it was given some.
    """

    text: str
    usage: Usage = Usage()  # noqa: RUF009  # it is frozen
    stopped: str = ""
    calls: tuple[NativeCall, ...] = ()


Pieces: TypeAlias = AsyncIterator[str | Reply]
"""A reply as it arrives: texts, and at the end, perhaps, the `Reply` with what it took."""
Model: TypeAlias = Callable[[Sequence[Message]], Awaitable[str | Reply] | Pieces]
"""Any async function from a conversation to what a model says to it, or async generator of it."""


@runtime_checkable
class SupportsPieces(Protocol):
    """A model that can also give its replies while they arrive."""

    def pieces(self, messages: Sequence[Message]) -> Pieces:
        """The reply to the conversation."""
        ...


@runtime_checkable
class SupportsTools(Protocol):
    """A model whose endpoint has a protocol of its own for calling tools."""

    @property
    def has_tools(self) -> bool:
        """Whether it has, as far as is known: False once it has refused them."""
        ...

    def using(self, tools: Sequence[Mapping[str, Any]], choice: str) -> Model:
        """The model with tools at hand; it raises `ToolsRefusedError` where it takes none."""
        ...
