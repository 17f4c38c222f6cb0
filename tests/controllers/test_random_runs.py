"""Any run, stopped anywhere and any number of times, ends as it would have undisturbed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import anyio
import pytest
from drawing import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kill_agent import RUN, effect_of, entries_of, story_of
from random_agent import Goal, RandomAgent, goals
from structlog.testing import capture_logs

from controllers import RunNotFoundError, RunPausedError, RunResult
from pmll_async import Lattice
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import GatedStore

Stop = tuple[int, Literal["before", "after", "cancel"]]
"""At which commit of a process it ends: without it, with it, or cancelled while it is written."""

KINDS: Final[list[Literal["before", "after", "cancel"]]] = ["before", "after", "cancel"]
STOPS: Final = st.tuples(st.integers(1, 15), st.sampled_from(KINDS))


class Crash(BaseException):
    """The store met it, and the lattice with it."""


class StoppingStore(GatedStore):
    """Ends the process that uses it at one of its commits, as the stop says."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.left, self.kind, self.cancel = 0, "", anyio.CancelScope()

    def set_out(self, stop: Stop | None) -> None:
        self.left, self.kind = stop or (0, "")
        self.cancel = anyio.CancelScope()
        self.stopped = False

    def append(self, records: Sequence[Any], block: Any) -> None:
        self.left -= 1
        if self.left == 0 and self.kind == "cancel":
            self.loop.call_soon_threadsafe(self.cancel.cancel)
            self.stopped = True
        elif self.left == 0:
            self.fail_next(Crash(), stored=self.kind == "after")
            self.stopped = True
        super().append(records, block)


@dataclass
class Lives:
    """One run over any number of processes, which share a store and a world."""

    agent: RandomAgent
    store: StoppingStore = field(default_factory=StoppingStore)
    result: RunResult | None = None

    async def live(self, stop: Stop | None = None) -> None:
        """One process, to the run's end or to its own."""
        self.store.set_out(stop)
        self.store.loop = asyncio.get_running_loop()
        try:
            async with Lattice(self.store, dim=2) as lattice:
                known = [effect_of(entry) for entry in await entries_of(lattice)]
                before = len(self.agent.done)
                with self.store.cancel:
                    self.result = await self._run(lattice)
        # Whatever a dead store led to never was.
        except (Exception, BaseExceptionGroup):
            if not self.store.stopped:
                raise
        assert [done for done in self.agent.done[before:] if [*done] in known] == []

    async def _run(self, lattice: Lattice) -> RunResult:
        controller = self.agent.controller(lattice)
        try:
            result = await controller.resume(RUN)
        except RunNotFoundError:
            result = await controller.run("all", run_id=RUN)
        except RunPausedError:
            result = await controller.resume(RUN, answer="go on")
        while result.status == "paused":
            result = await controller.resume(RUN, answer="go on")
        return result

    async def story(self) -> list[Any]:
        async with Lattice(self.store) as lattice:
            return by_step(await story_of(lattice))


def by_step(story: list[dict[str, Any]]) -> list[Any]:
    """The story with the effects of a race, which take turns as they like, step by step."""
    ordered: list[Any] = []
    race: list[Any] = []
    for entry in story:
        if str(entry.get("step")).startswith("act."):
            race.append(entry)
        else:
            ordered += [sorted(race, key=lambda one: str(one["step"])), entry]
            race = []
    return [*ordered, race]


def ending(result: RunResult | None) -> list[Any]:
    assert result is not None
    names = ("status", "text", "data", "cycles", "reason", "usage")
    winner = result.winner and [result.winner.key.tolist(), result.winner.context["said"]]
    return [*(getattr(result, name) for name in names), winner]


async def lived(goal: Goal, stops: Sequence[Stop]) -> tuple[list[Any], list[Any]]:
    lives = Lives(RandomAgent(goal))
    with capture_logs():
        for stop in stops:
            await lives.live(stop)
    await lives.live()
    return await lives.story(), ending(lives.result)


@pytest.mark.slow
@given(goals(1), st.lists(STOPS, min_size=1, max_size=5))
@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_stopped_run_ends_like_one_that_nobody_stops(goal: Goal, stops: list[Stop]) -> None:
    wanted, found = asyncio.run(lived(goal, [])), asyncio.run(lived(goal, stops))
    assert found[0] == wanted[0]
    assert found[1] == wanted[1]
