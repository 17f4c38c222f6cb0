"""How a step asks its model: how often, in how much room, and for how long while it is down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar, Unpack

from typing_extensions import TypedDict

from .. import StepContext
from ..outages import PATIENCE, Patience
from .fitting import ROOM, Count, Render, Versions, check_room
from .messages import Model
from .requests import ask

T = TypeVar("T")


class AskOptions(TypedDict, total=False):
    """What a step may be told about asking.

    `attempts` bounds the replies to one question that cannot be used, `patience` how long a model
    that is down is waited for. What is quoted in a prompt is cut where it would take more than
    `room`, as `count` counts it: characters, or tokens by a tokenizer's function.
    """

    attempts: int
    room: int
    count: Count
    patience: Patience


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """The same with what is not said."""

    attempts: int = 3
    room: int = ROOM
    count: Count = len
    patience: Patience = PATIENCE

    @classmethod
    def of(cls, **options: Unpack[AskOptions]) -> Asking:
        """With these options. `InvalidInputError` for a room in which there is none."""
        made = cls(**options)
        check_room(made.room)
        return made

    async def ask(
        self, ctx: StepContext[Any], model: Model, render: Render, type_: type[T], name: str = "ask"
    ) -> T:
        """Ask for a value with messages that fit, and shorter ones if the model takes less."""
        messages = Versions(render, self.room, self.count)
        return await ask(
            ctx, model, messages, type_, name=name, attempts=self.attempts, patience=self.patience
        )
