"""The agent that is killed: what it does to the world, and what its run leaves on the chain."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue

from controllers import (
    Continue,
    Done,
    EffectDone,
    EffectUnknownError,
    Event,
    Failed,
    Outcome,
    Pause,
    PhaseStarted,
    Plan,
    Proposed,
    Retry,
    RTMController,
    RunEnded,
    RunNotFoundError,
    RunPausedError,
    RunResult,
    StepContext,
    Usage,
    Verdict,
)
from pmll_async import Candidate, Lattice, MemoryLine

RUN: Final = "r"
GOAL: Final = "sell the cello"
ANSWER: Final[dict[str, JsonValue]] = {"sell": True}


class World:
    """What the agent did, a JSON object a line; a line that is written survives any kill."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "world"
        self._log = os.open(self._file, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)

    def tell(self, **said: Any) -> None:
        os.write(self._log, json.dumps(said).encode() + b"\n")

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._file.read_bytes().splitlines()]

    def close(self) -> None:
        os.close(self._log)


@dataclass(frozen=True)
class Parcel:
    """Typed data, so that what steps hand over has to be restored."""

    goal: str
    weights: tuple[int, ...] = ()


@dataclass(frozen=True)
class Agent:
    """Sub-goals two levels deep, a pause, retries, a PLAN and a race that fail, and effects."""

    world: World

    # --- steps ---------------------------------------------------------------------------------

    async def plan(self, ctx: StepContext[Any]) -> Plan[Parcel]:
        self._called(ctx)
        if ctx.depth == 0 and ctx.cycle == 1 and ctx.attempt == 0:
            await self._effect(ctx, "look")
            raise ConnectionError("the shop is closed")
        goals: tuple[str, ...] = ()
        if ctx.depth == 0 and ctx.cycle == 0:
            goals = ("pack", "label")
        elif ctx.goal == "pack":
            goals = ("box",)
        said = ctx.previous.text if ctx.previous else "nothing"
        return Plan(f"{ctx.goal} after {said}", Parcel(ctx.goal, (ctx.cycle,)), goals=goals)

    async def asking(self, ctx: StepContext[Any], plan: Plan[Parcel]) -> Candidate:
        """Pays for an answer, which a resume must not pay for again."""
        self._called(ctx)
        price = await self._effect(ctx, "ask", Usage(calls=1, cost=0.25))
        self._nothing_works(ctx)
        return Candidate(key=[1, ctx.cycle], context={"price": price}, confidence=0.4)

    def quick(self, ctx: StepContext[Any], plan: Plan[Parcel]) -> Candidate:
        """Is called in a thread."""
        self._called(ctx)
        self._nothing_works(ctx)
        weights = [*plan.data.weights, ctx.attempt, len(ctx.results)]
        return Candidate(key=[1, ctx.depth], context={"weights": weights}, confidence=0.6)

    async def hopeless(self, ctx: StepContext[Any], plan: Plan[Parcel]) -> Candidate:
        self._called(ctx)
        raise LookupError(plan.data.goal)

    async def reflect(self, ctx: StepContext[Any], outcome: Outcome) -> Verdict | Pause:
        self._called(ctx)
        if ctx.depth:
            return Done(f"did {ctx.goal}", await self._effect(ctx, "tidy"))
        if isinstance(outcome, Failed):
            return Retry(str(outcome))
        if ctx.cycle == 1:
            await self._effect(ctx, "mail", Usage(calls=1))
            return Done("sold", await self._effect(ctx, "receipt"))
        if ctx.attempt == 0:
            return Retry("once more", await self._effect(ctx, "measure"))
        if ctx.answer is None:
            return Pause("sell it?", {"price": 4200})
        return Continue("go on", [await self._charge(ctx), ctx.answer], key=[0.5, 0.5])

    # --- what they do to the world -------------------------------------------------------------

    def _called(self, ctx: StepContext[Any]) -> None:
        # A step that asked is called again with the answer.
        self.world.tell(call=ctx.idempotency_key, answered=ctx.answer is not None)

    def _nothing_works(self, ctx: StepContext[Any]) -> None:
        if ctx.depth == 0 and ctx.cycle == 1 and ctx.attempt == 1:
            raise TimeoutError("nobody answers")

    async def _effect(self, ctx: StepContext[Any], name: str, usage: Usage | None = None) -> str:
        def act() -> str:
            self.world.tell(effect=name, step=ctx.idempotency_key)
            ctx.spend(usage or Usage())
            return f"{name} of {ctx.goal}"

        async def act_async() -> str:
            return act()

        # A sync effect is called in a thread.
        return await (ctx.once(name, act) if name == "receipt" else ctx.once(name, act_async))

    async def _charge(self, ctx: StepContext[Any]) -> str:
        """Never twice: where nobody knows, it looks into the books of the bank."""

        async def charge() -> str:
            self.world.tell(effect="charge", step=ctx.idempotency_key)
            return "charged"

        async def unless_done() -> str:
            done = any(said.get("effect") == "charge" for said in self.world.told())
            return "charged" if done else await charge()

        with suppress(EffectUnknownError):
            return await ctx.once("charge", charge, again=False)
        self.world.tell(unknown="charge")
        return await ctx.once("charge", unless_done)

    # --- running -------------------------------------------------------------------------------

    def controller(self, lattice: Lattice) -> RTMController[Any, Any]:
        return RTMController(
            lattice,
            plan=self.plan,
            act=[self.asking, self.quick, self.hopeless],
            reflect=self.reflect,
            observers=[self._observed],
        )

    def _observed(self, event: Event) -> None:
        """What is told is acknowledged: it must never be lost, nor done again."""
        if isinstance(event, EffectDone):
            self.world.tell(acknowledged=event.anchor, effect=event.name)
        elif not isinstance(event, PhaseStarted | Proposed | RunEnded):
            self.world.tell(acknowledged=event.anchor)

    async def live(self, lattice: Lattice) -> RunResult:
        """Begin the run, or go on with it, to its end."""
        known = await entries_of(lattice)
        self.world.tell(
            opened=[entry.anchor for entry in known],
            phases=[place for entry in known if (place := _phase_of(entry))],
            effects=[effect for entry in known if (effect := effect_of(entry))],
        )
        controller = self.controller(lattice)
        try:
            result = await controller.resume(RUN)
        except RunNotFoundError:
            result = await controller.run(GOAL, run_id=RUN)
        except RunPausedError:
            result = await controller.resume(RUN, answer=ANSWER)
        while result.status == "paused":
            result = await controller.resume(RUN, answer=ANSWER)
        return result


# --- what is on the chain ------------------------------------------------------------------------


async def entries_of(lattice: Lattice) -> list[MemoryLine]:
    """The run's entries, oldest first."""
    return [entry async for entry in lattice.rewind(where={"pmll.run": RUN})][::-1]


def _facts(entry: MemoryLine) -> dict[str, Any]:
    return dict(entry.context["pmll"])


def _place_of(facts: dict[str, Any]) -> str:
    return f"{RUN}/{facts.get('path', '')}{facts['cycle']}.{facts['attempt']}"


def _phase_of(entry: MemoryLine) -> str | None:
    """What the idempotency key of each of the phase's steps begins with, if this is its outcome."""
    facts = _facts(entry)
    if facts["stage"] not in ("plan", "act", "reflect"):
        return None
    return f"{_place_of(facts)}/{facts['stage']}"


def effect_of(entry: MemoryLine) -> list[str] | None:
    """The effect's name, and the idempotency key of its step, if this is its result."""
    facts = _facts(entry)
    if (facts["stage"], facts["status"]) != ("effect", "done"):
        return None
    return [str(entry.context["effect"]), f"{_place_of(facts)}/{entry.context['step']}"]


async def story_of(lattice: Lattice) -> list[dict[str, Any]]:
    """All that the run left but its turns; anchors, which hang on those, become places in it."""
    entries = [entry for entry in await entries_of(lattice) if _facts(entry)["stage"] != "run"]
    places = {entry.anchor: place for place, entry in enumerate(entries)}
    return [_told(entry, places) | await _raced(lattice, entry) for entry in entries]


def _told(entry: MemoryLine, places: dict[str, int]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(json.dumps(entry.context, default=dict))
    if "winner" in told:
        told["winner"] = places[told["winner"]]
    if told["pmll"]["stage"] == "effect" or told["pmll"]["stage"] == "act":
        # It does not know what others of the race have spent, unless they did before a crash.
        told["pmll"].pop("usage", None)
    return {"kind": entry.kind, "key": entry.key.tolist(), "strength": entry.strength, **told}


async def _raced(lattice: Lattice, entry: MemoryLine) -> dict[str, Any]:
    facts = _facts(entry)
    if (facts["stage"], facts["status"]) != ("act", "done"):
        return {}
    outcome = await lattice.outcome(entry.anchor)
    return {
        "losers": [[line.key.tolist(), line.strength] for line in outcome.losers],
        "scores": [[score.name, score.score] for score in outcome.scores],
        "failures": [failure.model_dump() for failure in outcome.failures],
    }


def ending(result: RunResult) -> dict[str, Any]:
    """The result, without the anchors that hang on how often the run was resumed."""
    assert result.winner is not None
    return {
        "status": result.status,
        "cycles": result.cycles,
        "text": result.text,
        "data": result.data,
        "usage": asdict(result.usage),
        "winner": [result.winner.key.tolist(), result.winner.context["weights"]],
    }


def wrongs(told: list[dict[str, Any]]) -> Iterator[str]:
    """What no kill may bring about, read from the lines of the world."""
    phases: set[str] = set()
    effects: set[tuple[str, str]] = set()
    acknowledged: set[str] = set()
    called: set[tuple[str, bool]] = set()
    for said in told:
        if "opened" in said:
            if lost := acknowledged - set(said["opened"]):
                yield f"acknowledged, and lost: {lost}"
            phases, called = set(said["phases"]), set()
            effects = {(name, step) for name, step in said["effects"]}
        elif "acknowledged" in said:
            acknowledged.add(said["acknowledged"])
        elif "call" in said:
            call = (said["call"], said["answered"])
            if call in called or _is_of(said["call"], phases):
                yield f"called again: {said['call']}"
            called.add(call)
        elif "effect" in said:
            effect = (said["effect"], said["step"])
            if effect in effects:
                yield f"done again: {effect}"
            effects.add(effect)


def _is_of(step: str, phases: set[str]) -> bool:
    place, _, name = step.rpartition("/")
    return f"{place}/{name.partition('.')[0]}" in phases
