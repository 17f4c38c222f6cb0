"""Agents drawn at random: what each step does is written down, and the same in every process."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import anyio.from_thread
from hypothesis import strategies as st

from controllers import (
    Continue,
    Done,
    Failed,
    Outcome,
    Pause,
    Plan,
    Retry,
    RTMController,
    StepContext,
    Usage,
    Verdict,
)
from pmll_async import Candidate, Lattice


@dataclass(frozen=True)
class Planning:
    effects: int = 0
    asks: bool = False
    fails: bool = False
    has_key: bool = False
    goals: tuple[Goal, ...] = ()


@dataclass(frozen=True)
class Acting:
    effects: int = 0
    asks: bool = False
    fails: bool = False
    confidence: float = 0.5


@dataclass(frozen=True)
class Reflecting:
    effects: int = 0
    asks: bool = False
    has_key: bool = False
    verdict: type[Continue[Any] | Done[Any] | Retry[Any]] = Done


@dataclass(frozen=True)
class Attempt:
    plan: Planning = Planning()
    acts: tuple[Acting, Acting, Acting] = (Acting(), Acting(), Acting())
    reflect: Reflecting = Reflecting()


@dataclass(frozen=True)
class Goal:
    """What happens in each attempt of each cycle; behind that the goal is reached at once."""

    cycles: tuple[tuple[Attempt, ...], ...] = ()

    def at(self, place: str) -> Attempt:
        cycle, attempt = map(int, place.split("."))
        attempts = self.cycles[cycle] if cycle < len(self.cycles) else ()
        return attempts[attempt] if attempt < len(attempts) else Attempt()


def goals(depth: int) -> st.SearchStrategy[Goal]:
    """Goals with sub-goals down to `depth` levels."""
    seldom, effects = st.sampled_from([False, False, False, True]), st.integers(0, 2)
    below = st.just(()) if depth == 0 else st.lists(goals(depth - 1), max_size=2).map(tuple)
    planning = st.builds(Planning, effects, seldom, seldom, st.booleans(), below)
    points = st.sampled_from([0.25, 0.5])
    working = st.builds(Acting, effects, st.just(value=False), st.booleans(), points)
    # What the others of its race are at when an act asks depends on the moment.
    asking = st.builds(Acting, st.just(0), seldom, st.booleans(), points)
    acts = st.tuples(working, working, working) | st.tuples(asking, asking, asking)
    verdicts = st.sampled_from([Continue, Continue, Retry, Retry, Done])
    reflecting = st.builds(Reflecting, effects, seldom, st.booleans(), verdicts)
    attempt = st.builds(Attempt, planning, acts, reflecting)
    cycle = st.lists(attempt, min_size=1, max_size=3).map(tuple)
    return st.builds(Goal, st.lists(cycle, max_size=3).map(tuple))


@dataclass
class RandomAgent:
    """Follows its goals' scripts; every text that it writes hangs on all that it was shown."""

    root: Goal
    done: list[tuple[str, str]] = field(default_factory=list)
    """The effects that took place: their names, and their steps' idempotency keys."""

    def controller(self, lattice: Lattice) -> RTMController[Any, Any]:
        return RTMController(
            lattice,
            plan=self.plan,
            act=[self.first, self.second, self.third],
            reflect=self.reflect,
            max_cycles=3,
            max_retries=2,
            max_depth=1,
        )

    async def plan(self, ctx: StepContext[Any]) -> Plan[Any] | Pause:
        script = self._script(ctx).plan
        if script.asks and ctx.answer is None:
            return Pause("what now?")
        made = [await self._effect(ctx, number) for number in range(script.effects)]
        if script.fails:
            raise RuntimeError(digest(ctx, made))
        names = [str(number) for number in range(len(script.goals))]
        key = [1, 1] if script.has_key else None
        return Plan(digest(ctx, made), {"made": made, "cycle": ctx.cycle}, goals=names, key=key)

    async def first(self, ctx: StepContext[Any], plan: Plan[Any]) -> Candidate | Pause:
        return await self._act(ctx, plan, 0)

    async def second(self, ctx: StepContext[Any], plan: Plan[Any]) -> Candidate | Pause:
        return await self._act(ctx, plan, 1)

    def third(self, ctx: StepContext[Any], plan: Plan[Any]) -> Candidate | Pause:
        """Is called in a thread."""
        return anyio.from_thread.run(self._act, ctx, plan, 2)

    async def _act(self, ctx: StepContext[Any], plan: Plan[Any], number: int) -> Candidate | Pause:
        script = self._script(ctx).acts[number]
        if script.asks and ctx.answer is None:
            return Pause("what now?")
        made = [await self._effect(ctx, number) for number in range(script.effects)]
        if script.fails:
            raise LookupError(digest(ctx, made))
        context = {"said": digest(ctx, made, plan.text, plan.data)}
        key = [1, number - 1]
        return Candidate(key=key, context=context, confidence=script.confidence)

    async def reflect(self, ctx: StepContext[Any], outcome: Outcome) -> Verdict | Pause:
        attempt = self._script(ctx)
        script = attempt.reflect
        if script.asks and ctx.answer is None:
            return Pause("what now?")
        made = [await self._effect(ctx, number) for number in range(script.effects)]
        failures = [failure.model_dump() for failure in outcome.failures]
        won = None
        if not isinstance(outcome, Failed):
            won = [outcome.winner.context["said"], [score.score for score in outcome.scores]]
        said = digest(ctx, made, failures, won)
        return script.verdict(said, {"made": made}, key=[0.5, 1] if script.has_key else None)

    # --- what steps share ----------------------------------------------------------------------

    def _script(self, ctx: StepContext[Any]) -> Attempt:
        _, *above, place, _ = ctx.idempotency_key.split("/")
        goal = self.root
        for each in above:
            before, number = each.split(":")
            goal = goal.at(before).plan.goals[int(number)]
        return goal.at(place)

    async def _effect(self, ctx: StepContext[Any], number: int) -> str:
        name = f"effect {number}"

        def act() -> str:
            self.done.append((name, ctx.idempotency_key))
            ctx.spend(Usage(calls=1, cost=0.25))
            return f"{name} of {ctx.idempotency_key}"

        async def act_async() -> str:
            return act()

        return await ctx.once(name, act if number else act_async)


def digest(ctx: StepContext[Any], *more: object) -> str:
    """A few letters that change with anything that the step was shown."""
    shown = (ctx.goals, ctx.cycle, ctx.attempt, ctx.stage, ctx.previous, ctx.answer, ctx.depth)
    # An anchor hangs on everything before it, and so on how often the run was resumed.
    results = [replace(result, winner="") for result in ctx.results]
    plan = (ctx.plan.text, ctx.plan.data, results, ctx.budget.cycles)
    return blake2b(repr((shown, plan, more)).encode(), digest_size=6).hexdigest()
