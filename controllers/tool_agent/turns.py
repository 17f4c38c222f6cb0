"""The turns of a run so far, read back from its journal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pmll_async import thaw

from ..journal.entries import entries
from ..llm import Message, prompt, quote
from ..llm.fitting import shortened
from ..steps import StepContext
from ..tools.tools import Record, ToolResult
from .moves import Move
from .native import messages_of


@dataclass(slots=True)
class Turn:
    """An earlier cycle: what the model called, and what that came to."""

    cycle: int
    move: Move
    rows: list[Record] = field(default_factory=list)

    def messages(self, longest: int | None, *, native: bool) -> list[Message]:
        """The turn as the model is shown it, no text longer than that."""
        move = shortened(self.move.model_dump(mode="json", exclude_defaults=True), longest)
        if native:
            calls = move.get("calls", [])
            told = [
                quote("results", [_row(record) for record in records], longest=longest)
                for records in self._by_call(len(calls))
            ]
            return messages_of(self.cycle, move.get("thought", ""), calls, told)
        said = json.dumps(move, ensure_ascii=False, separators=(",", ":"))
        results = quote("results", [_row(record) for record in self.rows], longest=longest)
        return [
            Message(role="assistant", content=said),
            Message(role="user", content=prompt("tool_agent_results", results=results)),
        ]

    def _by_call(self, calls: int) -> list[list[Record]]:
        if len(self.rows) == calls:
            return [[record] for record in self.rows]
        # The calls came to nothing but for some effects: which of them, the rows tell themselves.
        return [self.rows if number == 0 else [] for number in range(calls)]

    def effects(self, is_effect: Callable[[str], bool]) -> list[str]:
        """What it changed in the world, or tried to, in a line each."""
        called = [record for record in self.rows if "tool" in record]
        return [_told(record) for record in called if is_effect(str(record["tool"]))]


async def turns_of(ctx: StepContext[Any]) -> list[Turn]:
    """The cycles before the one at hand, the oldest first."""
    newest_first = [entry async for entry in entries(ctx.memory, {"pmll.run": ctx.run_id})]
    turns: dict[int, Turn] = {}
    for entry in reversed(newest_first):
        cycle, phase, context = entry.facts["cycle"], entry.kind, entry.line.context
        if phase == ("plan", "done") and cycle < ctx.cycle:
            turns[cycle] = Turn(cycle, Move.model_validate(context["data"]))
        elif cycle not in turns:
            continue
        elif phase == ("effect", "done") and _is_of_a_tool(context.get("result")):
            turns[cycle].rows.append(context["result"])
        elif phase == ("act", "done"):
            turns[cycle].rows = list(context.get("calls", ()))
        elif phase == ("act", "failed"):
            # The effects before it took place, and the model has to know.
            why = {name: list(context[name]) for name in ("failures", "unfinished")}
            turns[cycle].rows.append({"error": "nothing more came of the calls", **why})
    return [*turns.values()]


def _is_of_a_tool(result: object) -> bool:
    return isinstance(result, Mapping) and {"tool", "arguments"} <= result.keys()


def _row(record: Record) -> Record:
    # Deeper than where quoting leaves out what is empty: a tool may have found nothing.
    outcome: Record = {name: record[name] for name in ("value", "error") if name in record}
    return {**{name: record[name] for name in record if name not in outcome}, "outcome": outcome}


def _told(record: Mapping[str, Any]) -> str:
    error = str(record["error"]) if "error" in record else None
    value = thaw(record.get("value"))
    return str(ToolResult(record["tool"], thaw(record["arguments"]), value, error))
