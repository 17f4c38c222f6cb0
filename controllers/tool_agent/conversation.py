"""What the model of an agent is shown: the whole run while there is room, then the best of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..calling import in_thread
from ..llm import Message, prompt, quote, quoted
from ..llm.fitting import LEAST_ROOM, ROOM, Count, longest_fitting, size_of
from ..llm.recalling import Recalling
from ..steps import StepContext
from ..tools.tools import Tools
from .turns import Turn, turns_of

if TYPE_CHECKING:
    from pydantic import JsonValue

    from pmll_async.text import Recollection

_ASIDE: Final = 4  # one of so many parts of the room is for memories, and one for earlier turns
_BEARING: Final = 6  # results of earlier turns that are recalled: as many as one turn may have
_MOST_EFFECTS: Final = 40  # of earlier turns, in a line each


@dataclass(slots=True)
class Showing:
    """How an agent shows its runs; `room` shrinks to what the model was found to take."""

    tools: Tools
    instructions: str
    recalling: Recalling
    room: int = ROOM
    count: Count = len

    def refused(self, size: int) -> None:
        """The model's context has no room for so much."""
        self.room = min(self.room, max(LEAST_ROOM, size * 3 // 4))

    def is_effect(self, name: str) -> bool:
        """Whether a tool of that name changes the world."""
        return name in self.tools and self.tools[name].effect

    async def of(self, ctx: StepContext[Any], *, native: bool) -> Conversation:
        """What the model is asked now."""
        known = await self.recalling.for_step(ctx, ctx.goal, besides=ctx.run_id)
        return Conversation(self, ctx, known, await turns_of(ctx), native)


@dataclass(slots=True)
class Conversation:
    """The messages of one question, shorter each time they are asked for."""

    showing: Showing
    ctx: StepContext[Any]
    known: Sequence[Recollection]
    turns: Sequence[Turn]
    native: bool
    size: int = field(default=0, init=False)

    async def __call__(self) -> Sequence[Message] | None:
        """The next version, shorter than the last one, which was refused; None after the last."""
        room = self.showing.room
        if self.size:
            self.showing.refused(self.size)
            room = min(room, self.size) // 2
        if room < LEAST_ROOM:
            return None
        beginning, newest = await in_thread(self._latest, room)
        older = self.turns[: len(self.turns) - len(newest)]
        if older:
            bearing = await self._bearing(older)
            earlier = await in_thread(self._earlier, older, bearing, room // _ASIDE)
            beginning[-1]["content"] += f"\n\n{earlier}"
        messages = [*beginning, *(message for turn in newest for message in turn)]
        if self.ctx.budget.last_cycle:
            _add(messages, prompt("tool_agent_last"))
        self.size = await in_thread(size_of, messages, self.showing.count)
        return messages

    def _latest(self, room: int) -> tuple[list[Message], list[list[Message]]]:
        """The beginning, and the newest turns for which there is room: always the last one."""
        count = self.showing.count
        aside = room // _ASIDE
        memories = longest_fitting(lambda n: quoted(self.known, longest=n), aside, count)
        beginning = self._beginning(memories)
        left = max(room - size_of(beginning, count), aside)
        newest: list[list[Message]] = []
        for turn in reversed(self.turns):
            rest = left if turn is self.turns[0] else left - aside
            shown = partial(turn.messages, native=self.native)
            made = shown(None)
            if not newest:
                made = longest_fitting(shown, max(rest, aside), self._size)
            elif self._size(made) > rest:
                break
            newest.insert(0, made)
            left -= self._size(made)
        return beginning, newest

    def _size(self, messages: Sequence[Message]) -> int:
        return size_of(messages, self.showing.count)

    def _beginning(self, memories: str) -> list[Message]:
        showing = self.showing
        described = "\n".join(
            json.dumps({**tool.schema["function"], "effect": tool.effect}, ensure_ascii=False)
            for tool in showing.tools
        )
        if self.native:
            system = prompt("tool_agent_native", instructions=showing.instructions)
        else:
            system = prompt("tool_agent_system", instructions=showing.instructions, tools=described)
        goal = prompt("tool_agent_goal", goal=self.ctx.goal, memories=memories)
        return [Message(role="system", content=system), Message(role="user", content=goal)]

    # --- turns for which there is no room ---------------------------------------------------------

    async def _bearing(self, older: Sequence[Turn]) -> list[Recollection]:
        """Of what the older turns learned, what suits the goal and the newest thought."""
        ctx = self.ctx
        question = f"{ctx.goal}\n{self.turns[-1].move.thought}"
        where: dict[str, JsonValue] = {
            "pmll.run": ctx.run_id,
            "pmll.stage": "act",
            "pmll.cycle": {"$lte": older[-1].cycle},
        }
        return await self.showing.recalling.among(ctx, question, _BEARING, where)

    def _earlier(self, older: Sequence[Turn], bearing: Sequence[Recollection], room: int) -> str:
        effects = [
            {"turn": turn.cycle + 1, "did": told}
            for turn in older
            for told in turn.effects(self.showing.is_effect)
        ]
        left = len(effects) - _MOST_EFFECTS
        rows: list[dict[str, Any]] = [{"did": f"{left} more calls before"}] if left > 0 else []
        rows += effects[-_MOST_EFFECTS:]
        rows += [{"anchor": each.anchor, "text": each.text} for each in bearing]

        def render(longest: int | None) -> str:
            told = quote("earlier", rows, longest=longest)
            return prompt("tool_agent_earlier", count=len(older), rows=told)

        return longest_fitting(render, room, self.showing.count)


def _add(messages: list[Message], told: str) -> None:
    """Say one more thing at the end, where the roles take turns."""
    if messages[-1]["role"] == "user":
        messages[-1]["content"] += f"\n\n{told}"
    else:
        messages.append(Message(role="user", content=told))
