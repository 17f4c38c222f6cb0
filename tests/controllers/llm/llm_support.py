"""A step's context without a controller around it, and models that say what they are told to."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, TypeAdapter

from controllers import Budget, StepContext, Usage
from controllers.llm import Message, Reply
from pmll_async import Lattice

_REPLY = TypeAdapter(Reply)


class Answer(BaseModel):
    text: str
    n: int = 0


@dataclass
class Doing:
    """What `ctx.once` and `ctx.spend` do, over a dict that a second life can be given."""

    records: dict[str, str] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    recorded_usage: Usage = field(default_factory=Usage)
    step_key: str = "r/0.0/plan"
    key: str = "r/0.0/plan"
    told: list[tuple[str, bool]] = field(default_factory=list)

    async def once(self, name: str, fn: Callable[[], Awaitable[Reply]], again: bool) -> Any:
        if name not in self.records:
            made = await fn()
            # As in the journal: the entry tells what had been spent when it was written.
            self.recorded_usage = self.usage
            self.records[name] = _REPLY.dump_json(made).decode()
        return _REPLY.validate_python(json.loads(self.records[name]))

    def spend(self, usage: Usage) -> None:
        self.usage += usage

    async def say(self, text: str, *, begins: bool) -> None:
        self.told.append((text, begins))


def context(lattice: Lattice, doing: Doing, **changes: Any) -> StepContext[Any]:
    facts: dict[str, Any] = {
        "goal": "find out",
        "goals": ("find out",),
        "run_id": "r",
        "cycle": 0,
        "attempt": 0,
        "stage": "plan",
        "deps": None,
        "memory": lattice,
        "view": lattice.at(lattice.revision),
        "budget": Budget(cycle=0, attempt=0, elapsed=0.0, max_cycles=3),
        "previous": None,
        "plan": None,
        "results": (),
        "answer": None,
        "raced": False,
        "resumed": False,
        "working": lattice.working.scope("r"),
        "_texts": None,
        "_doing": doing,
    }
    return StepContext(**{**facts, **changes})


@dataclass
class Scripted:
    """A model that says one thing after another; `heard` is what it was told."""

    replies: list[str | Reply]
    heard: list[list[Message]] = field(default_factory=list)

    async def __call__(self, messages: Sequence[Message]) -> str | Reply:
        self.heard.append(list(messages))
        return self.replies[len(self.heard) - 1]

    @property
    def contents(self) -> list[str]:
        return [messages[-1]["content"] for messages in self.heard]


def user(text: str) -> list[Message]:
    return [Message(role="user", content=text)]
