"""What a run knows, and carries from one phase to the next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic

from pmll_async import WorkingMemory

from ..events import Event
from ..goals import GoalFrame, Place
from ..journal.journal import Journal, run_lock
from ..policies import Allowance, Budget, Usage
from ..steps import Data, Deps
from .setup import Setup

Emit = Callable[[Event], Awaitable[None]]


@dataclass(slots=True)
class RunState(Generic[Deps, Data]):
    """A run's goals, counts and spending; `anchor` is its newest entry's.

    `allowance` is what it was given beyond its limits. `times` it was resumed; `elapsed` seconds it
    ran before, and since `began` it has run again.
    `resumed` tells that the phase at hand may have begun before.
    """

    setup: Setup[Deps, Data]
    run_id: str
    deps: Deps
    emit: Emit
    stack: list[GoalFrame] = field(default_factory=list)
    cycles: int = 0
    usage: Usage = field(default_factory=Usage)
    allowance: Allowance = field(default_factory=Allowance)
    times: int = 0
    elapsed: float = 0.0
    began: float = 0.0
    anchor: str = ""
    resumed: bool = False
    # Held, because the lattice keeps only so many scopes.
    working: WorkingMemory = field(init=False)

    def __post_init__(self) -> None:
        self.working = self.setup.lattice.working.scope(run_lock(self.run_id))

    @property
    def journal(self) -> Journal:
        """Where the run is written down."""
        return Journal(self.setup.lattice, self.run_id)

    @property
    def root(self) -> GoalFrame:
        """The run's own goal."""
        return self.stack[0]

    @property
    def frame(self) -> GoalFrame:
        """The goal at hand."""
        return self.stack[-1]

    def place(self) -> Place:
        """The phase at hand."""
        frame = self.frame
        return Place(self.run_id, frame.path, frame.cycle, frame.attempt, self.cycles, self.usage)

    def event_fields(self, anchor: str = "") -> dict[str, Any]:
        """The fields that every event has."""
        frame = self.frame
        return {
            "run_id": self.run_id,
            # Where a rule ended the goal, it stands in a cycle that never began.
            "cycle": frame.cycle if frame.stand != "end" else frame.last_cycle,
            "anchor": anchor or self.anchor,
            "goals": frame.goals,
            "usage": self.usage,
        }

    def phase_fields(self, anchor: str = "") -> dict[str, Any]:
        """The fields that every event of a phase has."""
        return {**self.event_fields(anchor), "attempt": self.frame.attempt}

    def budget(self) -> Budget:
        """How far the run has come."""
        frame = self.frame
        return Budget(
            cycle=frame.cycle,
            attempt=frame.attempt,
            elapsed=self.elapsed + self.setup.clock() - self.began,
            max_cycles=self.setup.max_cycles,
            depth=len(frame.goals) - 1,
            cycles=self.cycles,
            usage=self.usage,
            stage="plan" if frame.stand == "plan" else "act",
            allowance=self.allowance,
        )

    def spend(self, usage: Usage) -> None:
        """Add to what the run has spent."""
        self.usage += usage

    async def entered(self, anchor: str, event: Event) -> None:
        """An entry is durable: what comes next is new, and the run tells what it was."""
        self.anchor, self.resumed = anchor, False
        await self.emit(event)
