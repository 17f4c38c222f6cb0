"""What a model adds to research: look-ups of its own, and an answer from the evidence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, StringConstraints

from pmll_async.text import Recollection

from .. import StepContext
from ..llm import Message, Model, prompt, quoted
from ..llm.asking import Asking

_MOST: Final = 4  # each look-up is a recall over the whole memory
_LONGEST: Final = 1_000  # characters: more is no question, and would be journaled

Queries = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST)]],
    Field(max_length=_MOST),
]


# Names and docstrings of replies are in their schemas, and so a part of what a model is told.
class Parts(BaseModel):
    """What PLAN asks a model for."""

    look_ups: Queries = []


class Answer(BaseModel):
    """What REFLECT asks a model for: an answer with its sources, or what is still to be found."""

    answer: str | None = None
    anchors: list[str] = []
    look_ups: Queries = []


@dataclass(frozen=True, slots=True)
class Adviser:
    """Asks a model."""

    model: Model
    asking: Asking

    async def parts(self, ctx: StepContext[Any], hints: Iterable[Recollection]) -> tuple[str, ...]:
        """Look-ups for the goal, given what a recall finds for it."""
        known = list(hints)

        def shown(longest: int | None) -> list[Message]:
            memories = quoted(known, longest=longest)
            return _asked(prompt("research_plan", question=ctx.goal, memories=memories))

        reply = await self.asking.ask(ctx, self.model, shown, Parts, "parts")
        return tuple(reply.look_ups)

    async def answer(self, ctx: StepContext[Any], texts: Iterable[Recollection]) -> Answer:
        """An answer from the texts alone."""
        known, last = list(texts), prompt("research_last") if ctx.budget.last_cycle else ""

        def shown(longest: int | None) -> list[Message]:
            fields = {"question": ctx.goal, "memories": quoted(known, longest=longest)}
            return _asked(prompt("research_answer", **fields, last=last))

        return await self.asking.ask(ctx, self.model, shown, Answer, "answer")


def _asked(text: str) -> list[Message]:
    return [Message(role="user", content=text)]
