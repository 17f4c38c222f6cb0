"""Crashes at every commit of a run: what survives, and whether the run ends as if nothing were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import JsonValue
from structlog.testing import capture_logs

from pmll_async import Lattice
from pmll_async.stores.memory import MemoryStore
from pmll_async.testing import GatedStore

from .. import Event, RTMController, RunNotFoundError, RunPausedError, RunResult, events, replay
from .outlines import assert_same, outline

WorldT = TypeVar("WorldT")

_RUN: Final = "crashing"
# Anchors cannot be the same, and so neither can the winner: a resume is an entry, too.
_SAME: Final = ("status", "text", "data", "cycles", "reason", "usage")


@dataclass(frozen=True, slots=True)
class Crashed(Generic[WorldT]):
    """One run that crashed and was resumed: `where` it did, how it ended, and the world it had."""

    where: str
    result: RunResult
    deps: WorldT


async def crash_everywhere(
    agent: Callable[[Lattice], RTMController[Any, Any]],
    goal: str,
    deps: Callable[[], WorldT],
    *,
    dim: int,
    answer: JsonValue = None,
) -> list[Crashed[WorldT]]:
    """Run to the goal once undisturbed, then crash right before and right after each commit.

    Each time the run is resumed in a lattice opened anew, and must end with the same result and
    have the same phases behind it: else `AssertionError` says what differs. `agent` makes the
    controller, `deps` the world that survives the crash, new for each run; what your effects did to
    it is for you to judge::

        for crashed in await crash_everywhere(shop, "sell the cello", World, dim=2, answer="yes"):
            assert crashed.deps.charges == 1, crashed.where

    Every `Pause` is answered with `answer`. The lattice is in memory, `dim` its dimensions. The
    steps must do the same when they see the same: times and random numbers belong into effects.
    """
    trials = _Trials(agent, goal, dim, answer)
    store, world = _Dying(), deps()
    undisturbed = await trials.lived(store, world)
    told = await trials.phases(store)
    found: list[Crashed[WorldT]] = []
    for commit in range(1, store.appends + 1):
        for stored in (False, True):
            where = f"{'after' if stored else 'before'} commit {commit} of {store.appends}"
            dying, world = _Dying(commit, stored=stored), deps()
            await trials.crashed(dying, world)
            result = await trials.lived(dying, world)
            _assert_same_result(where, undisturbed, result)
            assert_same(f"after a crash {where} the run", told, await trials.phases(dying))
            found.append(Crashed(where, result, world))
    return found


@dataclass(frozen=True, slots=True)
class _Trials:
    """Lives of one run, each in a lattice of its own."""

    agent: Callable[[Lattice], RTMController[Any, Any]]
    goal: str
    dim: int
    answer: JsonValue

    async def crashed(self, store: _Dying, world: object) -> None:
        """A life that is cut off: whatever the dead store led to never was."""
        # That the run's end could not be journaled is what is wanted here.
        with capture_logs():
            try:
                await self.lived(store, world)
            # Any error may come of it, and of nothing else, if the store has died.
            except (Exception, BaseExceptionGroup):
                if not store.is_dead:
                    raise
        store.revive()

    async def lived(self, store: _Dying, world: object) -> RunResult:
        """From where the run stands to its end."""
        async with Lattice(store, dim=self.dim) as lattice:
            controller = self.agent(lattice)
            try:
                result = await controller.resume(_RUN, world)
            except RunNotFoundError:
                result = await controller.run(self.goal, world, run_id=_RUN)
            except RunPausedError:
                result = await controller.resume(_RUN, world, answer=self.answer)
            while result.status == "paused" and self.answer is not None:
                result = await controller.resume(_RUN, world, answer=self.answer)
            return result

    async def phases(self, store: _Dying) -> str:
        """What the run told on the chain, but for its turns and its effects."""
        async with Lattice(store) as lattice:
            return outline([event async for event in replay(lattice, _RUN) if _is_phase(event)])


class _Crash(BaseException):
    """What stops the lattice."""


class _Dying(GatedStore):
    """A store in memory that stops for ever at one of its appends, with it or without it."""

    def __init__(self, commit: int | None = None, *, stored: bool = False) -> None:
        super().__init__(MemoryStore())
        self.appends = 0
        self._commit, self._stored = commit, stored

    @property
    def is_dead(self) -> bool:
        """Whether it came to that append."""
        return self._commit is not None and self.appends >= self._commit

    def append(self, records: Sequence[Any], block: Any) -> None:
        """Store, or stop before or after it."""
        self.appends += 1
        if self.appends == self._commit:
            self.fail_next(_Crash(), stored=self._stored)
        super().append(records, block)

    def revive(self) -> None:
        """What is stored can be opened again."""
        self._commit = None


def _is_phase(event: Event) -> bool:
    run = events.RunStarted | events.RunResumed | events.RunEnded
    return not isinstance(event, run | events.EffectBegun | events.EffectDone)


def _assert_same_result(where: str, wanted: RunResult, found: RunResult) -> None:
    for name in _SAME:
        one, other = getattr(wanted, name), getattr(found, name)
        if one != other:
            raise AssertionError(
                f"after a crash {where} the result's {name} is {other!r}; undisturbed it is {one!r}"
            )
