"""What the model of an agent does in one turn."""

from __future__ import annotations

from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

_MOST_CALLS: Final = 6  # in one turn; every result goes into the prompts of all later ones


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
